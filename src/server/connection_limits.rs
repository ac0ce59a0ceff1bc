//! How many connections are served at once, in all and for one client, and what happens to the others.
//!
//! A connection over a limit is still answered: probes as ever, so that a busy server is not taken for a dead one, and
//! everything else with 503, which sends Composer to try again. When these too are many, further ones are closed at
//! once: nothing that a client does makes another one wait.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests at a time on one HTTP/2 connection.
pub(super) const STREAMS: u32 = 100;

/// Lines in the head of a request; Composer's has six.
pub(super) const HEADERS: usize = 100;

/// Bytes of a request's path and query; the longest URL that is published has a few hundred.
pub(super) const URI: usize = 8 << 10;

/// Bytes of a request's body, which nobody reads.
pub(super) const BODY: u64 = 64 << 10;

/// Connections over the limit that are told so.
const SURPLUS: usize = 256;

/// How long one of these may take to ask, or to do nothing.
pub(super) const SURPLUS_PATIENCE: Duration = Duration::from_secs(1);

/// The places for connections.
#[derive(Clone)]
pub(super) struct Places {
    regular: Arc<Semaphore>,
    surplus: Arc<Semaphore>,
    clients: Arc<Clients>,
}

struct Clients {
    /// Connections by address; a network of IPv6 counts as one.
    open: Mutex<HashMap<IpAddr, usize>>,
    most: usize,
}

/// A place, given back when it is dropped.
pub(super) struct Place {
    /// The limit because of which the server has no room for this connection's requests.
    pub(super) over: Option<&'static str>,
    _permit: OwnedSemaphorePermit,
    _client: Option<Counted>,
}

/// One connection of a client.
struct Counted {
    clients: Arc<Clients>,
    client: IpAddr,
}

impl Places {
    pub(super) fn new(connections: usize, per_client: usize) -> Self {
        let places = connections.min(Semaphore::MAX_PERMITS);
        Self {
            regular: Arc::new(Semaphore::new(places)),
            surplus: Arc::new(Semaphore::new(SURPLUS)),
            clients: Arc::new(Clients {
                open: Mutex::default(),
                most: per_client,
            }),
        }
    }

    /// A place for one more connection of `peer`, or the limit because of which there is none.
    pub(super) fn take(&self, peer: Option<IpAddr>) -> Result<Place, &'static str> {
        let client = peer.map(|ip| self.clients.count(network(ip)));
        let over = match client {
            Some(None) => Some("client"),
            _ => None,
        };
        if over.is_none()
            && let Ok(permit) = Arc::clone(&self.regular).try_acquire_owned()
        {
            return Ok(Place {
                over,
                _permit: permit,
                _client: client.flatten(),
            });
        }
        let over = over.unwrap_or("all");
        let permit = Arc::clone(&self.surplus).try_acquire_owned();
        permit.map_err(|_| over).map(|permit| Place {
            over: Some(over),
            _permit: permit,
            _client: None,
        })
    }
}

impl Clients {
    fn count(self: &Arc<Self>, client: IpAddr) -> Option<Counted> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(client).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Counted {
            clients: Arc::clone(self),
            client,
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.clients.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

/// What counts as one client: whoever has one address of IPv6 has its /64 (RFC 6177).
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_network_and_given_back() {
        let places = Places::new(3, 2);
        let take = |ip: &str| places.take(Some(ip.parse().unwrap()));
        let over = |ip: &str| take(ip).unwrap().over;
        let one = take("2001:db8::1").unwrap();
        let _two = take("2001:db8::ffff:2").unwrap();
        assert_eq!(over("2001:db8::3"), Some("client"));
        assert_eq!(over("2001:db8:0:1::3"), None);
        let _three = take("192.0.2.1").unwrap();
        assert_eq!(over("192.0.2.2"), Some("all"));
        assert_eq!(places.take(None).unwrap().over, Some("all"));
        drop(one);
        assert_eq!(over("2001:db8::3"), None);
        assert_eq!(places.take(None).unwrap().over, None);
        let clients = places.clients.open.lock().unwrap();
        assert_eq!(clients.len(), 2, "a client without a connection is forgotten");
    }

    #[test]
    fn when_nobody_can_be_told_any_more_connections_are_closed() {
        let places = Places::new(0, 2);
        let told: Vec<_> = std::iter::from_fn(|| places.take(None).ok()).collect();
        assert_eq!(told.len(), SURPLUS);
        assert_eq!(places.take(None).err(), Some("all"));
    }
}
