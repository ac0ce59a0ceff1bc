//! Files that the server opens for hostile requests, according to strace.

use std::process::{Child, Command, Stdio};

use crate::support::http::{Client, get, is_ready};
use crate::support::served_mirror::ServedMirror;
use crate::support::{missing, run, until};

/// Well over a thousand paths out of the tree, with every known encoding.
fn hostile_paths() -> Vec<String> {
    let ups = [
        "..",
        "%2e%2e",
        "%2E%2e",
        ".%2e",
        "..%2f",
        "%2e%2e%2f",
        "..%5c",
        "..\\",
        "%252e%252e",
        "%c0%ae%c0%ae",
        "%e0%80%ae%e0%80%ae",
        "%u002e%u002e",
        "..%00",
        "....",
        "..;",
        "..%09",
        "%5c..",
        "..%c0%af",
    ];
    let targets = [
        "etc/passwd",
        "etc%2fpasswd",
        "proc/self/environ",
        "mirror.yaml",
        "data/STORE",
        "data/acme/ledger.jsonl",
        "packages.json%00.html",
    ];
    let prefixes = ["/", "/mirror/", "/mirror/p2/", "/mirror/packages/acme/", "/-/"];
    let mut paths = Vec::new();
    for up in ups {
        for target in targets {
            for prefix in prefixes {
                for depth in [1, 4] {
                    paths.push(format!("{prefix}{}{target}", format!("{up}/").repeat(depth)));
                }
            }
        }
    }
    for host in ["evil.example", "evil.example/..", "evil.example/%2e%2e", "evil.example%2f"] {
        for start in ["//", "/\\", "/%2f", "/%5c", "///", "/mirror//", "http:", "http://x//", "/http://"] {
            paths.push(format!("{start}{host}"));
        }
    }
    paths
}

/// Malformed requests for an existing file, with an invalid byte in every position.
fn malformed_requests() -> Vec<Vec<u8>> {
    let get = |request: &str| request.replace("GET", "GET /mirror/packages.json").into_bytes();
    let mut requests: Vec<_> = [
        "GET HTTP/1.1\r\n\r\n",
        "GET HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET HTTP/9.9\r\nHost: x\r\n\r\n",
        "GET HTTP/1\r\nHost: x\r\n\r\n",
        "GET http/1.1\r\nHost: x\r\n\r\n",
        "GET HTTP/1.1 \r\nHost: x\r\n\r\n",
        "GET HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET HTTP/1.1\r\nHost: x\r\n folded: 1\r\n\r\n",
        "GET HTTP/1.1\r\nHost: x\r\n: 1\r\n\r\n",
        "GET HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        "GET HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "GET HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n",
        "GET HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 2\r\n\r\n",
        "GET HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "GET HTTP/1.1\r\nHost: x\r\nContent-Length: 0x1\r\n\r\n",
        "GET HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
        "GET HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        "GET HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        "\0\0\0\0\0\0\0\0\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nno frame at all\r\n\r\n",
        "GET HTTP/1.1\r\nHost: x",
        "GET",
    ]
    .into_iter()
    .map(get)
    .collect();
    for byte in (0..=31_u8).chain([127]) {
        for (before, after) in [
            ("G", "ET /mirror/packages.json HTTP/1.1\r\nHost: x\r\n\r\n"),
            ("GET /mirror/", "packages.json HTTP/1.1\r\nHost: x\r\n\r\n"),
            ("GET /mirror/packages.json HTT", "P/1.1\r\nHost: x\r\n\r\n"),
            ("GET /mirror/packages.json HTTP/1.1\r\nHost: x\r\nA", "B: 1\r\n\r\n"),
            ("GET /mirror/packages.json HTTP/1.1\r\nHost: x\r\nA: 1", "2\r\n\r\n"),
        ] {
            // A tab within a value is valid.
            if !(byte == b'\t' && before.ends_with(": 1")) {
                requests.push([before.as_bytes(), &[byte], after.as_bytes()].concat());
            }
        }
    }
    for method in ["GET/", "G=T", "G(T", "G T", "", "\u{e9}"] {
        requests.push(format!("{method} /mirror/packages.json HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes());
    }
    for name in [
        "a b", "a(", "a)", "a,", "a/", "a;", "a<", "a=", "a>", "a?", "a@", "a[", "a\\", "a]", "a{", "a}",
        "a\"", "\u{e9}",
    ] {
        let request = format!("GET /mirror/packages.json HTTP/1.1\r\nHost: x\r\n{name}: 1\r\n\r\n");
        requests.push(request.into_bytes());
    }
    requests
}

/// A traced program. It is killed before its tracer, because it would survive it.
struct Traced(Child);

impl Drop for Traced {
    fn drop(&mut self) {
        let id = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        for child in children.split_whitespace() {
            run(Command::new("kill").arg(child));
        }
        self.0.wait().ok();
    }
}

/// The bytes that come back before the connection ends; `is_all` says that nothing more will be sent.
fn send_raw(port: u16, bytes: &[u8], is_all: bool) -> Vec<u8> {
    let mut client = Client::local(port);
    client.send(bytes);
    if is_all {
        client.shutdown_write();
    }
    client.read_to_end()
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer);
    text.strip_prefix("HTTP/1.1 ").or(text.strip_prefix("HTTP/1.0 "))?.get(..3)?.parse().ok()
}

#[test]
fn hostile_requests_open_no_file_outside_the_volume() {
    let (env, port) = ServedMirror::built();
    let trace = env.path("strace");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-e", "trace=open,openat,openat2,creat", "-o"])
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_mirror"))
        .args(["serve", "--config"])
        .arg(env.path("mirror.yaml"))
        .stderr(Stdio::null());
    let running = Traced(strace.spawn().unwrap_or_else(|error| panic!("{}", missing("strace", &error))));
    until("it is ready", || is_ready(port));
    let before = std::fs::read_to_string(&trace).unwrap().lines().count();

    let paths = hostile_paths();
    assert!(paths.len() > 500, "{}", paths.len());
    for path in &paths {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = send_raw(port, request.as_bytes(), false);
        let status = status_of(&answer).unwrap_or_else(|| panic!("no answer to {path}"));
        assert!((400..500).contains(&status), "{status} to {path}");
    }
    let requests = malformed_requests();
    assert!(requests.len() > 200, "{}", requests.len());
    for bytes in &requests {
        let answer = send_raw(port, bytes, true);
        let shown = String::from_utf8_lossy(bytes);
        if let Some(status) = status_of(&answer) {
            assert!((400..500).contains(&status) || status == 505, "{status} to {shown:?}");
        }
    }
    assert_eq!(get(port, "/mirror/packages/acme/a-1.0.0.zip").status, 200);

    let opened = std::fs::read_to_string(&trace).unwrap();
    let opened: Vec<_> = opened.lines().skip(before).filter(|line| line.contains('"')).collect();
    let inside = env.path("x").parent().unwrap().display().to_string();
    for line in &opened {
        let path = line.split('"').nth(1).unwrap();
        assert!(path.starts_with(&inside), "{line}");
        assert!(!path.contains("..") && !path.contains("passwd"), "{line}");
    }
    assert!(opened.iter().any(|line| line.contains("a-1.0.0.zip")), "the trace sees what is opened");
    drop(running);
}
