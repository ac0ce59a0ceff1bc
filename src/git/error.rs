//! Why a fetch failed, as a closed set of causes with their remedies.
//!
//! A message names URLs, files and credentials' prefixes; never a secret.

use std::path::PathBuf;
use std::time::Duration;

use super::url::GitUrlError;

/// A fetch that failed; what was in the clone before is as it was.
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
    GitUrl(#[from] GitUrlError),
    #[error("cancelled")]
    Cancelled,
    #[error("failed to reach `{host}`: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("`{host}` did not answer within {} s", .after.as_secs_f32())]
    Timeout { host: String, after: Duration },
    #[error("failed to trust `{host}`: {reason}")]
    Tls { host: String, reason: String },
    #[error("`{host}` broke the connection off: {reason}")]
    Interrupted { host: String, reason: String },
    #[error("`{host}` refused access ({reason}) {}", with_credential(.credential))]
    Denied {
        host: String,
        reason: String,
        credential: Option<String>,
    },
    #[error("it has {refs} branches and tags, more than {most}")]
    TooManyRefs { refs: usize, most: usize },
    #[error("the repository was not found")]
    NotFound,
    #[error("the answer is not git's smart protocol: {reason}")]
    NotGit { reason: String },
    #[error("`{host}` answered with http status {status}")]
    Status { host: String, status: u16 },
    #[error("`{host}` redirects to `{to}`, which is not followed: {reason}")]
    Redirect {
        host: String,
        to: String,
        reason: &'static str,
    },
    #[error("no known_hosts file is configured for `{host}`")]
    NoKnownHosts {
        host: String,
        /// What ssh-keyscan has to be called with.
        scan: String,
    },
    #[error("the host key of `{host}` is not in `{}`", .file.display())]
    HostKeyUnknown {
        host: String,
        file: PathBuf,
        line: String,
    },
    #[error("the host key of `{host}` is not the one in `{}`", .file.display())]
    HostKeyChanged {
        host: String,
        file: PathBuf,
        line: String,
    },
    #[error("the remote git said: {said}")]
    Remote { said: String },
    #[error("failed to read `{}`: {reason}", .path.display())]
    File { path: PathBuf, reason: String },
    #[error("`{}` is not a git repository: {reason}", .path.display())]
    NotARepository { path: PathBuf, reason: String },
    #[error("failed to {verb} `{}`: {reason}", .path.display())]
    Clone {
        verb: &'static str,
        path: PathBuf,
        reason: String,
    },
    #[error("the clone `{}` is damaged: {reason}", .path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{0}")]
    Git(git2::Error),
}

impl FetchErrorKind {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            // rustls tells these two by their names alone.
            Self::Tls { reason, .. } if reason.contains("CaUsedAsEndEntity") => Some(
                "the server's own certificate is marked as an authority's, as `openssl req -x509` makes it by default: make it with `-addext basicConstraints=CA:FALSE`".into(),
            ),
            Self::Tls { reason, .. } if reason.contains("InvalidContentType") => {
                Some("is this the port of http?".into())
            }
            Self::Tls { .. } => Some("name the certificate authority of this host in `git.ca_file`".into()),
            Self::Denied { credential: None, .. } => {
                Some("configure a credential for this url, or check that the repository is public".into())
            }
            Self::Denied { .. } => {
                Some("check that the credential is valid and may read this repository".into())
            }
            Self::NotFound => Some(
                "check the url; hosts also answer so when a private repository needs a credential".into(),
            ),
            Self::NoKnownHosts { scan, .. } => Some(format!(
                "give the credential for this url a `known_hosts_file`, as `ssh-keyscan {scan}` prints it"
            )),
            Self::HostKeyUnknown { line, .. } => {
                Some(format!("if this key is the right one, add the line: {line}"))
            }
            Self::HostKeyChanged { line, .. } => Some(format!(
                "somebody may be listening in; if the host's key was renewed, replace its line by: {line}"
            )),
            Self::Damaged { .. } => Some("the next fetch makes the clone anew, once a day at most".into()),
            Self::TooManyRefs { .. } => Some("`limits.refs` in the configuration".into()),
            _ => None,
        }
    }
}

fn hint_line(cause: &FetchErrorKind) -> String {
    cause
        .hint()
        .map(|hint| format!("\nhint: {hint}"))
        .unwrap_or_default()
}

fn with_credential(prefix: &Option<String>) -> String {
    match prefix {
        Some(prefix) => format!("to the credential for `{prefix}`"),
        None => "without a credential".into(),
    }
}
