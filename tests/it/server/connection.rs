//! HTTP/1.1 on one connection, byte by byte.

use std::io::Read as _;
use std::net::Shutdown;

use crate::support::server::*;

/// RFC 9110 section 2.5.
#[test]
fn higher_minor_version_is_answered_as_1_1() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(files.site()));
    let mut client = mirror.client();
    for minor in ["2", "9", "1", "5"] {
        for split in [0, 12, 25] {
            let request = format!("GET /lastupdate HTTP/1.{minor}\r\nHost: x\r\nX: HTTP/1.2\r\n\r\n");
            client.send(&request[..split]);
            client.send(&request[split..]);
            let head = client.read_head();
            assert_eq!(head.status, 200, "{minor}");
            client.0.read_exact(&mut [0; 3]).expect("the connection is kept");
        }
    }
    for version in ["HTTP/1.22", "HTTP/1.", "HTTP/1.x", "HTTP/2.2", "HTTP/12"] {
        let mut client = mirror.client();
        client.send(format!("GET /lastupdate {version}\r\nHost: x\r\n\r\n"));
        assert_eq!(client.read_head().status, 400, "{version}");
    }
}

#[test]
fn connection_serves_many_requests() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(files.site()));
    let mut client = mirror.client();
    for _ in 0..3 {
        assert_eq!(client.request("GET", "/packages/magento/x-1.0.zip", &[]).text(), "0123456789");
        assert_eq!(client.request("GET", "/nothing", &[]).status, 404);
    }
    let request = "GET /lastupdate HTTP/1.1\r\nHost: x\r\n\r\n";
    client.send(request.repeat(20));
    for _ in 0..20 {
        assert_eq!(client.read_head().status, 200);
        let mut body = [0; 3];
        client.0.read_exact(&mut body).expect("a pipelined answer");
        assert_eq!(&body, b"now");
    }
    let last = client.request("GET", "/lastupdate", &[("Connection", "close")]);
    assert_eq!((last.status, client.rest()), (200, 0));
    let mut old = mirror.client();
    old.send("GET /lastupdate HTTP/1.0\r\n\r\n");
    assert_eq!((old.read_head().status, old.rest()), (200, 3));
}

/// A read from the socket may end with a request, within it or behind it.
#[test]
fn requests_are_answered_at_every_buffer_boundary() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(files.site()));
    let plain = "GET /lastupdate HTTP/1.1\r\nHost: x\r\n\r\n";
    for size in [4095, 4096, 4097, 8192] {
        let start = "GET /lastupdate HTTP/1.1\r\nHost: x\r\nX-Pad: ";
        let padded = format!("{start}{}\r\n\r\n", "p".repeat(size - start.len() - 4));
        for (requests, answers) in
            [(padded.clone(), 1), (format!("{padded}{plain}"), 2), (format!("{padded}{padded}{plain}"), 3)]
        {
            for closes in [false, true] {
                let mut client = mirror.client();
                client.send(&requests);
                if closes {
                    client.0.get_ref().shutdown(Shutdown::Write).expect("a connection");
                }
                for answer in 0..answers {
                    let at = format!("{answer} of {answers}, {size} bytes, closes: {closes}");
                    assert_eq!(client.read_head().status, 200, "{at}");
                    client.0.read_exact(&mut [0; 3]).expect(&at);
                }
                match closes {
                    true => assert_eq!(client.rest(), 0),
                    false => assert_eq!(client.request("GET", "/lastupdate", &[]).text(), "now"),
                }
            }
        }
    }
}
