//! Why a fetch failed, and what the operator can do about it. No message contains a secret.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::url::GitUrlError;
use crate::net::NetworkError;
use crate::util::text::{quoted, without_error_numbers};

/// A failed fetch. The clone is unchanged.
#[derive(Debug, thiserror::Error)]
#[error("failed to fetch `{url}`: {kind}{}", hint_line(.kind))]
pub struct FetchError {
    /// Without user and password.
    pub url: String,
    pub kind: FetchErrorKind,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum FetchErrorKind {
    #[error(transparent)]
    Url(#[from] GitUrlError),
    #[error(transparent)]
    Network(NetworkError),
    #[error("cancelled")]
    Cancelled,
    #[error("it has {refs} branches and tags, more than {limit}")]
    TooManyRefs { refs: usize, limit: usize },
    #[error("its list of branches and tags has more than {limit} bytes")]
    RefsTooLong { limit: usize },
    #[error("its download has more than {limit} bytes")]
    PackTooLarge { limit: usize },
    #[error("it has an object, or a list of objects, of {size} bytes, more than {limit}")]
    ObjectTooLarge { size: usize, limit: usize },
    #[error("its objects need more than {limit} bytes of memory")]
    TooMuchMemory { limit: usize },
    #[error("there is not enough memory for its objects")]
    OutOfMemory,
    #[error("the repository was not found")]
    NotFound,
    #[error("the response is not git's smart protocol: {}", quoted(.reason))]
    NotGit { reason: String },
    #[error("`{host}` was busy and asked for no further requests for another {} s", .left.as_secs())]
    Busy { host: String, left: Duration },
    #[error(
        "the server only offers the files of the repository (git's dumb protocol), which this program does not read"
    )]
    Dumb,
    #[error("no known_hosts file is configured for `{host}`")]
    NoKnownHosts {
        host: String,
        /// The arguments for ssh-keyscan.
        scan: String,
    },
    #[error("`{}` has no key of `{host}`", .file.display())]
    NoHostKey { host: String, file: PathBuf, scan: String },
    #[error("the host key of `{host}` is not in `{}`", .file.display())]
    HostKeyUnknown { host: String, file: PathBuf, line: String },
    #[error("the host key of `{host}` differs from the one in `{}`", .file.display())]
    HostKeyChanged { host: String, file: PathBuf, line: String },
    #[error("the host key of `{host}` is revoked in `{}`", .file.display())]
    HostKeyRevoked { host: String, file: PathBuf },
    #[error("the host certificate of `{host}` is not valid according to `{}`: {reason}", .file.display())]
    HostCertificate { host: String, file: PathBuf, reason: String },
    #[error("the remote host printed this before git answered: {}", quoted(.text))]
    Chatter { text: String },
    #[error("the remote git reported: {}", quoted(.message))]
    Remote { message: String },
    #[error("the folder `{}` does not exist", .0.display())]
    NoSuchFolder(PathBuf),
    #[error("`{}` is not a git repository: {reason}", .path.display())]
    NotARepository { path: PathBuf, reason: String },
    #[error("git can read this repository, but this program cannot: {0}")]
    Unsupported(RepositoryFormat),
    #[error("failed to {verb} `{}`: {reason}", .path.display())]
    Clone { verb: &'static str, path: PathBuf, reason: String },
    #[error("the clone `{}` is damaged: {reason}", .path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{}", quoted(.0.message()))]
    Git(git2::Error),
}

/// A repository format that libgit2 cannot read, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryFormat {
    #[error(
        "its objects have SHA-256 ids, not SHA-1; `git fast-export --all` and `git fast-import` copy its content to a SHA-1 repository"
    )]
    Sha256,
    #[error(
        "its refs are stored as a reftable; convert them with `git refs migrate --ref-format=files`, or name the repository by an ssh or http url"
    )]
    Reftable,
    #[error(
        "it is a partial clone, which lacks objects; name the repository that it was cloned from, or clone that one as a whole"
    )]
    PartialClone,
    #[error("it uses the extension `{}` of git", quoted(.0))]
    Extension(String),
}

impl From<NetworkError> for FetchErrorKind {
    fn from(error: NetworkError) -> Self {
        match error {
            NetworkError::NotFound { .. } => Self::NotFound,
            error => Self::Network(error),
        }
    }
}

impl FetchErrorKind {
    pub(super) fn clone_failed(verb: &'static str, path: &Path, error: &(dyn Error + 'static)) -> Self {
        Self::Clone { verb, path: path.to_owned(), reason: reason(error) }
    }

    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Network(error) => error.hint().map(str::to_owned),
            Self::NotFound => NetworkError::NotFound { status: 404 }.hint().map(str::to_owned),
            Self::Dumb => Some(
                "let the web server run `git http-backend`, or name the repository by an ssh url or a path"
                    .into(),
            ),
            Self::NoKnownHosts { scan, .. } => Some(format!(
                "set `known_hosts_file` of the credential for this url to a file with the output of `ssh-keyscan {scan}`"
            )),
            Self::NoHostKey { scan, .. } => {
                Some(format!("compare the output of `ssh-keyscan {scan}` with the host's key, and add it"))
            }
            Self::HostKeyUnknown { line, .. } => {
                Some(format!("if this key is the right one, add the line: {line}"))
            }
            Self::HostKeyChanged { line, .. } => Some(format!(
                "this may be an attack; if the host's key was renewed, replace its line by: {line}"
            )),
            Self::HostKeyRevoked { .. } => Some("do not connect to it until it has another key".into()),
            Self::Chatter { .. } => Some(
                "the start-up files of the remote shell, or a forced command, must print nothing: try `ssh USER@HOST true`"
                    .into(),
            ),
            Self::Damaged { .. } => Some("the next fetch clones again, at most once a day".into()),
            Self::TooManyRefs { .. } | Self::RefsTooLong { .. } => {
                Some("raise `limits.refs` in the configuration".into())
            }
            Self::PackTooLarge { .. } => Some("raise `limits.pack` in the configuration".into()),
            Self::ObjectTooLarge { .. } => Some("raise `limits.object` in the configuration".into()),
            Self::TooMuchMemory { .. } => Some("raise `limits.fetch_memory` in the configuration".into()),
            Self::OutOfMemory => {
                Some("raise `limits.cycle_memory`, or give the container more memory".into())
            }
            _ => None,
        }
    }
}

/// The text of an error without the classes and codes that libgit2 and the standard library append.
pub(super) fn reason(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref::<git2::Error>() {
        Some(error) => error.message().to_owned(),
        None => without_error_numbers(&error.to_string()),
    }
}

fn hint_line(kind: &FetchErrorKind) -> String {
    kind.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default()
}
