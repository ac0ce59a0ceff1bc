//! Sources in git: bare clones that follow a remote, and the commits, trees and blobs in them.
//!
//! [`Fetcher::fetch`] brings a clone up to date with the refs that its caller selects and reports what changed;
//! [`BareClone`] reads from the object database, without a checkout. A clone is a cache: deleting one costs a download,
//! and a damaged one is cloned again. git2 and russh are used in this module only.
//!
//! ```text
//! fetch ─► ref_diff   which refs matter; which of them are new, moved, deleted (pure)
//!   │  └─► clone_dir  the clone's directory: complete or absent, never half written
//!   ├────► download   what to ask for, and the packs that come, which libgit2 writes
//!   ├────► protocol   git's smart protocol: the refs and packs of a remote
//!   │  └─► transport  its bytes over http(s) and ssh
//!   └────► alternates local repositories, whose objects are used in place; built_in is one that is part of the program
//! ```

mod alternates;
mod blob_cache;
mod built_in;
mod busy_server;
mod clone;
mod clone_dir;
mod dot_git;
mod download;
mod error;
mod fetch;
mod file_history;
mod libgit2;
mod memory_limit;
mod object_headers;
mod object_id;
mod protocol;
mod ref_diff;
mod refs;
mod shallow_commits;
mod transport;
mod url;

pub use blob_cache::BlobCache;
pub use clone::{BareClone, Blob, Commit, EntryKind, ReadError, TreeEntry};
pub use dot_git::is_dot_git;
pub use error::{FetchError, FetchErrorKind, RepositoryFormat};
pub use fetch::{FetchProgress, Fetched, Fetcher, MovedRef};
pub use file_history::AddedTimes;
pub use object_id::{ObjectId, Ref};
pub use protocol::{FetchRequest, Received, Session};
pub use ref_diff::{MissingRef, RefFilter, WantedRefs, requested_name};
pub use transport::{RemoteStream, SmartTransport, Version};
use transport::{SshIdentity, SshTransport};
pub use url::{GitUrl, GitUrlError};

use crate::config::{Credential, Git};
use crate::net::{NetworkError, read_secret};
use crate::util::cancel::CancelFlag;

/// The tags of a local repository; `None` for a remote one, which is not contacted.
pub fn local_tags(url: &str) -> Result<Option<Vec<String>>, FetchErrorKind> {
    let path = match GitUrl::parse(url)? {
        GitUrl::Local(path) => path,
        GitUrl::BuiltIn => return Ok(Some(built_in::tags())),
        GitUrl::Http(_) | GitUrl::Ssh(_) => return Ok(None),
    };
    let refs = alternates::SourceRepository::open(&path)?.refs(&RefFilter::default())?;
    Ok(Some(refs.iter().filter_map(Ref::tag).map(str::to_owned).collect()))
}

/// Checks that `url` can be fetched from. A local repository is opened; a remote one is not contacted, but the key of an ssh
/// host must be known.
pub fn check_url(url: &str, git: &Git) -> Result<(), FetchErrorKind> {
    match GitUrl::parse(url)? {
        GitUrl::Local(path) => alternates::SourceRepository::open(&path).map(drop),
        GitUrl::Ssh(url) if url.path.is_empty() => Err(GitUrlError::Missing("path").into()),
        GitUrl::Ssh(url) => SshTransport::new(&url, git, &CancelFlag::default()).check_known_hosts(),
        GitUrl::Http(_) | GitUrl::BuiltIn => Ok(()),
    }
}

/// Checks that the private key of a credential, and its certificate, can be read with its passphrase.
pub fn check_private_key(credential: &Credential) -> Result<(), NetworkError> {
    let Some(file) = &credential.private_key else { return Ok(()) };
    let passphrase = read_secret(credential.passphrase.as_ref())?;
    SshIdentity::read(file, passphrase.as_deref()).map(drop)
}
