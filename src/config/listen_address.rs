//! Addresses to listen on: one string or a list of strings.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serializer};

use crate::yaml::Issue;

/// The prefix of the path of a Unix socket.
const UNIX: &str = "unix:";

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    /// The absolute path of a Unix socket.
    Unix(PathBuf),
}

impl<A: Into<SocketAddr>> From<A> for Address {
    fn from(address: A) -> Self {
        Self::Tcp(address.into())
    }
}

impl FromStr for Address {
    type Err = Issue;

    fn from_str(text: &str) -> Result<Self, Issue> {
        let address = match text.strip_prefix(UNIX) {
            Some(path) => path.starts_with('/').then(|| Self::Unix(path.into())),
            None => text.parse().ok().map(Self::Tcp),
        };
        let expected =
            "expected an address and a port, such as [::]:8080 or 127.0.0.1:8080, or unix:/path/of/a.socket";
        address.ok_or_else(|| Issue::new(expected).found(format!("`{text}`")))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

pub(super) fn serialize<S: Serializer>(addresses: &[Address], to: S) -> Result<S::Ok, S::Error> {
    match addresses {
        [only] => to.collect_str(only),
        _ => to.collect_seq(addresses.iter().map(ToString::to_string)),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Address>, D::Error> {
    let texts = match Addresses::deserialize(from)? {
        Addresses::One(text) => vec![text],
        Addresses::Several(texts) => texts,
    };
    let addresses: Result<_, _> = texts.iter().map(|text| text.parse()).collect();
    addresses.map_err(de::Error::custom::<Issue>)
}

/// Addresses as they are written.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Addresses {
    One(String),
    Several(Vec<String>),
}

impl JsonSchema for Addresses {
    fn schema_name() -> Cow<'static, str> {
        "Addresses".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "format": "listen-address" },
                { "type": "array", "items": { "type": "string", "format": "listen-address" }, "minItems": 1 },
            ]
        })
    }
}
