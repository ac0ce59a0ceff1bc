//! git's smart protocol over http(s) by ureq, and over ssh by russh.

mod http;
mod known_hosts;
mod private_key;
mod smart_transport;
mod ssh;
mod ssh_login;
mod ssh_stream;

use std::path::Path;
use std::sync::Arc;

use super::error::FetchErrorKind;
use super::url::{GitUrl, SshUrl};
use crate::config::Git;
use crate::net::{NetworkError, RootCertificates};
use crate::util::cancel::CancelFlag;

pub(super) use smart_transport::{RemoteStream, SmartTransport, Version};

/// The transport for a remote URL; `None` for a local one.
pub(super) fn for_url(
    url: &GitUrl,
    git: &Git,
    roots: &RootCertificates,
    cancel: &CancelFlag,
) -> Result<Option<Arc<dyn SmartTransport>>, FetchErrorKind> {
    Ok(match url {
        GitUrl::Http(url) => Some(Arc::new(http::HttpTransport::new(url, git, roots, cancel)?)),
        GitUrl::Ssh(url) => Some(Arc::new(ssh::SshTransport::new(url, git, cancel))),
        GitUrl::Local(_) => None,
    })
}

/// Checks that a host key is known for an ssh URL.
pub(super) fn check_known_hosts(url: &SshUrl, git: &Git) -> Result<(), FetchErrorKind> {
    ssh::SshTransport::new(url, git, &CancelFlag::default()).check()
}

/// Checks that a private key, and the certificate beside it, can be read with this passphrase.
pub(super) fn check_private_key(file: &Path, passphrase: Option<&str>) -> Result<(), NetworkError> {
    private_key::Identity::read(file, passphrase).map(drop)
}
