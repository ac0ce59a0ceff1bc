//! One file over http or https, there or back, with the proxy, certificates and credentials that fetches use.

use url::Url;

use super::Settings;
use super::error::{FetchError, FetchErrorKind};
use super::transport::{RootCertificates, download as get, post};
use super::url::redacted;

/// More is no metadata of a Composer repository.
pub(super) const LARGEST: u64 = 1 << 30;

/// Downloads a file whole; blocks.
///
/// # Errors
/// The cause, with the URL.
pub fn download(url: &str, settings: &Settings) -> Result<Vec<u8>, FetchError> {
    let failed = |kind| FetchError {
        url: redacted(url),
        kind,
    };
    let parsed = Url::parse(url).map_err(|_| failed(FetchErrorKind::NotFound))?;
    let trust = RootCertificates::new(settings.ca_file.clone());
    get(&parsed, settings, &trust, LARGEST).map_err(failed)
}

/// Sends JSON to an address that answers with a 2xx status; blocks.
///
/// # Errors
/// The cause; the address is left out, since that of a webhook is a secret.
pub fn post_json(url: &str, settings: &Settings, body: &[u8]) -> Result<(), FetchErrorKind> {
    let parsed = Url::parse(url).map_err(|_| FetchErrorKind::NotFound)?;
    let trust = RootCertificates::new(settings.ca_file.clone());
    post(&parsed, settings, &trust, "application/json", body)
}
