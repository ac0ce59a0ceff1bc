//! The section `serve` of the configuration: how HTTP is spoken, and its limits.

use std::net::Ipv6Addr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::listen_address::Address;
use super::units::count;
use super::{listen_address, units};

/// The HTTP server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Serve {
    /// The address and port to listen on, or a list of them; `[::]` also takes IPv4, `unix:/path` is a Unix socket.
    #[serde(with = "listen_address")]
    #[schemars(with = "listen_address::Addresses")]
    pub listen: Vec<Address>,
    /// Where probes and metrics are answered, and nothing else; with it metrics are answered nowhere else.
    #[serde(with = "listen_address", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "listen_address::Addresses")]
    pub admin: Vec<Address>,
    /// Where HTTPS is spoken, with which certificate.
    pub tls: Option<Tls>,
    /// How long running answers may take after the signal to stop.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub drain: Duration,
    /// How long a client may take to send the head of a request; the first one counts from when it connects.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub header_timeout: Duration,
    /// How long a connection may stay open without a request.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub idle_timeout: Duration,
    /// How slowly a client may read, in bytes a second; who is slower for longer than the idle timeout is cut off.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub min_pace: usize,
    /// How many connections may be open at once.
    pub max_connections: NonZeroUsize,
    /// How many of them may come from one client: an IPv4 address, or a /64 network of IPv6.
    pub max_connections_per_client: NonZeroUsize,
    /// How large the head of a request may be.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub max_header_size: usize,
    /// What is also kept compressed, for clients that accept it.
    pub compression: Compression,
}

/// HTTPS by a certificate and its key; both files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The address and port to listen on, or a list of them.
    #[serde(with = "listen_address", default = "default_tls_listen")]
    #[schemars(with = "listen_address::Addresses")]
    pub listen: Vec<Address>,
    /// A PEM file with the certificate, followed by those up to its authority.
    pub certificate: PathBuf,
    /// A PEM file with the private key.
    pub key: PathBuf,
    /// Whether HTTP/2 is offered; Composer stalls on it now and then, up to the libcurl of Debian 13.
    #[serde(default)]
    pub http2: bool,
}

fn default_tls_listen() -> Vec<Address> {
    vec![(Ipv6Addr::UNSPECIFIED, 8443).into()]
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Compression {
    /// Metadata and archives: half as much disk space again, and a quarter of the traffic.
    #[default]
    All,
    Metadata,
    None,
}

impl Default for Serve {
    fn default() -> Self {
        Self {
            listen: vec![(Ipv6Addr::UNSPECIFIED, 8080).into()],
            admin: Vec::new(),
            tls: None,
            drain: Duration::from_secs(30),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            min_pace: 1024,
            max_connections: count(4096),
            // All clients behind one proxy are one client.
            max_connections_per_client: count(2048),
            max_header_size: 16 * 1024,
            compression: Compression::All,
        }
    }
}
