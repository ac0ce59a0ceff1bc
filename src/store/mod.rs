//! The data volume: the only place that knows its layout and writes to it.
//!
//! ```text
//! <data>/STORE                          format, writing version, id and the names of the repositories
//! <data>/LOCK                           held by the one writer
//! <data>/git/<name>-<mark>.git          bare clones, one a URL: a cache
//! <data>/<repository>/packages/…        the archives, written once, read-only
//! <data>/<repository>/ledger.jsonl      one line a release
//! <data>/<repository>/diverged.jsonl    one line for each published version that upstream would change now
//! <data>/<repository>/snapshots/<n>/    metadata of snapshot n, with its manifest.json, report.json and made.json
//! <data>/<repository>/status/           cycles.json: when cycles ran, and how they ended
//! <data>/<repository>/current           symbolic link to the newest snapshot, for other web servers
//! <data>/<repository>/variants/         compressed copies: derived, disposable
//! <data>/<repository>/tmp/<writer>/     what a writer has not published yet
//! ```
//!
//! # The order of a publication
//!
//! 1. Archives, each written aside, synced, and linked to its public name without ever overwriting; their folders synced.
//! 2. The ledger with its new lines, written aside whole, synced, and renamed over the one before; the folder synced.
//! 3. The snapshot, written aside, synced, and renamed to its number, which must be free; the folder synced. That rename
//!    is the commit: a reader takes the highest snapshot that is whole and follows from the ledger.
//!
//! Each step happens wholly or not at all, so there is nothing to repair after a crash, only left-overs to remove. The
//! ledger is copied rather than appended to for that reason: a publication costs its length once (some MB for a whole
//! mirror, beside metadata of the same order), and no reader and no crash ever finds half a line.
//!
//! # One writer
//!
//! A lock keeps writers apart for as long as a cycle takes. Should the lock be lost (a network file system, a deleted
//! file), [`staging`] is the fence that lets only the last writer publish.
//!
//! # What goes
//!
//! Old snapshots ([`collect`]), and archives of nightly versions that no snapshot names any more ([`expire`]). Released
//! versions stay for ever.
//!
//! A sync that fails is not tried again: the repository takes no more from this writer, and the cycle ends.

mod commit;
mod divergences;
pub mod durable_fs;
mod filesystem_check;
mod nightly_retention;
mod repository;
mod rollback;
mod run_history;
mod scrub;
pub mod snapshot;
mod snapshot_retention;
mod staging;
pub mod variants;
mod volume;
mod volume_marker;

pub use commit::SnapshotContents;
pub use divergences::{Divergence, VersionContent};
pub use filesystem_check::Space;
pub use repository::{RepositoryStore, Staged};
pub use run_history::{Run, RunHistory};
pub use scrub::{Scrub, ScrubState};
pub use snapshot_retention::Retention;
pub use volume::{Volume, VolumeLockError};
