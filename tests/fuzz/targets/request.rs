//! Input on a connection from a trusted proxy: whatever it is, the output is a sequence of whole HTTP/1.1 responses, and the
//! server survives.
#![no_main]

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use mirror::config::{Address, Serve, TrustedProxy};
use mirror::telemetry::Metrics;
use mirror::server::{ContentKind, StatusFile, PublishedSite, Server, Settings};

/// The socket of a server with one file.
fn server() -> PathBuf {
    let socket = std::env::temp_dir().join(format!("mirror-fuzz-{}", std::process::id()));
    let settings = Settings {
        serve: Serve {
            listen: vec![Address::Unix(socket.clone().into())],
            trusted_proxies: [TrustedProxy::UnixSockets].into_iter().collect(),
            ..Serve::default()
        },
        ..Settings::default()
    };
    let published = PublishedSite::default();
    published.set_status_files(vec![StatusFile {
        path: "/text".to_owned(),
        kind: ContentKind::Text,
        bytes: b"some words".to_vec(),
    }]);
    let (bound, is_bound) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let metrics = Metrics::new(Path::new("/")).expect("metrics");
            let server = Server::bind(settings, published, metrics).await.expect("a socket");
            bound.send(()).expect("somebody waits");
            server.run(std::future::pending()).await;
        });
    });
    is_bound.recv().expect("a server");
    socket
}

/// The rest of `said` after its first response; a response to HEAD has no body.
fn after_answer(said: &[u8]) -> &[u8] {
    let end = said.windows(4).position(|end| end == b"\r\n\r\n").expect("the end of a head") + 4;
    let head = std::str::from_utf8(&said[..end]).expect("a head is text");
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().and_then(without_version).expect("a status line");
    let status: u16 = status[..3].parse().expect("a status");
    let mut length = 0;
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a field");
        if name == "content-length" {
            length = value.parse().expect("a length");
        }
    }
    let rest = &said[end..];
    match status {
        100 | 204 | 304 => rest,
        _ if rest.is_empty() || rest.starts_with(b"HTTP/1.") => rest,
        _ => &rest[length..],
    }
}

/// hyper answers a request of HTTP/1.0 in that version.
fn without_version(line: &str) -> Option<&str> {
    line.strip_prefix("HTTP/1.1 ").or(line.strip_prefix("HTTP/1.0 "))
}

fuzz_target!(|bytes: &[u8]| {
    static SERVER: OnceLock<PathBuf> = OnceLock::new();
    let mut stream = UnixStream::connect(SERVER.get_or_init(server)).expect("the server lives");
    // It may close the connection before it has read everything.
    stream.write_all(bytes).ok();
    stream.shutdown(Shutdown::Write).ok();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).ok();
    if bytes.starts_with(b"PRI * HTTP/2.0") {
        return;
    }
    let mut rest = &said[..];
    while !rest.is_empty() {
        rest = after_answer(rest);
    }
});
