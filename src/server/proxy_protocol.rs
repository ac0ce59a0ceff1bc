//! The PROXY protocol, versions 1 and 2: a proxy that forwards a connection as a stream names the client in a header before it
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! It is read on connections of trusted proxies only, and optional there, since health checks lack it. The specification forbids
//! that, because clients could forge it; but trusted proxies may name a client in each request anyway.

use std::io::{self, ErrorKind};
use std::net::IpAddr;

use proxy_header::{Error, ParseConfig, ProxyHeader};
use tokio::io::AsyncReadExt as _;

use super::transport::Transport;

/// In bytes, as in nginx. Version 1 has 107 at most, version 2 a few hundred with all that is known about the client.
const MAX_LENGTH: usize = 4096;

/// The first bytes of both versions. Neither HTTP nor TLS can begin with them.
const SIGNATURES: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];

/// What a connection begins with.
#[derive(Debug, PartialEq, Eq)]
enum Beginning {
    /// A header of this many bytes, and the client that it names: `None` if the proxy itself is the client.
    Header(usize, Option<IpAddr>),
    Other,
    /// More bytes are needed to tell.
    Unknown,
}

/// Reads the header, if there is one. Returns the client that it names, which may be none.
/// Fails when the header is malformed or too long, or when the connection breaks.
pub(super) async fn read_header(stream: &mut Transport) -> io::Result<Option<Option<IpAddr>>> {
    let mut head = Vec::with_capacity(MAX_LENGTH);
    let (length, header) = loop {
        match beginning(&head)? {
            Beginning::Header(length, client) => break (length, Some(client)),
            Beginning::Other => break (0, None),
            Beginning::Unknown if head.len() == MAX_LENGTH => return Err(malformed()),
            // The next read reports the end of the stream again.
            Beginning::Unknown if stream.read_buf(&mut head).await? == 0 => break (0, None),
            Beginning::Unknown => {}
        }
    };
    stream.unread(head.split_off(length));
    Ok(header)
}

/// Whether the first bytes of a connection are those of a header.
pub(super) fn begins_with_header(head: &[u8]) -> bool {
    SIGNATURES.iter().any(|signature| head.starts_with(signature))
}

/// Whether a connection begins with a header. Reads as much as it needs to tell, and puts it back.
pub(super) async fn comes_with_header(stream: &mut Transport) -> io::Result<bool> {
    let mut head = Vec::new();
    while can_begin_header(&head) && !begins_with_header(&head) {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    let comes = begins_with_header(&head);
    stream.unread(head);
    Ok(comes)
}

fn can_begin_header(head: &[u8]) -> bool {
    SIGNATURES.iter().any(|signature| head.iter().zip(*signature).all(|(one, other)| one == other))
}

fn beginning(head: &[u8]) -> io::Result<Beginning> {
    if !can_begin_header(head) {
        return Ok(Beginning::Other);
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(head, config) {
        Ok((header, length)) => {
            let client = header.proxied_address().map(|address| address.source.ip().to_canonical());
            Ok(Beginning::Header(length, client))
        }
        Err(Error::BufferTooShort) => Ok(Beginning::Unknown),
        Err(_) => Err(malformed()),
    }
}

fn malformed() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "malformed PROXY header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_recognized_at_every_length() {
        let v2 = |rest: &[u8]| [SIGNATURES[1], rest].concat();
        let v4 = v2(b"\x21\x11\0\x0c\xcb\0\x71\x07\x7f\0\0\x01\0\x50\0\x50");
        let local = v2(b"\x20\0\0\0");
        let unix = v2(&[&b"\x21\x31\0\xd8"[..], &[b'a'; 216]].concat());
        let with_fields = v2(b"\x21\x11\0\x10\xcb\0\x71\x07\x7f\0\0\x01\0\x50\0\x50\x04\0\x01\0");
        let mapped = b"PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n".to_vec();
        for (header, client) in [
            (b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\n".to_vec(), Some("203.0.113.7")),
            (b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n".to_vec(), Some("2001:db8::7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (mapped, Some("203.0.113.7")),
            (v4, Some("203.0.113.7")),
            (with_fields, Some("203.0.113.7")),
            (local, None),
            (unix, None),
        ] {
            let client = client.map(|ip| ip.parse().unwrap());
            for length in 0..header.len() {
                assert_eq!(
                    beginning(&header[..length]).unwrap(),
                    Beginning::Unknown,
                    "{length} of {header:?}"
                );
            }
            let whole = [&header, &b"GET / HTTP/1.1\r\n"[..]].concat();
            assert_eq!(beginning(&whole).unwrap(), Beginning::Header(header.len(), client));
        }
        for other in
            ["GET / ", "POST /-/push", "PRI * HTTP/2.0", "PROPFIND /", "\r\nGET", "\x16\x03\x01", "PUT"]
        {
            assert_eq!(beginning(other.as_bytes()).unwrap(), Beginning::Other, "{other}");
        }
        for malformed in
            ["PROXY TCP4 a b c d\r\n", "PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n", "PROXY NOTHING AT ALL"]
        {
            assert!(beginning(malformed.as_bytes()).is_err(), "{malformed}");
        }
        assert!(beginning(&[&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat()).is_err(), "it never ends");
    }
}
