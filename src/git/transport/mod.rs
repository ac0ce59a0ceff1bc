//! git's smart protocol over http(s) by ureq, and over ssh by russh.

mod http;
mod known_hosts;
mod smart_transport;
mod ssh;

use std::sync::Arc;

use super::error::FetchErrorKind;
use super::url::GitUrl;
use crate::config::Git;
use crate::net::RootCertificates;
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
