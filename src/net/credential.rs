//! Chooses the credential for a URL, and reads its secrets.

use std::io::Read as _;
use std::path::PathBuf;

use ureq::Body;
use ureq::http::Response;
use url::Url;

use super::error::NetworkError;
use crate::config::{Credential, Secret};
use crate::util::text::quoted;

/// How much of a refusal is quoted, in bytes.
const MAX_QUOTED: u64 = 300;

/// The credential with the longest URL prefix that `covers` accepts.
pub(crate) fn find_credential(
    credentials: &[Credential],
    covers: impl Fn(&str) -> bool,
) -> Option<&Credential> {
    let covering = credentials.iter().filter(|credential| covers(&credential.url));
    covering.max_by_key(|credential| credential.url.len())
}

/// Whether `url` has the origin of `prefix`, and a path below its path.
pub(crate) fn covers(prefix: &str, url: &Url) -> bool {
    Url::parse(prefix)
        .is_ok_and(|prefix| prefix.origin() == url.origin() && path_is_below(url.path(), prefix.path()))
}

/// Whether `path` is `prefix` or continues it at a `/`.
pub(crate) fn path_is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_matches('/');
    let Some(rest) = path.trim_start_matches('/').strip_prefix(prefix) else {
        return false;
    };
    prefix.is_empty() || rest.is_empty() || rest.starts_with('/')
}

/// Reads a secret each time it is used, so that a rotated file takes effect.
pub(crate) fn read_secret(secret: Option<&Secret>) -> Result<Option<String>, NetworkError> {
    let Some(secret) = secret else { return Ok(None) };
    let file = match secret {
        Secret::File(path) => path.clone(),
        Secret::Value(_) => PathBuf::new(),
    };
    let read = secret.read().map(Some);
    read.map_err(|error| NetworkError::file(file, &error.root_cause()))
}

/// The error of a 401 whose challenges do not include Basic (RFC 9110 section 11.6.1).
pub(super) fn unsupported_challenge(host: &str, response: &Response<Body>) -> Option<NetworkError> {
    let values = response.headers().get_all("WWW-Authenticate").iter();
    let values = values.filter_map(|value| http_auth::parse_challenges(value.to_str().ok()?).ok());
    let schemes: Vec<_> = values.flatten().map(|challenge| challenge.scheme).collect();
    let has_basic = schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("Basic"));
    (response.status() == 401 && !schemes.is_empty() && !has_basic).then(|| NetworkError::Login {
        host: host.to_owned(),
        used: "a password by the scheme Basic".into(),
        offered: schemes.join(", "),
    })
}

/// `: ` and the reason that a server gives for a refusal in plain text, as git shows it; empty if there is none.
pub(super) fn own_words(response: Response<Body>) -> String {
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
    let mut text = Vec::new();
    if kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/plain")) {
        // What has arrived before a failure counts.
        let _ = response.into_body().into_reader().take(MAX_QUOTED).read_to_end(&mut text);
    }
    match String::from_utf8_lossy(&text).trim() {
        "" => String::new(),
        words => format!(": {}", quoted(words)),
    }
}
