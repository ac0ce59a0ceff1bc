//! Sources in git: bare clones that follow a remote, and the trees and blobs inside them.
//!
//! [`Fetcher::fetch`] brings a clone up to date with the refs that its caller selects and says what changed;
//! [`BareClone`] reads commits, trees and blobs from the object database, without a checkout. A clone is a cache:
//! deleting one costs a download, and one that is damaged is made anew. Which tags become packages, and what a
//! moved tag means for them, is for others to say. git2, ureq and russh are named in this stage only.
//!
//! ```text
//! fetch ─► plan       which refs are new, moved, deleted (pure)
//!   │  └─► place      the clone's directory: whole or absent, never half made
//!   ├────► transport  https and ssh, below libgit2's smart protocol
//!   └────► borrow     local repositories: their objects are used where they are
//! ```

mod address;
mod borrow;
mod clone;
mod credential;
mod download;
mod error;
mod fetch;
mod id;
mod place;
mod plan;
mod recent;
mod refs;
mod transport;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use address::{Address, AddressError, redacted};
pub use clone::{BareClone, Blob, Commit, Entry, EntryKind, ReadError};
pub use credential::Credential;
pub use download::{download, post_json};
pub use error::{Cause, FetchError};
pub use fetch::{Fetched, Fetcher, Moved, Progress};
pub use id::{ObjectId, Ref};
pub use place::discard;
pub use plan::{Missing, Wanted};
pub use recent::Recent;

/// Whether a file can be the [`Settings::ca_file`].
///
/// # Errors
/// It cannot be read, or holds no certificate.
pub fn check_certificates(file: &Path) -> Result<(), Cause> {
    transport::certificates(file).map(drop)
}

/// How to talk to remotes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For name resolution, TCP and TLS.
    pub connect_timeout: Duration,
    /// How long a remote may stay silent. Also bounds how long a cancelled fetch lingers.
    pub timeout: Duration,
    /// Certificate authorities in PEM format, trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether a new clone leaves history out: a fraction of the download. A clone stays what it began as.
    pub shallow: bool,
    /// How many refs a remote may have.
    pub refs: usize,
    pub credentials: Vec<Credential>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(15),
            timeout: Duration::from_secs(60),
            ca_file: None,
            shallow: true,
            refs: 100_000,
            credentials: Vec::new(),
        }
    }
}

/// Stops a fetch from another thread; clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
