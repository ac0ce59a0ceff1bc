//! Posts JSON: notifications, and what followers are told.

use url::Url;

use super::client::{HttpClient, USER_AGENT, host};
use super::error::NetworkError;
use super::tls_roots::RootCertificates;
use crate::config::Git;
use crate::util::cancel::CancelFlag;

/// Posts JSON to a URL that answers with a 2xx status; blocks. Errors name the host only, since a webhook's URL is a secret.
pub fn post_json(
    url: &Url,
    git: &Git,
    body: &[u8],
    headers: &[(&str, String)],
    cancel: &CancelFlag,
) -> Result<(), NetworkError> {
    let roots = RootCertificates::new(git.ca_file.clone());
    let client = HttpClient::new(url, git, &roots, USER_AGENT, cancel)?;
    let more = headers.iter().map(|(name, value)| (*name, value.as_str()));
    let headers: Vec<_> =
        [("Content-Type", "application/json"), ("Accept", "*/*")].into_iter().chain(more).collect();
    let status = client.post(url, &headers, body)?.status();
    match status.is_success() {
        true => Ok(()),
        false => Err(NetworkError::Status { host: host(url), status: status.as_u16() }),
    }
}
