//! The head of a request: where it ends, what it asks, and what frames what comes after it; pure.

use std::mem::MaybeUninit;

use hyper::{Method, StatusCode, Version};

use crate::server::connection_limits::HEADERS;
use crate::server::request::{Fields, Name, Request};

pub(super) struct Head<'h> {
    pub(super) request: Request<'h>,
    pub(super) framing: Framing,
    pub(super) persistence: Persistence,
    /// Whether the client sends its body only when it is told to (RFC 9110 section 10.1.1).
    pub(super) expects_continue: bool,
}

/// Where the body of a request ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
}

/// Whether the connection outlives the answer (RFC 9112 section 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// As HTTP/1.1 has it, unsaid.
    Keep,
    /// As HTTP/1.0 has it, said.
    KeepSaid,
    Close,
}

/// What is said to who sends what cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) StatusCode, pub(super) &'static str);

const fn bad(because: &'static str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, because)
}

const URI_TOO_LONG: Refusal = Refusal(StatusCode::URI_TOO_LONG, "the address is too long");
const TOO_LARGE: Refusal = Refusal(
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "the head of the request is too large",
);

/// Where the first head in `received` ends at the latest, when all of it is there, in at most `limit` bytes; its first
/// `looked_at` bytes were without an end before.
pub(super) fn end(
    received: &mut Vec<u8>,
    looked_at: &mut usize,
    limit: usize,
) -> Result<Option<usize>, Refusal> {
    // RFC 9112 section 2.2: empty lines before a request are none of it.
    let is_empty = |byte: &u8| matches!(byte, b'\r' | b'\n');
    if received.first().is_some_and(is_empty) {
        let empty = received.iter().take_while(|byte| is_empty(byte)).count();
        received.drain(..empty);
        *looked_at = 0;
    }
    // Nothing of TLS, nor of most other protocols, is a token; who speaks one need not wait for a timeout.
    if received.first().is_some_and(|first| !first.is_ascii_graphic()) {
        return Err(bad("this is not HTTP"));
    }
    // Most clients wait for the answer before they say more.
    if received.len() <= limit && received.ends_with(b"\n\r\n") {
        return Ok(Some(received.len()));
    }
    let searched = &received[..received.len().min(limit)];
    let mut line_ends = memchr::memchr_iter(b'\n', &searched[*looked_at..]).map(|at| *looked_at + at + 1);
    let end = line_ends.find_map(|next| match searched[next..] {
        [b'\n', ..] => Some(next + 1),
        [b'\r', b'\n', ..] => Some(next + 2),
        _ => None,
    });
    if end.is_none() && searched.len() == limit {
        return Err(match searched.contains(&b'\n') {
            true => TOO_LARGE,
            false => URI_TOO_LONG,
        });
    }
    // The end may have begun with the last three bytes.
    *looked_at = searched.len().saturating_sub(3);
    Ok(end)
}

impl<'h> Head<'h> {
    /// The head that `bytes` begin with, and how many of them it is.
    ///
    /// # Errors
    ///
    /// When it is none (RFC 9112 sections 3 and 5), or what frames the body is not beyond doubt (section 6.3).
    pub(super) fn parse(bytes: &'h [u8]) -> Result<(Self, usize), Refusal> {
        let mut fields = [const { MaybeUninit::uninit() }; HEADERS];
        let mut parsed = httparse::Request::new(&mut []);
        let len = match parsed.parse_with_uninit_headers(bytes, &mut fields) {
            Ok(httparse::Status::Complete(len)) => len,
            Err(httparse::Error::TooManyHeaders) => return Err(TOO_LARGE),
            Err(httparse::Error::Version) => return Err(unspoken(bytes)),
            Ok(httparse::Status::Partial) | Err(_) => return Err(bad("this is no request of HTTP")),
        };
        let method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes());
        let method = method.map_err(|_| bad("this is no method of HTTP"))?;
        let target = origin(parsed.path.unwrap_or_default());
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let version = match parsed.version {
            Some(1) => Version::HTTP_11,
            _ => Version::HTTP_10,
        };
        let fields = parsed.headers.iter().map(|field| (field.name, field.value));
        let fields: Fields<'_> = fields.collect();
        let expected = fields.only(Name::Expect).filter(|_| version == Version::HTTP_11);
        let head = Self {
            framing: framing(version, &fields)?,
            persistence: persistence(version, &fields),
            expects_continue: expected.is_some_and(|value| value.eq_ignore_ascii_case("100-continue")),
            request: Request {
                method,
                path,
                query,
                version,
                fields,
            },
        };
        Ok((head, len))
    }
}

/// What is said to a head without a version that is spoken here: whether it has another major one (RFC 9110 section 15.6.6),
/// or none.
fn unspoken(bytes: &[u8]) -> Refusal {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let status = match line.trim_ascii_end() {
        [
            ..,
            b' ',
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'0' | b'2'..=b'9',
            b'.',
            b'0'..=b'9',
        ] => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        _ => StatusCode::BAD_REQUEST,
    };
    Refusal(status, "only HTTP/1.0 and HTTP/1.1 are spoken here")
}

/// The target without scheme and host, which are passed over like the Host (RFC 9112 section 3.2).
fn origin(target: &str) -> &str {
    if target.starts_with('/') {
        return target;
    }
    let Some((_, rest)) = target.split_once("://") else {
        return target;
    };
    rest.find(['/', '?']).map_or("/", |start| &rest[start..])
}

/// One length, in one line and in digits alone; or chunks, and nothing else around them.
fn framing(version: Version, fields: &Fields<'_>) -> Result<Framing, Refusal> {
    match (
        fields.has(Name::TransferEncoding),
        fields.has(Name::ContentLength),
    ) {
        (false, false) => Ok(Framing::None),
        (false, true) => {
            let Some(length) = fields.only_bytes(Name::ContentLength) else {
                return Err(bad("a body has one length"));
            };
            let digits = str::from_utf8(length).ok();
            let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            match digits.and_then(|digits| digits.parse().ok()) {
                Some(0) => Ok(Framing::None),
                Some(length) => Ok(Framing::Length(length)),
                None => Err(bad("the length of a body is a number")),
            }
        }
        (true, true) => Err(bad("a body in chunks has no length")),
        (true, false) => {
            let coding = fields.only_bytes(Name::TransferEncoding);
            let is_chunked = coding.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
            match is_chunked && version == Version::HTTP_11 {
                true => Ok(Framing::Chunked),
                false => Err(bad("the only transfer coding here is `chunked`, of HTTP/1.1")),
            }
        }
    }
}

fn persistence(version: Version, fields: &Fields<'_>) -> Persistence {
    let has = |option: &str| {
        let mut options = fields.list(Name::Connection);
        fields.has(Name::Connection) && options.any(|found| found.eq_ignore_ascii_case(option))
    };
    match version {
        _ if has("close") => Persistence::Close,
        Version::HTTP_11 => Persistence::Keep,
        _ if has("keep-alive") => Persistence::KeepSaid,
        _ => Persistence::Close,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Result<Head<'_>, Refusal> {
        Head::parse(head.as_bytes()).map(|(head, _)| head)
    }

    #[test]
    fn a_head_ends_with_an_empty_line_wherever_the_network_cuts_it() {
        for (received, expected) in [
            (
                "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET",
                Some(("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET")),
            ),
            ("\r\n\r\nGET / HTTP/1.0\n\n", Some(("GET / HTTP/1.0\n\n", ""))),
            ("A\n\r\nB", Some(("A\n\r\n", "B"))),
            ("A\r\n\nB", Some(("A\r\n\n", "B"))),
            ("GET / HTTP/1.1\r\nHost: x\r\n", None),
            ("\r\n\r\n", None),
            ("", None),
        ] {
            for cut in 0..=received.len() {
                let (first, second) = received.split_at(cut);
                let (mut bytes, mut looked_at) = (first.as_bytes().to_vec(), 0);
                let mut found = end(&mut bytes, &mut looked_at, 100).unwrap();
                bytes.extend_from_slice(second.as_bytes());
                if found.is_none() {
                    found = end(&mut bytes, &mut looked_at, 100).unwrap();
                }
                let found = found.map(|end| bytes.split_at(end));
                let expected = expected.map(|(head, rest)| (head.as_bytes(), rest.as_bytes()));
                assert_eq!(found, expected, "{received:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_head_has_its_limit() {
        for (received, expected) in [
            ("GET / HTTP/1.1\r\n\r\n", Ok(Some(18))),
            ("GET / HTTP/1.1\r\na: b\r\n\r\n", Err(TOO_LARGE)),
            ("GET /aaaaaaaaaaaaaaaaaaaa", Err(URI_TOO_LONG)),
            ("GET /aaa", Ok(None)),
            ("\u{16}\u{3}\u{1}", Err(bad("this is not HTTP"))),
        ] {
            let found = end(&mut received.as_bytes().to_vec(), &mut 0, 20);
            assert_eq!(found, expected, "{received:?}");
        }
    }

    #[test]
    fn another_version_is_told_from_none() {
        for (line, status) in [
            ("GET / HTTP/2.0", 505),
            ("PRI * HTTP/2.0", 505),
            ("GET / HTTP/0.9", 505),
            ("GET / HTTP/1.2", 400),
            ("GET / HTTP/2", 400),
            ("GET / http/2.0", 400),
            ("GET / HTTX/2.0", 400),
            ("GET /", 400),
        ] {
            for end in ["\r\n\r\n", "\n\n", "\r\nHost: x\r\n\r\n"] {
                let head = format!("{line}{end}");
                let refused = parse(&head).err().map(|Refusal(status, _)| status.as_u16());
                assert_eq!(refused, Some(status), "{head:?}");
            }
        }
    }

    #[test]
    fn targets_lose_their_host() {
        for (target, path, query) in [
            ("/a?b?c", "/a", Some("b?c")),
            ("//a", "//a", None),
            ("http://x/a?b", "/a", Some("b")),
            ("http://x", "/", None),
            ("http://x?b", "", Some("b")),
            ("/http://x/a", "/http://x/a", None),
            ("*", "*", None),
            ("x:443", "x:443", None),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            let head = parse(&head).unwrap();
            assert_eq!((head.request.path, head.request.query), (path, query), "{target}");
        }
    }

    #[test]
    fn bodies_are_framed_beyond_doubt() {
        use Framing::{Chunked, Length};
        for (version, fields, expected) in [
            ("1.1", "", Some(Framing::None)),
            ("1.1", "Content-Length: 0\r\n", Some(Framing::None)),
            ("1.1", "content-length:  17 \r\n", Some(Length(17))),
            ("1.0", "Content-Length: 17\r\n", Some(Length(17))),
            ("1.1", "Transfer-Encoding: Chunked\r\n", Some(Chunked)),
            ("1.0", "Transfer-Encoding: chunked\r\n", None),
            ("1.1", "Transfer-Encoding: gzip, chunked\r\n", None),
            (
                "1.1",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                None,
            ),
            ("1.1", "Transfer-Encoding: identity\r\n", None),
            ("1.1", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", None),
            ("1.1", "Content-Length: 3\r\nContent-Length: 3\r\n", None),
            ("1.1", "Content-Length: 3, 3\r\n", None),
            ("1.1", "Content-Length: +3\r\n", None),
            ("1.1", "Content-Length: \r\n", None),
            ("1.1", "Content-Length: 18446744073709551616\r\n", None),
        ] {
            let head = format!("POST / HTTP/{version}\r\nHost: x\r\n{fields}\r\n");
            assert_eq!(
                parse(&head).ok().map(|head| head.framing),
                expected,
                "{version} {fields:?}"
            );
        }
    }

    #[test]
    fn connections_persist_as_each_version_has_it() {
        use Persistence::{Close, Keep, KeepSaid};
        for (version, connection, expected) in [
            ("1.1", "keep-alive", Keep),
            ("1.1", "Upgrade, CLOSE", Close),
            ("1.1", "closed", Keep),
            ("1.0", "Keep-Alive", KeepSaid),
            ("1.0", "te", Close),
            ("1.0", "keep-alive, close", Close),
        ] {
            let head = format!("GET / HTTP/{version}\r\nConnection: {connection}\r\n\r\n");
            assert_eq!(
                parse(&head).unwrap().persistence,
                expected,
                "{version} {connection}"
            );
        }
        assert_eq!(parse("GET / HTTP/1.1\r\n\r\n").unwrap().persistence, Keep);
        assert_eq!(parse("GET / HTTP/1.0\r\n\r\n").unwrap().persistence, Close);
    }
}
