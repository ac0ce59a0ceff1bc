//! Slow, endless and silent servers: fetches end by their deadline or pace, and hear a cancellation within a second.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use mirror::config::{Credential, Git, Secret};
use mirror::git::{FetchError, FetchErrorKind};
use mirror::net::NetworkError;
use mirror::util::cancel::CancelFlag;

use crate::support::local_clone::{ALL_TAGS, LocalClone};

/// A server that gives each connection to `talk`.
fn serve(talk: impl Fn(TcpStream) -> std::io::Result<()> + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, talk) = (stream.expect("a connection"), talk.clone());
            // The client may hang up at any time.
            thread::spawn(move || drop(talk(stream)));
        }
    });
    address
}

/// Sends `piece` again and again, for as long as the other side listens.
fn repeat(mut to: &TcpStream, piece: &[u8], pause: Duration) -> std::io::Result<()> {
    loop {
        to.write_all(piece)?;
        thread::sleep(pause);
    }
}

fn line(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

/// The head and the body of a request.
fn read_request(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut request = String::new();
    let mut reader = BufReader::new(stream);
    while !request.ends_with("\r\n\r\n") && reader.read_line(&mut request)? > 0 {}
    let length = request.to_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(request + &String::from_utf8_lossy(&body))
}

/// A git server with one tag, whose packs consist of these messages only.
fn endless_messages(message: &'static [u8], pause: Duration) -> SocketAddr {
    serve(move |mut stream| {
        let head = |kind: &str| {
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-{kind}\r\nConnection: close\r\n\r\n"
            )
        };
        let request = read_request(&mut stream)?;
        let id = "1".repeat(40);
        if request.starts_with("GET") {
            let service = line("# service=git-upload-pack\n");
            let tag =
                line(&format!("{id} refs/tags/1.0.0\0multi_ack_detailed side-band-64k shallow ofs-delta\n"));
            return write!(stream, "{}{service}0000{tag}0000", head("advertisement"));
        }
        write!(stream, "{}{}0000", head("result"), line(&format!("shallow {id}")))?;
        // Without `done`, the client asks for the boundary of the history only.
        if request.contains("done") {
            write!(stream, "{}", line("NAK\n"))?;
            repeat(&stream, message, pause)?;
        }
        Ok(())
    })
}

const SHORT: Duration = Duration::from_millis(50);

fn impatient() -> LocalClone {
    let mut local = LocalClone::new();
    local.git = Git { timeout: Duration::from_millis(500), min_pace: 2000, ..local.git };
    local
}

#[track_caller]
fn assert_too_slow(local: &LocalClone, address: SocketAddr) {
    let began = Instant::now();
    let error = local.fails(&format!("http://{address}/x.git"));
    assert!(matches!(error.kind, FetchErrorKind::Network(NetworkError::TooSlow { .. })), "{error:?}");
    assert!(error.to_string().contains("hint: the limit is `git.min_pace`"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn dripping_headers_are_too_slow() {
    let address = serve(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
        repeat(&stream, b"X", SHORT)
    });
    assert_too_slow(&impatient(), address);
}

#[test]
fn dripping_progress_messages_are_too_slow() {
    assert_too_slow(&impatient(), endless_messages(b"000e\x02counting\r", SHORT));
}

#[test]
fn endless_fetch_ends_at_its_deadline() {
    let mut local = LocalClone::new();
    local.git.total_timeout = Duration::from_millis(900);
    // Empty pieces of a pack, as git sends them to keep a connection alive.
    let fast = endless_messages(b"0005\x01", Duration::ZERO);
    let began = Instant::now();
    let error = local.fails(&format!("http://{fast}/x.git"));
    assert!(matches!(error.kind, FetchErrorKind::Network(NetworkError::Deadline { .. })), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

/// Fetches, cancels after a moment, and returns the error and how long it took to be heard.
fn cancelled(local: &LocalClone, url: &str) -> (FetchError, Duration) {
    let cancel = CancelFlag::default();
    let fetcher = local.fetcher();
    let path = local.path();
    thread::scope(|scope| {
        let fetch = scope.spawn(|| {
            let result = fetcher.fetch(&path, url, ALL_TAGS, &cancel, &|_| {});
            (result.expect_err("cancelled"), Instant::now())
        });
        thread::sleep(Duration::from_millis(400));
        assert!(!fetch.is_finished(), "the fetch of {url} waits");
        let set = Instant::now();
        cancel.set();
        let (error, ended) = fetch.join().expect("no panic");
        (error, ended.duration_since(set))
    })
}

/// A listener whose queue is full: connecting to it waits.
fn full_listener() -> (rustix::fd::OwnedFd, Vec<TcpStream>, SocketAddr) {
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&listener, &"127.0.0.1:0".parse::<SocketAddr>().expect("an address")).expect("bound");
    listen(&listener, 0).expect("listening");
    let address = SocketAddr::try_from(getsockname(&listener).expect("a name")).expect("an address");
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300));
    let queued: Vec<_> = std::iter::from_fn(|| connect().ok()).take(8).collect();
    assert!(queued.len() < 8, "the queue of {address} is never full");
    (listener, queued, address)
}

#[test]
fn cancellation_is_heard_within_a_second() {
    let silent = serve(|mut stream| stream.read_to_end(&mut Vec::new()).map(drop));
    let headers = serve(|mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
        repeat(&stream, b"X", SHORT)
    });
    let messages = endless_messages(b"000e\x02counting\r", SHORT);
    let (_listener, _queued, full) = full_listener();
    let mut local = LocalClone::new();
    local.git.timeout = Duration::from_secs(60);
    local.git.connect_timeout = Duration::from_secs(60);
    let known_hosts = local.dir.path().join("known_hosts");
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJJ0Y3VQ9CWmRPoEzQ1nGQ0yVYY0lGm8eDXg9IwEwJ0t";
    std::fs::write(&known_hosts, format!("* {key}\n")).expect("written");
    local.git.credentials = vec![Credential {
        url: format!("ssh://git@{silent}/"),
        password: Some(Secret::Value("x".into())),
        known_hosts: Some(known_hosts),
        ..Credential::default()
    }];
    for (waits_for, url) in [
        ("a connection", format!("http://{full}/x.git")),
        ("a response", format!("http://{silent}/x.git")),
        ("headers", format!("http://{headers}/x.git")),
        ("a pack", format!("http://{messages}/x.git")),
        ("TLS", format!("https://{silent}/x.git")),
        ("ssh", format!("ssh://git@{silent}/x.git")),
    ] {
        let (error, took) = cancelled(&local, &url);
        assert!(matches!(error.kind, FetchErrorKind::Cancelled), "{waits_for}: {error:?}");
        assert!(took < Duration::from_secs(1), "{waits_for}: {took:?}");
    }
}
