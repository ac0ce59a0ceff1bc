//! Limits of concurrent connections and downloads, in total and per client. Connections of trusted proxies count in total only;
//! for the clients behind them, concurrent requests are limited.
//!
//! A connection over a limit is still answered: health checks as usual, so that a busy server is not taken for a dead
//! one, and everything else with 503, which makes Composer try again. Connections beyond these are closed at once.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Concurrent requests of one HTTP/2 connection.
pub(super) const MAX_STREAMS: u32 = 100;

/// Header lines of a request; Composer sends six.
pub(super) const MAX_HEADERS: usize = 100;

/// Bytes of a request's path and query; the longest published URL has a few hundred.
pub(super) const MAX_URI: usize = 8 << 10;

/// Bytes of a request body that is not read.
pub(super) const MAX_UNREAD_BODY: u64 = 64 << 10;

/// Connections over the limit that are answered with 503.
const OVERFLOW_CONNECTIONS: usize = 256;

/// How long such a connection may take to send a request, or stay idle.
pub(super) const OVERFLOW_TIMEOUT: Duration = Duration::from_secs(1);

/// Files that one HTTP/2 connection downloads concurrently; its other downloads wait. A proxy has those of many clients.
const DOWNLOADS_PER_CONNECTION: usize = 8;
const DOWNLOADS_PER_PROXY_CONNECTION: usize = MAX_STREAMS as usize;

/// The limits as they are named in the metrics.
pub(super) const CLIENT_LIMIT: &str = "client";
const TOTAL_LIMIT: &str = "all";

/// Hands out permits for connections.
#[derive(Clone)]
pub(super) struct ConnectionLimiter {
    regular: Arc<Semaphore>,
    overflow: Arc<Semaphore>,
    clients: PerClientCounter,
}

/// Permission to serve one connection, until it is dropped.
pub(super) struct ConnectionPermit {
    /// The limit that the connection is over, as named in the metrics.
    pub(super) exceeded: Option<&'static str>,
    pub(super) clients: PerClientCounter,
    _permit: OwnedSemaphorePermit,
    client: Option<ClientPermit>,
}

impl ConnectionPermit {
    /// Counts the connection for the client at `ip`, which a PROXY header has named.
    pub(super) fn count_for(&mut self, ip: IpAddr) {
        self.client = self.clients.acquire(Some(ip));
        if self.client.is_none() {
            self.exceeded = self.exceeded.or(Some(CLIENT_LIMIT));
        }
    }
}

impl ConnectionLimiter {
    pub(super) fn new(connections: usize, per_client: usize) -> Self {
        Self {
            regular: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            overflow: Arc::new(Semaphore::new(OVERFLOW_CONNECTIONS)),
            clients: PerClientCounter::new(per_client),
        }
    }

    /// A permit for a connection, counted for the client at `ip` if it is known.
    pub(super) fn acquire(&self, ip: Option<IpAddr>) -> Result<ConnectionPermit, &'static str> {
        let client = ip.map(|ip| self.clients.acquire(Some(ip)));
        let is_over = matches!(client, Some(None));
        if !is_over && let Ok(permit) = Arc::clone(&self.regular).try_acquire_owned() {
            return Ok(self.permit(None, permit, client.flatten()));
        }
        let exceeded = if is_over { CLIENT_LIMIT } else { TOTAL_LIMIT };
        let permit = Arc::clone(&self.overflow).try_acquire_owned();
        permit.map_err(|_| exceeded).map(|permit| self.permit(Some(exceeded), permit, None))
    }

    fn permit(
        &self,
        exceeded: Option<&'static str>,
        permit: OwnedSemaphorePermit,
        client: Option<ClientPermit>,
    ) -> ConnectionPermit {
        ConnectionPermit { exceeded, clients: self.clients.clone(), _permit: permit, client }
    }
}

/// Counts something per client, up to a limit.
#[derive(Clone)]
pub(super) struct PerClientCounter {
    counts: Arc<Mutex<HashMap<Option<IpAddr>, ClientCount>>>,
    limit: usize,
}

#[derive(Default)]
struct ClientCount {
    count: usize,
    turn: Arc<Turn>,
}

/// A lock that the permits of one client take in turn.
type Turn = tokio::sync::Mutex<()>;

/// Counted until it is dropped.
pub(super) struct ClientPermit {
    counter: PerClientCounter,
    client: Option<IpAddr>,
    /// How many were counted for the client when this one was, with it.
    pub(super) number: usize,
    pub(super) turn: Arc<Turn>,
}

impl PerClientCounter {
    pub(super) fn new(limit: usize) -> Self {
        Self { counts: Arc::default(), limit }
    }

    /// `None` when the client at `ip` has reached the limit. All clients of Unix sockets are one.
    pub(super) fn acquire(&self, ip: Option<IpAddr>) -> Option<ClientPermit> {
        let client = ip.map(network);
        let mut counts = self.counts.lock();
        let counted = counts.entry(client).or_default();
        if counted.count >= self.limit {
            return None;
        }
        counted.count += 1;
        let (number, turn) = (counted.count, Arc::clone(&counted.turn));
        drop(counts);
        Some(ClientPermit { counter: self.clone(), client, number, turn })
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        let mut counts = self.counter.counts.lock();
        if let Some(counted) = counts.get_mut(&self.client) {
            counted.count -= 1;
            if counted.count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

/// An IPv4 address, or the /64 network of an IPv6 address, which belongs to one subscriber (RFC 6177).
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

/// Limits the files that are open for downloads, of the server and of one connection, and thereby the memory that slow clients
/// can occupy.
pub(super) struct DownloadLimiter {
    server: Arc<Semaphore>,
    connection: Arc<Semaphore>,
}

/// Permission for one download, until it is dropped.
pub(super) type DownloadPermit = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl DownloadLimiter {
    /// For one connection, of a server with permits for all.
    pub(super) fn new(server: Arc<Semaphore>, is_proxy: bool) -> Self {
        let downloads = if is_proxy { DOWNLOADS_PER_PROXY_CONNECTION } else { DOWNLOADS_PER_CONNECTION };
        Self { server, connection: Arc::new(Semaphore::new(downloads)) }
    }

    /// Waits for the other downloads of the connection; `None` when the server has reached its limit.
    pub(super) async fn acquire(&self) -> Option<DownloadPermit> {
        let connection = Arc::clone(&self.connection).acquire_owned().await.ok()?;
        Some((Arc::clone(&self.server).try_acquire_owned().ok()?, connection))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_counted_by_network_and_returned() {
        let limiter = ConnectionLimiter::new(3, 2);
        let acquire = |ip: &str| limiter.acquire(Some(ip.parse().unwrap()));
        let exceeded = |ip: &str| acquire(ip).unwrap().exceeded;
        let one = acquire("2001:db8::1").unwrap();
        let _two = acquire("2001:db8::ffff:2").unwrap();
        assert_eq!(exceeded("2001:db8::3"), Some("client"));
        assert_eq!(exceeded("2001:db8:0:1::3"), None);
        let _three = acquire("192.0.2.1").unwrap();
        assert_eq!(exceeded("192.0.2.2"), Some("all"));
        assert_eq!(limiter.acquire(None).unwrap().exceeded, Some("all"));
        drop(one);
        assert_eq!(exceeded("2001:db8::3"), None);
        assert_eq!(limiter.acquire(None).unwrap().exceeded, None);
        let counts = limiter.clients.counts.lock();
        assert_eq!(counts.len(), 2, "a client without a connection is forgotten");
    }

    #[test]
    fn connections_beyond_the_overflow_are_closed() {
        let limiter = ConnectionLimiter::new(0, 2);
        let answered: Vec<_> = std::iter::from_fn(|| limiter.acquire(None).ok()).collect();
        assert_eq!(answered.len(), OVERFLOW_CONNECTIONS);
        assert_eq!(limiter.acquire(None).err(), Some("all"));
    }
}
