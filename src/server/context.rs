//! What the connections of a server have in common, and what is known of a client.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::connection_limits::{ConnectionPermit, OVERFLOW_TIMEOUT};
use super::local_socket::LocalSocket;
use super::published::PublishedSite;
use crate::config;
use crate::telemetry::Metrics;

/// How to serve.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub serve: config::Serve,
    pub log: config::Log,
    /// Where `mirror health` asks, whatever else the server listens on.
    pub local_socket: Option<LocalSocket>,
}

/// What all connections share.
pub(super) struct ServerContext {
    pub(super) settings: Settings,
    pub(super) published: PublishedSite,
    pub(super) metrics: Metrics,
    /// Permits for downloads: one per connection on average.
    pub(super) downloads: Arc<Semaphore>,
    /// Responses so far, for the sample in the access log.
    pub(super) responses: AtomicU32,
}

/// What may be requested at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Everything,
    /// The site and health checks.
    Public,
    /// Health checks and metrics.
    Admin,
    /// Health checks, on the local socket.
    Local,
}

/// The client of a connection.
pub(super) struct Client {
    /// `None` on a Unix socket.
    pub(super) ip: Option<IpAddr>,
    pub(super) role: Role,
    pub(super) permit: ConnectionPermit,
}

impl Client {
    /// Whether a limit leaves no room for more than a 503.
    pub(super) fn is_over_limit(&self) -> bool {
        self.permit.exceeded.is_some()
    }

    /// How long the TLS handshake and the head of a request may take, each.
    pub(super) fn header_timeout(&self, settings: &Settings) -> Duration {
        match self.is_over_limit() {
            true => OVERFLOW_TIMEOUT,
            false => settings.serve.header_timeout,
        }
    }

    pub(super) fn idle_timeout(&self, settings: &Settings) -> Duration {
        match self.is_over_limit() {
            true => OVERFLOW_TIMEOUT,
            false => settings.serve.idle_timeout,
        }
    }
}
