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

mod alternates;
mod blob_cache;
mod clone;
mod clone_dir;
mod credential;
mod download;
mod error;
mod fetch;
mod object_id;
mod ref_diff;
mod refs;
mod transport;
mod url;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use blob_cache::BlobCache;
pub use clone::{BareClone, Blob, Commit, EntryKind, ReadError, TreeEntry};
pub use credential::Credential;
pub use download::{download, post_json};
pub use error::{FetchError, FetchErrorKind};
pub use fetch::{Fetched, Fetcher, MovedRef, Progress};
pub use object_id::{ObjectId, Ref};
pub use ref_diff::{MissingRef, RefSelection, requested_name};
pub use url::{GitUrl, GitUrlError, redacted};

/// Whether a file can be the [`Settings::ca_file`].
///
/// # Errors
/// It cannot be read, or holds no certificate.
pub fn check_certificates(file: &Path) -> Result<(), FetchErrorKind> {
    transport::certificates(file).map(drop)
}

/// Whether a source can be at `url`; a remote one is not asked.
///
/// # Errors
/// It is no URL that can be fetched from, or no repository is there.
pub fn check_url(url: &str) -> Result<(), FetchErrorKind> {
    match GitUrl::parse(url)? {
        GitUrl::Local(path) => alternates::Source::open(&path).map(drop),
        GitUrl::Http(_) | GitUrl::Ssh(_) => Ok(()),
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
