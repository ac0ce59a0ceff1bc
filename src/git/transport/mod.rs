//! git's smart protocol over http(s) by ureq, and over ssh by russh.

mod http;
mod known_hosts;
mod private_key;
mod smart_transport;
mod ssh;
mod ssh_login;
mod ssh_stream;

use std::path::Path;

use crate::net::NetworkError;

pub use smart_transport::{RemoteStream, SmartTransport, Version};

pub(super) use http::HttpTransport;
pub(super) use ssh::SshTransport;

/// Checks that a private key, and the certificate beside it, can be read with this passphrase.
pub(super) fn check_private_key(file: &Path, passphrase: Option<&str>) -> Result<(), NetworkError> {
    private_key::Identity::read(file, passphrase).map(drop)
}
