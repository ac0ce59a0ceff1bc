//! Where redirects may lead.
//!
//! A redirect to another origin is the server's choice, not the operator's: no credential is sent from then on, not even after
//! a redirect back. It must not lead to a private address, unless `git.redirects` allows it, and it is logged. A redirect from
//! https to http is never followed.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use ureq::http::Uri;
use url::{Host, Url};

use super::client::host;
use super::credential::covers;
use super::error::NetworkError;
use super::url::redacted;

pub(super) const PRIVATE: &str = "it leads to a private address, which `git.redirects` does not allow";

/// The redirects of one client; clones share their state.
#[derive(Clone, Debug)]
pub(super) struct RedirectPolicy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: url::Origin,
    allowed: Vec<String>,
    followed: Mutex<Followed>,
}

#[derive(Debug, Default)]
struct Followed {
    /// Whether a redirect has led to another origin.
    has_left: bool,
    /// Hosts with ports that only redirects have named.
    public_only: BTreeSet<String>,
}

/// Why a connection for a redirect is refused.
#[derive(Debug, thiserror::Error)]
#[error("it leads to the private address {0}")]
pub(super) struct PrivateAddress(pub IpAddr);

impl RedirectPolicy {
    /// `allowed`: the prefixes of URLs in private networks that redirects may lead to.
    pub(super) fn new(url: &Url, allowed: &[String]) -> Self {
        let (origin, allowed) = (url.origin(), allowed.to_vec());
        Self(Arc::new(Inner { origin, allowed, followed: Mutex::default() }))
    }

    /// Begins a request to the operator's own URL.
    pub(super) fn begin(&self) {
        self.0.followed.lock().has_left = false;
    }

    pub(super) fn has_left(&self) -> bool {
        self.0.followed.lock().has_left
    }

    /// The URL that a redirect leads to.
    pub(super) fn follow(&self, from: &Url, location: &str) -> Result<Url, NetworkError> {
        let to = self.admit(from, location)?;
        if to.origin() != from.origin() {
            tracing::warn!(from = host(from), to = redacted(to.as_str()), "a redirect leads to another host");
        }
        Ok(to)
    }

    /// A URL that an answer from `from` names, if it may be asked for.
    pub(super) fn admit(&self, from: &Url, location: &str) -> Result<Url, NetworkError> {
        let refuse = |reason| NetworkError::Redirect { host: host(from), to: redacted(location), reason };
        let mut to = from.join(location).map_err(|_| refuse("it is not a url"))?;
        match (from.scheme(), to.scheme()) {
            (_, "https") | ("http", "http") => {}
            ("https", "http") => return Err(refuse("it leaves https")),
            _ => return Err(refuse("it leaves http")),
        }
        // These fail for URLs without a host only.
        let _ = to.set_username("").and_then(|()| to.set_password(None));
        if to.origin() != self.0.origin {
            let is_allowed = self.0.allowed.iter().any(|prefix| covers(prefix, &to));
            if !is_allowed && literal_address(&to).is_some_and(is_private) {
                return Err(refuse(PRIVATE));
            }
            let mut followed = self.0.followed.lock();
            followed.has_left = true;
            if !is_allowed {
                followed.public_only.insert(host_and_port(&to));
            }
        }
        Ok(to)
    }

    /// Refuses to connect to a private address that only a redirect leads to.
    pub(super) fn check_addresses(&self, uri: &Uri, addresses: &[SocketAddr]) -> Result<(), PrivateAddress> {
        let Ok(url) = Url::parse(&uri.to_string()) else { return Ok(()) };
        if !self.0.followed.lock().public_only.contains(&host_and_port(&url)) {
            return Ok(());
        }
        match addresses.iter().map(SocketAddr::ip).find(|address| is_private(*address)) {
            Some(private) => Err(PrivateAddress(private)),
            None => Ok(()),
        }
    }
}

fn host_and_port(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

/// Whether an address is not public (RFC 6890): loopback, private, link-local, shared, unspecified, reserved or multicast, also
/// inside an IPv6 address that embeds an IPv4 address.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => is_private_v6(address),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19))
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_private_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // Unspecified, loopback, and the obsolete IPv4-compatible addresses; IPv4-mapped ones.
        [0, 0, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0xffff, high, low] => v4(high, low),
        // NAT64 (RFC 6052) and 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => v4(high, low),
        // Locally assigned translation prefixes (RFC 8215).
        [0x64, 0xff9b, 1, ..] => true,
        // Unique local, link-local, the former site-local, multicast.
        [first, ..] => first & 0xfe00 == 0xfc00 || first & 0xff80 == 0xfe80 || first & 0xff00 == 0xff00,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(url: &str, allowed: &[&str]) -> RedirectPolicy {
        let allowed: Vec<_> = allowed.iter().map(|&prefix| prefix.to_owned()).collect();
        RedirectPolicy::new(&Url::parse(url).unwrap(), &allowed)
    }

    fn follow(policy: &RedirectPolicy, from: &str, to: &str) -> Result<Url, String> {
        policy.follow(&Url::parse(from).unwrap(), to).map_err(|error| error.to_string())
    }

    #[test]
    fn private_addresses_are_recognized() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
            "::",
            "::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
        ] {
            assert!(is_private(address.parse().unwrap()), "{address}");
        }
        for address in ["140.82.121.3", "172.32.0.1", "2606:50c0::1", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert!(!is_private(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn redirects_to_private_addresses_need_permission() {
        let from = "http://127.0.0.1:1/a";
        let closed = policy(from, &[]);
        for to in ["http://127.0.0.1:2/b", "http://[::1]/b", "http://2130706433/", "http://[::ffff:a00:1]/"] {
            assert!(follow(&closed, from, to).unwrap_err().contains("git.redirects"), "{to}");
        }
        follow(&closed, from, "/same/origin").unwrap();
        assert!(!closed.has_left());
        let open = policy(from, &["http://127.0.0.1:2/git"]);
        follow(&open, from, "http://127.0.0.1:2/git/x").unwrap();
        assert!(follow(&open, from, "http://127.0.0.1:2/other").is_err());
        // A name is judged by the addresses that it has when it is connected to.
        follow(&closed, from, "http://git.example/b").unwrap();
        let uri: Uri = "http://git.example/b".parse().unwrap();
        let address = |text: &str| [text.parse().unwrap()];
        assert!(closed.check_addresses(&uri, &address("10.0.0.1:80")).is_err());
        closed.check_addresses(&uri, &address("8.8.8.8:80")).unwrap();
        let uri: Uri = from.parse().unwrap();
        closed.check_addresses(&uri, &address("127.0.0.1:1")).unwrap();
    }

    #[test]
    fn way_back_from_another_origin_stays_outside() {
        let start = "https://git.example/open";
        let policy = policy(start, &[]);
        assert!(follow(&policy, start, "http://git.example/").unwrap_err().contains("leaves https"));
        follow(&policy, start, "https://other.example/x").unwrap();
        assert!(policy.has_left());
        follow(&policy, "https://other.example/x", "https://git.example/private").unwrap();
        assert!(policy.has_left());
        policy.begin();
        assert!(!policy.has_left());
    }
}
