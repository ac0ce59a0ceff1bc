//! HTTP as a client: for git over http(s), for downloads, and for notifications.
//!
//! All requests use the certificates, time limits and credentials of the configuration's section `git`, and the proxy of the
//! environment. No password is printed, or sent to another host than its own.

mod authorization;
mod client;
mod connector;
mod credential;
mod error;
mod exchange;
mod forward_proxy;
mod post_json;
mod proxy;
mod redirect_policy;
mod tls_roots;
mod transfer_watch;
mod url;

pub(crate) use client::{HttpClient, host};
pub use client::{USER_AGENT, download};
pub(crate) use connector::connect;
pub(crate) use credential::{covers, find_credential, path_is_below, read_secret};
pub use error::NetworkError;
pub(crate) use error::{is_not_found, with_hint};
pub use post_json::post_json;
pub(crate) use tls_roots::RootCertificates;
pub use tls_roots::read_certificates;
pub(crate) use transfer_watch::{POLL, TransferWatch};
pub use url::redacted;
pub(crate) use url::{file_path, percent_decoded};
