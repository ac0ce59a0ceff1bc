//! The data volume: the only module that knows its layout and writes to it.
//!
//! ```text
//! <data>/STORE                          format, writing version, id and the names of the repositories
//! <data>/STORE.lock                     held while STORE is replaced
//! <data>/LOCK                           held by the writers
//! <data>/trial.yaml                     the configuration of a trial, which runs without a file
//! <data>/git/<name>-<hash>.git          bare clones, one for each URL: a cache
//! <data>/<repository>/LOCK              held by the one writer of the repository
//! <data>/<repository>/packages/…        the archives, written once, read-only
//! <data>/<repository>/ledger.jsonl      one line for each release
//! <data>/<repository>/bound.jsonl       one line for each bound package that a follower rendered for its own base URL
//! <data>/<repository>/withdrawn.jsonl   one line for each withdrawal of a version, and for each that was undone
//! <data>/<repository>/diverged.jsonl    one line for each published version that differs upstream
//! <data>/<repository>/imported.jsonl    one line for each imported release that was not built again from git yet
//! <data>/<repository>/absent.json       the releases that never were here, of a repository that was imported in part
//! <data>/<repository>/snapshots/<n>/    metadata of snapshot n, with its manifest.json, report.json and made.json
//! <data>/<repository>/status/           cycles.json: when cycles ran and how they ended; bucket.json: likewise for uploads
//! <data>/<repository>/current           symbolic link to the newest snapshot, for other web servers
//! <data>/<repository>/variants/         compressed copies, which can be made again
//! <data>/<repository>/composer/<source>/ answers of Composer repositories, kept for conditional requests: a cache
//! <data>/<repository>/tmp/<writer>/     files that a writer has not published yet
//! ```
//!
//! # The order of a publication
//!
//! 1. Archives, each written to the staging folder, synced, and linked to its public name without ever overwriting; then
//!    their folders are synced.
//! 2. The ledger with its new lines, written to the staging folder, synced, and renamed over the previous one; then the
//!    folder is synced.
//! 3. The snapshot, written to the staging folder, synced, and renamed to its number, which must be free; then the folder
//!    is synced. That rename is the commit: a reader takes the highest snapshot that is intact and follows from the ledger.
//!
//! Each step happens completely or not at all, so there is nothing to repair after a crash, only leftovers to remove. The
//! ledger is copied instead of appended to for that reason: a publication writes all of it once, and neither a reader nor
//! a crash ever sees half a line.
//!
//! # One writer
//!
//! A command that is run by hand locks the whole volume. A cycle of `mirror run` shares that lock with cycles of other
//! repositories and locks its own repository; it also locks each clone while it fetches into it, since repositories share
//! them, and `STORE.lock` while it adds its repository to `STORE`. If the lock is lost (a network file system, a deleted
//! file), `staging` is the fence that lets only the last writer publish.
//!
//! # Removal
//!
//! Old snapshots are removed (`snapshot_retention`), and archives of nightly versions that no snapshot names any more
//! (`nightly_retention`). Released versions are never removed. With a bucket and several builders, the snapshots of lines that
//! another builder has overtaken go (`take_over`).
//!
//! A failed sync is never retried: the repository accepts nothing more from this writer, and the cycle ends.

mod absent_releases;
mod bucket_record;
mod commit;
mod divergences;
pub mod durable_fs;
mod filesystem_check;
mod foreign_lines;
mod import_marks;
mod json_lines;
mod nightly_retention;
mod private_folder;
mod repository;
mod rollback;
mod run_history;
mod scrub;
pub mod snapshot;
mod snapshot_lookup;
mod snapshot_retention;
mod staging;
mod take_over;
pub mod variants;
mod volume;
mod volume_marker;
mod withdrawals;

pub use bucket_record::{BucketFailure, BucketRecord, BucketUpload};
pub use commit::SnapshotContents;
pub use divergences::{Divergence, DivergenceCause, VersionContent};
pub use filesystem_check::Space;
pub use import_marks::{ImportMark, ImportMarks, ImportOutcome};
pub use private_folder::PrivateFolder;
pub use repository::{RepositoryStore, StagedArchive};
pub use run_history::{Run, RunHistory};
pub use scrub::{ArchiveError, Scrub, ScrubState};
pub use snapshot_retention::SnapshotRetention;
pub use volume::{Volume, VolumeLockError};
pub use volume_marker::NEWEST_FORMAT;
pub use withdrawals::Withdrawal;
