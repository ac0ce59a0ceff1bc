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
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

pub use address::{Address, AddressError, redacted};
pub use clone::{BareClone, Blob, Commit, Entry, EntryKind, ReadError};
pub use credential::Credential;
pub use download::{download, post_json};
pub use error::{Cause, FetchError};
pub use fetch::{Fetched, Fetcher, Moved, Progress};
pub use id::{ObjectId, Ref};
pub use plan::{Missing, Wanted, wanted_as};
pub use recent::Recent;

/// Whether a file can be the [`Settings::ca_file`].
///
/// # Errors
/// It cannot be read, or holds no certificate.
pub fn check_certificates(file: &Path) -> Result<(), Cause> {
    transport::certificates(file).map(drop)
}

/// Whether a source can be at `url`; a remote one is not asked.
///
/// # Errors
/// It is no URL that can be fetched from, or no repository is there.
pub fn check_url(url: &str) -> Result<(), Cause> {
    match Address::parse(url)? {
        Address::Local(path) => borrow::Source::open(&path).map(drop),
        Address::Http(_) | Address::Ssh(_) => Ok(()),
    }
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

/// Stops from another thread what is done, or waits; clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    is_set: AtomicBool,
    /// Held while the flag is set, so that nobody begins to wait meanwhile.
    lock: Mutex<()>,
    set: Condvar,
}

impl CancelFlag {
    pub fn set(&self) {
        let _held = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.is_set.store(true, Ordering::Relaxed);
        self.0.set.notify_all();
    }

    pub fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::Relaxed)
    }

    /// Waits for `time`, or until the flag is set.
    pub fn wait(&self, time: Duration) {
        let held = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _waited = self.0.set.wait_timeout_while(held, time, |()| !self.is_set());
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn who_waits_is_woken_by_the_flag() {
        let (flag, began) = (CancelFlag::default(), Instant::now());
        flag.wait(Duration::from_millis(20));
        assert!(!flag.is_set() && began.elapsed() >= Duration::from_millis(20));
        let other = flag.clone();
        let waiting = thread::spawn(move || other.wait(Duration::from_secs(600)));
        thread::sleep(Duration::from_millis(20));
        flag.set();
        waiting.join().unwrap();
        flag.wait(Duration::from_secs(600));
        assert!(began.elapsed() < Duration::from_secs(300));
    }
}
