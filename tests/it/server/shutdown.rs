//! The end of the server: which requests and downloads are finished.

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::http::get;
use crate::support::served_mirror::ServedMirror;
use crate::support::server::*;
use crate::support::until;
use mirror::config::Serve;
use mirror::server::Readiness;

#[test]
fn draining_finishes_downloads_and_refuses_connections() {
    let (_files, mut mirror, mut client) = slow_download(settings());
    let mut idle = mirror.client();
    assert_eq!(idle.request("GET", "/-/readyz", &[]).status, 200);
    let mut silent = mirror.client();
    mirror.stop();
    assert_eq!(idle.rest() + silent.rest(), 0, "idle connections end at once");
    assert!(TcpStream::connect(mirror.address).is_err(), "new connections are refused");
    assert_eq!(mirror.published.readiness(), Readiness::Draining);
    assert!(mirror.ended.try_recv().is_err(), "the server waits for the download");
    assert_eq!(client.rest(), large().len());
    assert_eq!(
        mirror.ended.recv_timeout(Duration::from_secs(5)),
        Err(mpsc::RecvTimeoutError::Timeout),
        "somebody between may still have most of it"
    );
    drop(client);
    assert_eq!(mirror.ended.recv_timeout(SOON), Ok(0));
}

#[test]
fn new_connections_are_served_during_notice_and_each_hurry_ends_a_stage() {
    let (notice, drain) = (100 * SOON, 100 * SOON);
    let (_files, mut mirror, mut download) = slow_download(Serve { notice, drain, ..settings() });
    let mut idle = mirror.client();
    assert_eq!(idle.request("GET", "/-/readyz", &[]).status, 200);
    mirror.stop();
    until("it says that it stops", || mirror.get("/-/readyz").status == 503);
    for (path, status) in [("/-/readyz", 503), ("/-/healthz", 200), ("/large.zip", 206)] {
        for client in [&mut idle, &mut mirror.client()] {
            let response = client.request("GET", path, &[("Range", "bytes=0-0")]);
            assert_eq!((response.status, response.header("connection")), (status, Some("close")), "{path}");
            *client = mirror.client();
        }
    }
    mirror.hurry.notify_one();
    until("connections are refused", || TcpStream::connect(mirror.address).is_err());
    assert!(mirror.ended.recv_timeout(Duration::from_millis(100)).is_err(), "the download goes on");
    mirror.hurry.notify_one();
    assert!(mirror.ended.recv_timeout(SOON).is_ok_and(|closed| closed > 0));
    assert!(download.rest() < large().len());
}

#[test]
fn server_that_was_not_ready_gives_no_notice() {
    let mut mirror = TestServer::with(None, Serve { notice: 100 * SOON, ..settings() });
    assert_eq!(mirror.get("/-/readyz").status, 503);
    mirror.stop();
    assert_eq!(mirror.ended.recv_timeout(SOON), Ok(0));
}

#[test]
fn second_signal_ends_notice_of_the_program() {
    let (env, port) = ServedMirror::built();
    env.write("mirror.yaml", &env.read("mirror.yaml").replace("notice: 0s", "notice: 1h"));
    let mirror = env.serve("serve", port);
    mirror.signal("TERM");
    until("it says that it stops", || get(port, "/-/readyz").status == 503);
    assert_eq!(get(port, "/mirror/packages.json").status, 200);
    assert_eq!(mirror.stop(), Some(0));
}

#[test]
fn drain_ends_at_its_deadline() {
    let drain = Duration::from_millis(100);
    let (_files, mut mirror, mut client) = slow_download(Serve { drain, ..settings() });
    mirror.stop();
    assert_eq!(mirror.ended.recv_timeout(SOON), Ok(1));
    assert!(client.rest() < large().len());
}

#[test]
fn requests_on_open_connections_are_answered_while_the_server_drains() {
    let files = PublishedFiles::new();
    let mut mirror = TestServer::start(Some(files.site()));
    let mut clients: Vec<_> = (0..3).map(|_| mirror.client()).collect();
    for client in &mut clients {
        assert_eq!(client.request("GET", "/-/readyz", &[]).status, 200);
    }
    mirror.stop();
    let began = Instant::now();
    while mirror.published.readiness() != Readiness::Draining && began.elapsed() < SOON {
        std::thread::yield_now();
    }
    let requests = [("/-/readyz", 503), ("/-/healthz", 200), ("/packages.json", 200)];
    for (client, (path, status)) in clients.iter_mut().zip(requests) {
        let response = client.request("GET", path, &[]);
        assert_eq!((response.status, response.header("connection")), (status, Some("close")), "{path}");
        assert_eq!(client.rest(), 0);
    }
    assert_eq!(mirror.ended.recv_timeout(SOON), Ok(0));
}

#[test]
fn shutdown_reaches_connection_after_large_input() {
    let patient = Serve { header_timeout: 100 * SOON, idle_timeout: 100 * SOON, ..settings() };
    let mut mirror = TestServer::with(None, patient);
    let mut client = mirror.client();
    send_many_requests(&mut client);
    for _ in 0..400 {
        let length = client.read_head().header("content-length").map_or(0, |n| n.parse().unwrap());
        client.0.read_exact(&mut vec![0; length]).expect("a body");
    }
    mirror.stop();
    assert_eq!(client.rest(), 0);
    assert_eq!(mirror.ended.recv_timeout(SOON), Ok(0));
}
