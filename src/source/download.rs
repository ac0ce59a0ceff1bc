//! One file over http or https, with the proxy, certificates and credentials that fetches use.

use url::Url;

use super::Settings;
use super::address::redacted;
use super::error::{Cause, FetchError};
use super::transport::{Trust, download as get};

/// More is no metadata of a Composer repository.
pub(super) const LARGEST: u64 = 1 << 30;

/// Downloads a file whole; blocks.
///
/// # Errors
/// The cause, with the URL.
pub fn download(url: &str, settings: &Settings) -> Result<Vec<u8>, FetchError> {
    let failed = |cause| FetchError {
        url: redacted(url),
        cause,
    };
    let parsed = Url::parse(url).map_err(|_| failed(Cause::NotFound))?;
    let trust = Trust::new(settings.ca_file.clone());
    get(&parsed, settings, &trust, LARGEST).map_err(failed)
}
