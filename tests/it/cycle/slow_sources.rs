//! A source that takes long does not hold up the others of its cycle.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::env::TestEnv;
use crate::support::git_server::GitServer;
use crate::support::{free_port, until};

/// A port whose responses begin with a header that does not end before `released` is set; then they are those of `server`.
fn slow_port(server: &GitServer, released: &Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (backend, released) = (server.port(), released.clone());
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, released) = (client.unwrap(), released.clone());
            // The client may hang up at any time.
            thread::spawn(move || drop(relay(client, backend, &released)));
        }
    });
    port
}

fn relay(mut client: TcpStream, backend: u16, released: &AtomicBool) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
    let lower = head.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    client.write_all(b"HTTP/1.1 200 OK\r\nX-Wait: ")?;
    while !released.load(Ordering::Relaxed) {
        client.write_all(b"x")?;
        thread::sleep(Duration::from_millis(50));
    }
    client.write_all(b"\r\n")?;
    let mut server = TcpStream::connect(("127.0.0.1", backend))?;
    server.write_all(head.as_bytes())?;
    server.write_all(&body)?;
    let mut response = BufReader::new(server);
    response.read_line(&mut String::new())?;
    std::io::copy(&mut response, &mut client).map(drop)
}

#[test]
fn ready_sources_are_published_while_another_is_fetched() {
    let env = TestEnv::new();
    for name in ["good", "slow"] {
        let upstream = env.upstream(name);
        upstream.write("composer.json", &format!(r#"{{"name": "acme/{name}", "version": "1.0.0"}}"#));
        upstream.release("1.0.0");
    }
    let server = GitServer::start(&env.path("git"));
    let released = Arc::new(AtomicBool::new(false));
    let slow = format!("http://127.0.0.1:{}/slow/.git", slow_port(&server, &released));
    env.configure(
        free_port(),
        &format!(
            "  - {{name: slow, git: '{slow}', packages: [{{one: ''}}]}}\n  - {{name: good, git: 'https://git.example/good', packages: [{{one: ''}}]}}\n"
        ),
    );
    env.write(
        "mirror.yaml",
        &env.read("mirror.yaml").replace("  timeout: 2s\n", "  timeout: 2s\n  min_pace: 0B\n"),
    );
    let published =
        || std::fs::read_to_string(env.path("data/acme/current/packages.json")).unwrap_or_default();
    let output = thread::scope(|scope| {
        let build = scope.spawn(|| env.mirror("build"));
        until("the good source is published", || published().contains("acme/good"));
        assert!(!published().contains("acme/slow"));
        let report = env.read("data/acme/current/report.json");
        assert!(report.contains("still being fetched"), "{report}");
        assert!(!build.is_finished(), "the cycle goes on");
        released.store(true, Ordering::Relaxed);
        build.join().unwrap()
    });
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(published().contains("acme/good") && published().contains("acme/slow"));
    assert!(!env.read("data/acme/current/report.json").contains("still being fetched"));
    assert!(!log.contains("ERROR") && !log.contains("still being fetched"), "{log}");
    // Nothing is left to do.
    let before = env.volume();
    env.build(0);
    assert_eq!(env.volume(), before);
}
