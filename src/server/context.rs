//! The state that all connections of a server share, and the clients of connections and requests.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use hyper::header::HeaderMap;
use tokio::sync::Semaphore;

use super::client_address::client_address;
use super::connection_limits::{CLIENT_LIMIT, ClientPermit, ConnectionPermit, OVERFLOW_TIMEOUT};
use super::local_socket::LocalSocket;
use super::published::PublishedSite;
use crate::config;
use crate::telemetry::Metrics;

/// How to serve.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub serve: config::Serve,
    /// Where TLS is spoken, and with which certificate.
    pub tls: Option<config::Tls>,
    pub log: config::Log,
    /// Where `mirror health` and `mirror status` ask, whatever else the server listens on.
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
    /// Whether a PROXY header of an untrusted peer was reported.
    pub(super) has_warned: AtomicBool,
}

impl ServerContext {
    /// Reports a PROXY header from `peer`, which is neither HTTP nor TLS. Only once, because anyone can send them.
    pub(super) fn warn_untrusted_proxy(&self, peer: Option<IpAddr>) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            let peer = peer.map_or("unix:".to_owned(), |ip| ip.to_string());
            tracing::warn!(
                "refused a PROXY header from `{peer}`, which is not trusted; further ones are not logged\nhint: if it is a proxy of yours, name it in `serve.trusted_proxies`"
            );
        }
    }
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
    /// Health checks and the status of all repositories, on the local socket, for the server's own user and root.
    Operator,
}

/// The client of a connection: the peer, or the one that a PROXY header names.
pub(super) struct Client {
    /// `None` on a Unix socket.
    pub(super) ip: Option<IpAddr>,
    /// Whether it is a trusted proxy, whose requests come from other clients.
    pub(super) is_proxy: bool,
    pub(super) role: Role,
    pub(super) permit: ConnectionPermit,
}

/// The client of a request.
pub(super) struct RequestClient {
    /// `None` on a Unix socket, unless a trusted proxy names one.
    pub(super) ip: Option<IpAddr>,
    pub(super) role: Role,
    pub(super) over_limit: Option<OverLimit>,
    /// Of a client behind a proxy: counts the request until the response is sent.
    pub(super) permit: Option<ClientPermit>,
}

/// What is over a limit and therefore gets a 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OverLimit {
    /// The connection, which is closed.
    Connection,
    /// A request on a connection that other clients share.
    Request,
}

impl Client {
    pub(super) fn is_over_limit(&self) -> bool {
        self.permit.exceeded.is_some()
    }

    /// How long the PROXY header, the TLS handshake and the head of a request may take, each.
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

    /// The client of a request with these headers.
    pub(super) fn of_request(&self, server: &ServerContext, headers: &HeaderMap) -> RequestClient {
        let mut client = RequestClient {
            ip: self.ip,
            role: self.role,
            over_limit: self.is_over_limit().then_some(OverLimit::Connection),
            permit: None,
        };
        if self.is_proxy {
            client.ip = client_address(self.ip, &server.settings.serve.trusted_proxies, headers);
        }
        // The proxy's own requests, such as health checks, are not limited.
        if client.ip != self.ip && client.over_limit.is_none() {
            client.permit = self.permit.clients.acquire(client.ip);
            if client.permit.is_none() {
                client.over_limit = Some(OverLimit::Request);
                server.metrics.connection_refused(CLIENT_LIMIT);
            }
        }
        client
    }
}
