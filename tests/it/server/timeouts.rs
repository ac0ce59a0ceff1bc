//! Silent, idle, stalled and slow clients of HTTP/1.1.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::support::server::*;
use mirror::config::Serve;
use mirror::server::{ContentKind, Site};

#[test]
fn silent_and_stalled_clients_are_disconnected() {
    let short = Duration::from_secs(1);
    let quick = Serve { idle_timeout: short, header_timeout: short, ..settings() };
    let (_files, mirror, mut stalled) = slow_download(quick);
    let mut silent = mirror.client();
    let mut slow = mirror.client();
    slow.send("GET /large.zip HTTP/1.1\r\nHost:");
    let mut idle = mirror.client();
    assert_eq!(idle.request("GET", "/nothing", &[]).status, 404);
    for (name, client) in [("silent", &mut silent), ("idle", &mut idle)] {
        assert_eq!(client.rest(), 0, "{name}");
    }
    assert_eq!(slow.rest(), 0);
    assert_eq!(mirror.client().rest(), 0, "another such silence, in which nothing is read");
    assert!(stalled.rest() < large().len());
}

#[test]
fn idle_connection_outlives_header_timeout() {
    let files = PublishedFiles::new();
    let header_timeout = Duration::from_secs(1);
    let impatient = Serve { header_timeout, ..settings() };
    let mirror = TestServer::with(Some(files.site()), impatient);
    let (mut client, mut dripping) = (mirror.client(), mirror.client());
    for client in [&mut client, &mut dripping] {
        assert_eq!(client.request("GET", "/packages.json", &[]).status, 200);
    }
    std::thread::sleep(2 * header_timeout);
    assert_eq!(client.request("GET", "/packages.json", &[]).status, 200);
    let began = Instant::now();
    client.send("GET /packages.json HTTP/1.1\r\n");
    assert_eq!(client.rest(), 0);
    assert!(began.elapsed() < SOON / 2);
    // Empty lines before a request do not extend the deadline.
    let began = Instant::now();
    while dripping.0.get_mut().write_all(b"\r\n").is_ok() {
        assert!(began.elapsed() < SOON, "it is cut off");
        std::thread::sleep(header_timeout / 5);
    }
}

#[test]
fn idle_timeout_applies_after_large_input() {
    let short = Duration::from_secs(1);
    let files = PublishedFiles::new();
    let large_zip = files.publish("large.zip", ContentKind::Archive, large());
    let site = Site::new([repository("/", vec![large_zip])]).expect("a valid site");
    let quick = Serve { idle_timeout: short, header_timeout: 2 * short, ..settings() };
    let mirror = TestServer::with(Some(site), quick);
    let (mut stalled, mut idle, mut slow) = (mirror.client(), mirror.client(), mirror.client());
    send_many_requests(&mut stalled);
    stalled.send("GET /large.zip HTTP/1.1\r\nHost: x\r\n\r\n");
    send_many_requests(&mut idle);
    send_many_requests(&mut slow);
    slow.send("GET /large.zip HTTP/1.1\r\nHost:");
    let began = Instant::now();
    idle.rest();
    slow.rest();
    assert!(began.elapsed() < SOON);
    for _ in 0..3 {
        assert_eq!(mirror.client().rest(), 0, "time goes by");
    }
    assert!(stalled.rest() < large().len());
}

/// A client that reads a few bytes now and then is not idle, but too slow.
#[test]
fn slow_reader_below_minimum_rate_is_disconnected() {
    let files = PublishedFiles::new();
    let body = vec![7; 32 << 20];
    let mut site = vec![files.publish("large.zip", ContentKind::Archive, &body)];
    site.push(files.publish("packages.json", ContentKind::Metadata, PACKAGES));
    let mirror = TestServer::with(
        Some(Site::new([repository("/", site)]).expect("a valid site")),
        Serve { idle_timeout: Duration::from_secs(1), min_pace: 64 << 20, ..settings() },
    );
    let mut client = mirror.client();
    client.send("GET /large.zip HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.read_head().status, 200);
    let (began, mut read) = (Instant::now(), 0);
    let mut piece = vec![0; 64 << 10];
    while let Ok(count @ 1..) = client.0.read(&mut piece) {
        read += count;
        std::thread::sleep(Duration::from_millis(20));
        assert!(began.elapsed() < 6 * SOON, "it is cut off");
    }
    assert!(read < body.len(), "{read} bytes");
}
