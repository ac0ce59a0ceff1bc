//! HTTP/2 without TLS, written frame by frame: idleness, progress, limits.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZero;
use std::time::{Duration, Instant};

use crate::support::server::*;
use mirror::config::Serve;
use mirror::server::{ContentKind, Site};

#[test]
fn http2_idle_timeout_applies_after_a_request() {
    let idle_timeout = Duration::from_secs(1);
    let mirror = TestServer::with(None, Serve { idle_timeout, ..settings() });
    for requests in [0, 1] {
        let mut client = mirror.client();
        let began = Instant::now();
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        // GET http://x/ (RFC 7541 appendix A).
        let request = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01x".repeat(requests);
        client.0.get_mut().write_all(&request).expect("a request");
        let answered = client.rest();
        assert!(began.elapsed() < SOON / 2, "after {requests} requests");
        assert!(requests == 0 || answered > 100, "{answered} bytes");
    }
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let flags = if kind == HEADERS { 5 } else { 0 };
    let length = u8::try_from(payload.len()).expect("a small frame");
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

const HEADERS: u8 = 1;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

// RFC 7541 appendix A.
const GET: u8 = 0x82;
const POST: u8 = 0x83;

/// A request on the first stream.
fn http2_request(method: u8, path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).expect("a short path");
    let fields = [&[method], &b"\x86\x41\x01x\x44"[..], &[length], path.as_bytes()].concat();
    frame(HEADERS, 1, &fields)
}

/// Sends `first` by HTTP/2, then `then` repeatedly. Returns the types of the received frames and the number of bytes if
/// the server has ended the connection within `time`.
fn exchange_http2(
    mirror: &TestServer,
    first: &[u8],
    then: &[u8],
    time: Duration,
) -> Option<(Vec<u8>, usize)> {
    let mut client = TcpStream::connect(mirror.address).expect("a listening server");
    let pause = Duration::from_millis(50);
    client.set_read_timeout(Some(pause)).expect("a socket option");
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("a server");
    client.write_all(&[frame(4, 0, b""), first.to_vec()].concat()).expect("a server");
    let (began, mut said, mut piece) = (Instant::now(), Vec::new(), [0; 1 << 16]);
    while began.elapsed() < time {
        match client.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => said.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                client.write_all(then).ok();
            }
            Err(_) => break,
        }
    }
    let (mut kinds, mut rest) = (Vec::new(), &said[..]);
    while let [a, b, c, kind, ..] = *rest {
        kinds.push(kind);
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    (began.elapsed() < time).then_some((kinds, said.len()))
}

#[test]
fn http2_pings_do_not_count_as_progress() {
    let files = PublishedFiles::new();
    let site = || {
        let site = vec![
            files.publish("large.zip", ContentKind::Archive, large()),
            files.publish("packages.json", ContentKind::Metadata, noise(1 << 20)),
        ];
        Site::new([repository("/", site)]).expect("a valid site")
    };
    let quick = |min_pace| Serve { idle_timeout: Duration::from_secs(1), min_pace, ..settings() };
    let mirror = TestServer::with(Some(site()), quick(1024));
    let ping = frame(PING, 0, &[0; 8]);
    for first in [vec![], http2_request(GET, "/-/healthz")] {
        let (kinds, _) = exchange_http2(&mirror, &first, &ping, SOON).expect("it is idle");
        assert!(kinds.contains(&PING) && kinds.contains(&GOAWAY), "{kinds:?}");
    }
    let more = 4 << 10;
    for path in ["/large.zip", "/packages.json"] {
        let get = http2_request(GET, path);
        let (_, bytes) = exchange_http2(&mirror, &get, &ping, SOON).expect("nothing is taken");
        assert!((1 << 15..1 << 17).contains(&bytes), "{bytes} bytes of {path}");
        let window = u32::to_be_bytes(more);
        let take = [frame(WINDOW_UPDATE, 0, &window), frame(WINDOW_UPDATE, 1, &window)].concat();
        let taking = exchange_http2(&mirror, &get, &take, Duration::from_secs(3));
        assert_eq!(taking, None, "{path} is taken piece by piece");
        let demanding = TestServer::with(Some(site()), quick(16 << 20));
        let slow = exchange_http2(&demanding, &get, &take, SOON);
        assert!(slow.is_some_and(|(_, bytes)| bytes < 1 << 20), "{path} is taken too slowly");
    }
}

#[test]
fn http2_connections_end_over_the_limit_and_after_last_response() {
    let files = PublishedFiles::new();
    let one = Serve { max_connections: NonZero::new(1).unwrap(), ..settings() };
    let mirror = TestServer::with(Some(files.site()), one);
    let mut first = mirror.client();
    assert_eq!(first.request("GET", "/packages.json", &[]).status, 200);
    let ping = frame(PING, 0, &[0; 8]);
    for (path, is_answered) in [(Some("/packages.json"), true), (Some("/-/healthz"), true), (None, false)] {
        let asked = path.map(|path| http2_request(GET, path)).unwrap_or_default();
        let (kinds, _) = exchange_http2(&mirror, &asked, &ping, SOON / 2).expect("an end");
        assert!(kinds.contains(&GOAWAY), "{path:?}: {kinds:?}");
        assert_eq!(kinds.contains(&HEADERS), is_answered, "{path:?}: {kinds:?}");
    }
    let mirror = TestServer::start(Some(files.site()));
    let asked = http2_request(POST, "/-/push");
    // The server sends this PING to learn that no more requests are in flight. Other PINGs are skipped.
    let mut heard = frame(PING, 0, b"\x0b\x7b\xa2\xf0\x8b\x9b\xfe\x54");
    heard[4] = 1;
    let (kinds, _) = exchange_http2(&mirror, &asked, &heard, SOON).expect("an end");
    assert!(kinds.contains(&HEADERS) && kinds.contains(&GOAWAY), "{kinds:?}");
}
