//! Who the client is behind proxies: `X-Forwarded-For`, `Forwarded`, the PROXY protocol, and who may use them.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Instant;

use crate::support::certificates::CertificateAuthority;
use crate::support::free_port;
use crate::support::http::{Client, get};
use crate::support::served_mirror::ServedMirror;
use crate::support::server::*;
use crate::support::until;
use base64::Engine as _;
use mirror::config::{Serve, TrustedProxies};
use mirror::server::{AccessRule, AccessRules, ContentKind, Site, Users};

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x7f\0\0\x01\0\x50\0\x50";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const GET: &[u8] = b"GET /packages.json HTTP/1.1\r\nHost: x\r\n\r\n";

fn proxies(networks: &[&str]) -> TrustedProxies {
    networks.iter().map(|network| network.parse().expect("a network")).collect()
}

/// Trusts loopback, and lets each client have `limit` connections.
fn behind_proxy(limit: usize) -> Serve {
    let max_connections_per_client = NonZero::new(limit).expect("a limit");
    Serve { trusted_proxies: proxies(&["127.0.0.1"]), max_connections_per_client, ..settings() }
}

#[test]
fn requests_are_limited_by_client_and_not_by_proxy() {
    let files = PublishedFiles::new();
    let large_zip = files.publish("large.zip", ContentKind::Archive, large());
    let site = Site::new([repository("/", vec![large_zip])]).expect("a valid site");
    let mirror = TestServer::with(Some(site), behind_proxy(1));
    let mut downloads: Vec<_> = ["203.0.113.7", "203.0.113.8"]
        .map(|ip| {
            let mut client = mirror.client();
            client.send(format!("GET /large.zip HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {ip}\r\n\r\n"));
            assert_eq!(client.read_head().status, 200, "{ip}");
            client
        })
        .into();
    let mut shared = mirror.client();
    let mut ask = |path: &str, client: &str| {
        let headers = [("X-Forwarded-For", client), ("Range", "bytes=0-0")];
        let response = shared.request("GET", path, &headers);
        (response.status, response.header("connection").map(str::to_owned))
    };
    // The connection is that of other clients, too, so it stays.
    assert_eq!(ask("/large.zip", "203.0.113.7"), (503, None));
    assert_eq!(ask("/-/healthz", "203.0.113.7"), (200, None));
    assert_eq!(ask("/large.zip", "203.0.113.9"), (206, None));
    drop(downloads.remove(0));
    until("the request is no longer counted", || ask("/large.zip", "203.0.113.7").0 == 206);
    assert_eq!(ask("/large.zip", "203.0.113.8").0, 503);
}

#[test]
fn proxy_header_names_client_of_connection() {
    let files = PublishedFiles::new();
    let mirror = TestServer::with(Some(files.site()), behind_proxy(1));
    let status = |header: &[u8]| {
        let mut client = mirror.client();
        client.send([header, GET].concat());
        (client.read_head().status, client)
    };
    for header in [V1, V2] {
        let mut first = None;
        until("no other connection is counted", || {
            first = Some(status(header)).filter(|(status, _)| *status == 200);
            first.is_some()
        });
        assert_eq!(status(header).0, 503);
        let _proxys_own = [status(b""), status(V2_LOCAL)];
        assert_eq!((status(b"").0, status(V2_LOCAL).0), (200, 200), "the proxy itself is not limited");
        drop(first);
    }
    // A client behind it has no word, neither in a second header nor in a request.
    let spoofed = b"GET /packages.json HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 198.51.100.9\r\n\r\n";
    let mut client = mirror.client();
    until("no other connection is counted", || {
        client = mirror.client();
        client.send([V1, spoofed].concat());
        client.read_head().status == 200
    });
    assert_eq!(status(V2).0, 503);
    assert_eq!(status(&[V2_LOCAL, V1].concat()).0, 400);
}

#[test]
fn proxy_header_arrives_in_pieces_or_is_refused() {
    let files = PublishedFiles::new();
    let mirror = TestServer::with(Some(files.site()), behind_proxy(1));
    for header in [V1, V2] {
        let mut client = mirror.client();
        for piece in header.chunks(5).chain(GET.chunks(7)) {
            client.send(piece);
            std::thread::yield_now();
        }
        assert_eq!(client.read_head().status, 200);
        client.shutdown_write();
        client.read_to_end();
    }
    let too_long = [&V2[..14], &[0xff, 0xff], &[0; 5000]].concat();
    for malformed in [&b"PROXY TCP4 nobody at all 1 2\r\n"[..], &too_long, &V1[..20]] {
        let mut client = mirror.client();
        // It may have been closed already.
        client.try_send(malformed).ok();
        client.0.get_ref().shutdown(std::net::Shutdown::Write).ok();
        let answer = client.read_to_end();
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn proxy_header_has_a_time_limit() {
    let header_timeout = SOON / 20;
    let mirror = TestServer::with(None, Serve { header_timeout, ..behind_proxy(1) });
    for begun in [&b""[..], &V1[..9], &V2[..14]] {
        let mut client = mirror.client();
        client.send(begun);
        let began = Instant::now();
        assert_eq!(client.rest(), 0);
        assert!(began.elapsed() < SOON, "{begun:?}");
    }
}

#[test]
fn only_trusted_proxies_name_clients() {
    let files = PublishedFiles::new();
    let serve = Serve { trusted_proxies: proxies(&["192.0.2.0/24", "unix:"]), ..behind_proxy(1) };
    let mirror = TestServer::with(Some(files.site()), serve);
    for header in [V1, V2] {
        let mut client = mirror.client();
        client.send([header, GET].concat());
        assert_eq!(client.read_head().status, 400);
        client.read_to_end();
    }
    let headers = [("X-Forwarded-For", "203.0.113.7"), ("Forwarded", "for=203.0.113.7")];
    let mut first = mirror.client();
    until("it is alone", || {
        first.request("GET", "/packages.json", &headers).status == 200 || {
            first = mirror.client();
            false
        }
    });
    assert_eq!(mirror.get("/packages.json").status, 503, "both are the client at 127.0.0.1");
}

#[test]
fn access_log_has_the_named_client() {
    let (env, port) = ServedMirror::built();
    let config =
        env.read("mirror.yaml").replace("notice: 0s", "notice: 0s, trusted_proxies: [127.0.0.1, 10.0.0.0/8]");
    env.write("mirror.yaml", &format!("{config}log: {{access: full, format: json}}\n"));
    let running = env.serve("serve", port);
    let mut proxied = Client::local(port);
    for (path, name, value) in [
        ("/1", "X-Forwarded-For", "198.51.100.9, 203.0.113.1, 10.0.0.1"),
        ("/2", "Forwarded", "for=198.51.100.9, for=\"[2001:db8::2]:4711\";proto=https"),
        ("/3", "X-Forwarded-For", "unknown"),
    ] {
        assert_eq!(proxied.request("GET", path, &[(name, value)]).status, 404);
    }
    let mut proxied = Client::local(port);
    proxied.send(V1);
    assert_eq!(proxied.request("GET", "/4", &[("X-Forwarded-For", "198.51.100.9")]).status, 404);
    let mut unknown = Client::local(port);
    unknown.send(b"PROXY UNKNOWN\r\n");
    assert_eq!(unknown.request("GET", "/7", &[("X-Forwarded-For", "198.51.100.9")]).status, 404);
    let mut stranger = Client::from_address([127, 0, 0, 2], port);
    assert_eq!(stranger.request("GET", "/5", &[("X-Forwarded-For", "198.51.100.9")]).status, 404);
    assert_eq!(get(port, "/6").status, 404);
    let mut stranger = Client::from_address([127, 0, 0, 2], port);
    stranger.send([V1, GET].concat());
    assert_eq!(stranger.read_head().status, 400);
    assert_eq!(running.stop(), Some(0));
    let log = env.read("log");
    assert!(log.contains("refused a PROXY header from `127.0.0.2`"), "{log}");
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let lines: Vec<_> = lines.filter(|line| line["message"] == "answered").collect();
    for (path, client) in [
        ("/1", "203.0.113.1"),
        ("/2", "2001:db8::2"),
        ("/3", "127.0.0.1"),
        ("/4", "203.0.113.7"),
        ("/5", "127.0.0.2"),
        ("/6", "127.0.0.1"),
        ("/7", "127.0.0.1"),
    ] {
        let line = lines.iter().find(|line| line["path"] == path).expect(path);
        assert_eq!(line["client"], client, "{path}");
    }
}

#[test]
fn proxy_header_of_a_stranger_before_tls_is_reported() {
    let (env, port) = ServedMirror::built();
    let (tls_port, authority) = (free_port(), CertificateAuthority::new());
    let (certificate, key) = authority.server_files();
    let tls = format!(
        "notice: 0s, tls: {{listen: '127.0.0.1:{tls_port}', certificate: '{}', key: '{}'}}",
        certificate.display(),
        key.display()
    );
    env.write("mirror.yaml", &env.read("mirror.yaml").replace("notice: 0s", &tls));
    let running = env.serve("serve", port);
    // Plain HTTP is another mistake.
    for (address, bytes) in [([127, 0, 0, 3], &b"PRI * HTTP/2.0"[..]), ([127, 0, 0, 2], V2)] {
        let mut client = Client::from_address(address, tls_port);
        client.send(bytes);
        client.read_to_end();
    }
    assert_eq!(running.stop(), Some(0));
    let log = env.read("log");
    assert!(log.contains("refused a PROXY header from `127.0.0.2`") && !log.contains("127.0.0.3"), "{log}");
}

/// Each wrong password is a new one, and takes a check of its own.
#[test]
fn guesses_of_one_client_delay_another_by_one_check() {
    let files = PublishedFiles::new();
    let mirror = TestServer::with(Some(files.site()), behind_proxy(1000));
    let hash = bcrypt::hash("right", 10).expect("a hash");
    let users = Users::parse(&format!("ana:{hash}\n")).expect("a user");
    mirror.published.set_access_rules(&AccessRules::new(vec![AccessRule {
        name: "/".to_owned(),
        base: "/".to_owned(),
        users: Some(Arc::new(users)),
    }]));
    let request = |password: &str, ip: &str| {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("ana:{password}"));
        format!(
            "GET /packages.json HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {ip}\r\nAuthorization: Basic {pair}\r\n\r\n"
        )
    };
    let mut guesses: Vec<_> = (0..80)
        .map(|number| {
            let mut client = mirror.client();
            client.send(request(&number.to_string(), "203.0.113.7"));
            (client, None)
        })
        .collect();
    let mut count_answers = |status| {
        for (client, answer) in guesses.iter_mut().filter(|(_, answer)| answer.is_none()) {
            let stream = client.0.get_ref();
            stream.set_nonblocking(true).expect("a socket option");
            let is_answered = stream.peek(&mut [0; 200]).is_ok_and(|count| count >= 100);
            stream.set_nonblocking(false).expect("a socket option");
            *answer = is_answered.then(|| client.read_head().status);
        }
        guesses.iter().filter(|(_, answer)| *answer == Some(status)).count()
    };
    until("no more of its guesses wait", || count_answers(503) > 0);
    let before = count_answers(401);
    let mut honest = mirror.client();
    honest.send(request("right", "198.51.100.9"));
    assert_eq!(honest.read_head().status, 200);
    let meanwhile = count_answers(401) - before;
    assert!(meanwhile < 20, "{meanwhile} guesses were checked first");
}
