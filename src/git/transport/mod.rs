//! git's smart protocol over http(s) by ureq, and over ssh by russh.

mod http;
mod known_hosts;
mod private_key;
mod smart_transport;
mod ssh;
mod ssh_login;
mod ssh_stream;

pub use smart_transport::{RemoteStream, SmartTransport, Version};

pub(super) use http::HttpTransport;
pub(super) use private_key::SshIdentity;
pub(super) use ssh::SshTransport;
