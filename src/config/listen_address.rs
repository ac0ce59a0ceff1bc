//! Addresses to listen on: one string or a list of strings.
//!
//! Options of a Unix socket follow its path: `unix:/run/mirror/http.sock,mode=0660,group=www-data`.

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

/// Every user of the machine may connect, as to a port on loopback: a proxy in front runs as another user.
const DEFAULT_MODE: u32 = 0o666;

/// With a group, its members may connect.
const DEFAULT_GROUP_MODE: u32 = 0o660;

const EXPECTED: &str =
    "expected an address and a port, such as [::]:8080 or 127.0.0.1:8080, or unix:/path/of/a.socket";

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(UnixAddress),
}

/// A Unix socket, and who may connect to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixAddress {
    /// Absolute.
    pub path: PathBuf,
    /// The permissions of the file; connecting needs write permission.
    pub mode: u32,
    /// Its group, by name or number; `None` for that of the process.
    pub group: Option<String>,
}

impl<A: Into<SocketAddr>> From<A> for Address {
    fn from(address: A) -> Self {
        Self::Tcp(address.into())
    }
}

impl From<PathBuf> for UnixAddress {
    fn from(path: PathBuf) -> Self {
        Self { path, mode: DEFAULT_MODE, group: None }
    }
}

impl Address {
    /// Whether only one of them can be bound. Port 0 is another free port each time.
    pub(super) fn conflicts_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(address), Self::Tcp(other)) => address == other && address.port() != 0,
            (Self::Unix(address), Self::Unix(other)) => address.path == other.path,
            _ => false,
        }
    }
}

impl FromStr for Address {
    type Err = Issue;

    fn from_str(text: &str) -> Result<Self, Issue> {
        match text.strip_prefix(UNIX) {
            Some(socket) => socket.parse().map(Self::Unix),
            None => match text.parse() {
                Ok(address) => Ok(Self::Tcp(address)),
                Err(_) => Err(Issue::new(EXPECTED).found(format!("`{text}`"))),
            },
        }
    }
}

impl FromStr for UnixAddress {
    type Err = Issue;

    /// A comma belongs to the path unless a name and `=` follow it.
    fn from_str(text: &str) -> Result<Self, Issue> {
        let options = text.match_indices(',').find(|(at, _)| {
            let name = text[at + 1..].bytes().take_while(u8::is_ascii_alphabetic).count();
            name > 0 && text[at + 1 + name..].starts_with('=')
        });
        let (path, options) = options.map_or((text, ""), |(at, _)| (&text[..at], &text[at + 1..]));
        if !path.starts_with('/') {
            return Err(Issue::new(EXPECTED).found(format!("`{UNIX}{text}`")));
        }
        let (mut mode, mut group) = (None, None);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("mode", value)) => mode = Some(parse_mode(value)?),
                Some(("group", name)) if !name.is_empty() => group = Some(name.to_owned()),
                _ => {
                    let expected = "expected mode=0660 or group=NAME after the path of a Unix socket";
                    return Err(Issue::new(expected).found(format!("`{option}`")));
                }
            }
        }
        let mode = mode.unwrap_or(default_mode(group.as_ref()));
        Ok(Self { path: path.into(), mode, group })
    }
}

fn default_mode(group: Option<&String>) -> u32 {
    group.map_or(DEFAULT_MODE, |_| DEFAULT_GROUP_MODE)
}

fn parse_mode(text: &str) -> Result<u32, Issue> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    let expected = "expected the mode of a Unix socket in octal, such as 0660";
    mode.ok_or_else(|| Issue::new(expected).found(format!("`{text}`")))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(socket) => socket.fmt(f),
        }
    }
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{UNIX}{}", self.path.display())?;
        if self.mode != default_mode(self.group.as_ref()) {
            write!(f, ",mode={:04o}", self.mode)?;
        }
        self.group.iter().try_for_each(|group| write!(f, ",group={group}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_unix_sockets_round_trip() {
        for (text, path, mode, group) in [
            ("unix:/run/a.sock", "/run/a.sock", 0o666, None),
            ("unix:/run/a.sock,mode=0660", "/run/a.sock", 0o660, None),
            ("unix:/run/a.sock,mode=0600,group=www-data", "/run/a.sock", 0o600, Some("www-data")),
            ("unix:/run/a.sock,group=33", "/run/a.sock", 0o660, Some("33")),
            ("unix:/run/a,b=.sock", "/run/a,b=.sock", 0, None),
            ("unix:/run/a,b.sock", "/run/a,b.sock", 0o666, None),
            ("unix:/run/a.sock,mode=8", "", 0, None),
            ("unix:/run/a.sock,mode=1777", "", 0, None),
            ("unix:/run/a.sock,mod=0660", "", 0, None),
            ("unix:/run/a.sock,group=", "", 0, None),
            ("unix:run/a.sock", "", 0, None),
        ] {
            let parsed = text.parse::<Address>();
            let group = group.map(str::to_owned);
            let expected = UnixAddress { path: path.into(), mode, group };
            match mode {
                0 => assert!(parsed.is_err(), "{text}"),
                _ => {
                    let parsed = parsed.unwrap();
                    assert_eq!(parsed, Address::Unix(expected), "{text}");
                    assert_eq!(parsed.to_string(), text);
                }
            }
        }
    }
}
