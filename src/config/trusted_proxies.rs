//! `serve.trusted_proxies`: the proxies in front that may name the client.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json_schema::text_schema;
use crate::yaml::Issue;

/// Stands for the clients of Unix sockets, which have no address.
const UNIX: &str = "unix:";

/// The proxies that may name the client of a request; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct TrustedProxies(Vec<TrustedProxy>);

/// One entry of the list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum TrustedProxy {
    Network(IpNet),
    UnixSockets,
}

text_schema!(TrustedProxy, "network", r"^[0-9A-Fa-f:.]+(/[0-9]+)?$|^unix:$|\$\{");

impl TrustedProxies {
    /// Whether the peer at `ip` is one of them; `None` is the peer on a Unix socket.
    pub(crate) fn includes(&self, ip: Option<IpAddr>) -> bool {
        self.0.iter().any(|proxy| match (proxy, ip) {
            (TrustedProxy::Network(network), Some(ip)) => network.contains(&ip),
            (TrustedProxy::UnixSockets, None) => true,
            _ => false,
        })
    }
}

impl FromIterator<TrustedProxy> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = TrustedProxy>>(proxies: I) -> Self {
        Self(proxies.into_iter().collect())
    }
}

impl FromStr for TrustedProxy {
    type Err = Issue;

    /// An address without a prefix length is that address alone.
    fn from_str(text: &str) -> Result<Self, Issue> {
        if text == UNIX {
            return Ok(Self::UnixSockets);
        }
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| ip.to_canonical().into()));
        let expected =
            "expected a network or an address, such as 10.0.0.0/8 or 2001:db8::1, or unix: for Unix sockets";
        network.map(Self::Network).map_err(|_| Issue::new(expected).found(format!("`{text}`")))
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::UnixSockets => f.write_str(UNIX),
        }
    }
}

impl TryFrom<String> for TrustedProxy {
    type Error = Issue;

    fn try_from(text: String) -> Result<Self, Issue> {
        text.parse()
    }
}

impl From<TrustedProxy> for String {
    fn from(proxy: TrustedProxy) -> Self {
        proxy.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_addresses_and_unix_sockets_are_told_apart() {
        let proxies = ["10.1.0.0/16", "192.0.2.1", "2001:db8::/32", "::1"].map(|text| text.parse().unwrap());
        let proxies = TrustedProxies::from_iter(proxies);
        for (ip, is_trusted) in [
            ("10.1.255.1", true),
            ("10.2.0.1", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("2001:db8:1::", true),
            ("2001:db9::", false),
            ("::1", true),
        ] {
            assert_eq!(proxies.includes(Some(ip.parse().unwrap())), is_trusted, "{ip}");
        }
        assert!(!proxies.includes(None));
        assert!(TrustedProxies::from_iter(["unix:".parse().unwrap()]).includes(None));
        for wrong in ["", "10.0.0.0/33", "10.0.0", "localhost", "unix", "10.0.0.0/8/8", " ::1"] {
            assert!(wrong.parse::<TrustedProxy>().is_err(), "{wrong}");
        }
    }
}
