//! Why a request failed, and what the operator can do about it.

use std::path::PathBuf;
use std::time::Duration;

use super::redirect_policy::PRIVATE;
use crate::util::text::without_error_numbers;

/// Ends the reason if the host that refuses access was reached by a redirect.
pub(super) const AFTER_REDIRECT: &str = "after a redirect from another host";

/// A failed connection or request. Messages name hosts, files and URL prefixes, never a secret.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("failed to reach `{host}`: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("`{host}` did not answer within {} s", .after.as_secs_f32())]
    Timeout { host: String, after: Duration },
    #[error("cancelled")]
    Cancelled,
    #[error("the transfer from `{host}` took longer than {} s", .after.as_secs_f32())]
    Deadline { host: String, after: Duration },
    #[error("`{host}` sent fewer than {pace} bytes per second for {} s", .window.as_secs_f32())]
    TooSlow { host: String, pace: usize, window: Duration },
    #[error("failed to trust `{host}`: {reason}")]
    Tls { host: String, reason: String },
    #[error("`{host}` closed the connection: {reason}")]
    Interrupted { host: String, reason: String },
    #[error("`{host}` refused access ({reason}) {}", with_credential(.credential))]
    Denied {
        host: String,
        reason: String,
        /// The URL prefix of the credential that was used.
        credential: Option<String>,
    },
    #[error("`{host}` does not accept {used}, only {offered}")]
    Login { host: String, used: String, offered: String },
    #[error("`{host}` has no {kind} that is supported here, only {offered}")]
    NoCommonAlgorithm { host: String, kind: &'static str, offered: String },
    #[error("not found (http status {status})")]
    NotFound { status: u16 },
    #[error("`{host}` answered with http status {status}")]
    Status { host: String, status: u16 },
    #[error("`{host}` is busy (http status {status}) and asks to wait for {} s", .wait.as_secs())]
    Busy { host: String, status: u16, wait: Duration },
    #[error("the proxy `{proxy}` does not let through to `{host}`: {reason}")]
    Proxy { proxy: String, host: String, reason: String },
    #[error("`{host}` redirects to `{to}`, which is not followed: {reason}")]
    Redirect { host: String, to: String, reason: &'static str },
    #[error("failed to read `{}`: {reason}", .path.display())]
    File { path: PathBuf, reason: String },
}

impl NetworkError {
    pub(crate) fn unreachable(host: impl Into<String>, error: &impl ToString) -> Self {
        Self::Unreachable { host: host.into(), reason: without_error_numbers(&error.to_string()) }
    }

    pub(crate) fn interrupted(host: impl Into<String>, error: &impl ToString) -> Self {
        Self::Interrupted { host: host.into(), reason: without_error_numbers(&error.to_string()) }
    }

    pub(crate) fn file(path: impl Into<PathBuf>, error: &impl ToString) -> Self {
        Self::File { path: path.into(), reason: without_error_numbers(&error.to_string()) }
    }

    /// What the operator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            // rustls identifies these two by their names only.
            Self::Tls { reason, .. } if reason.contains("CaUsedAsEndEntity") => Some(
                "the server's certificate is marked as an authority's, the default of `openssl req -x509`: create it with `-addext basicConstraints=CA:FALSE`",
            ),
            Self::Tls { reason, .. } if reason.contains("InvalidContentType") => {
                Some("does this port speak plain http?")
            }
            Self::Tls { .. } => Some("name the certificate authority of this host in `git.ca_file`"),
            Self::Deadline { .. } => Some("the limit is `git.total_timeout` in the configuration"),
            Self::TooSlow { .. } => Some("the limit is `git.min_pace` in the configuration"),
            Self::Redirect { reason: PRIVATE, .. } => {
                Some("if this is right, name the beginning of that url in `git.redirects`")
            }
            Self::Proxy { reason, .. } if reason.contains("407") => Some(
                "the proxy asks for a login: write the variable that names it as `http://user:password@host:port`",
            ),
            Self::Proxy { .. } => {
                Some("the proxy is named by the environment; `no_proxy` lists hosts to reach without it")
            }
            Self::Denied { reason, .. } if reason.ends_with(AFTER_REDIRECT) => Some(
                "credentials are not sent to where a redirect leads: name that url in the recipe or in `git.rewrite`",
            ),
            Self::Denied { credential: None, .. } => {
                Some("configure a credential for this url, or check that the repository is public")
            }
            Self::Denied { .. } => Some("check that the credential is valid and may read this repository"),
            Self::Login { .. } => Some(
                "the credential may be right: allow this way of logging in on the server, or use an account for programs",
            ),
            Self::Status { status: 413, .. } => Some(
                "the web server in front of git limits the size of requests: raise its limit (in nginx `client_max_body_size`)",
            ),
            Self::NotFound { .. } => {
                Some("check the url; hosts also answer this for a private repository without a credential")
            }
            _ => None,
        }
    }
}

/// Whether a request failed because there is nothing at its URL.
pub(crate) fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(NetworkError::NotFound { .. }))
}

/// An error with its causes and, unless they say it, what the operator can do about a request that failed.
pub(crate) fn with_hint(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let request = error.chain().find_map(|cause| cause.downcast_ref::<NetworkError>());
    match request.and_then(NetworkError::hint).filter(|_| !text.contains("\nhint: ")) {
        Some(hint) => format!("{text}\nhint: {hint}"),
        None => text,
    }
}

fn with_credential(prefix: &Option<String>) -> String {
    match prefix {
        Some(prefix) => format!("to the credential for `{prefix}`"),
        None => "without a credential".into(),
    }
}
