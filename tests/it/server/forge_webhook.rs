//! Webhooks of GitHub and GitLab that start a cycle.

use crate::support::env::TestEnv;
use crate::support::git::WorkTree;
use crate::support::http::{get, request};
use crate::support::{free_port, run};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SOURCE: &str =
    "  - name: modules\n    git: https://git.example/modules\n    packages:\n      - {each: ''}\n";
const GITHUB_SECRET: &str = "what only GitHub knows";
const GITLAB_TOKEN: &str = "what only GitLab knows";
const GITHUB_BODY: &str = r#"{"ref": "refs/tags/1.1.0", "repository": {"clone_url": "https://git.example/modules.git", "ssh_url": "git@git.example:modules.git"}}"#;
const GITLAB_BODY: &str = r#"{"object_kind": "tag_push", "project": {"git_http_url": "https://git.example/modules.git", "git_ssh_url": "git@git.example:modules.git"}}"#;

/// What a delivery is asked for before it is read.
const PROOF: &str = "X-GitHub-Event: push\r\nX-Hub-Signature-256: sha256=00\r\n";

/// A mirror with version 1.0.0 that has nothing to do until the night.
fn env(port: u16, push: &str) -> TestEnv {
    let env = TestEnv::new();
    env.configure(port, SOURCE);
    let config = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    env.write("mirror.yaml", &(config + push));
    env.write("github", &format!("{GITHUB_SECRET}\n"));
    env.write("gitlab", GITLAB_TOKEN);
    env.upstream("modules");
    release(&env, "1.0.0");
    env.build(0);
    env
}

fn release(env: &TestEnv, version: &str) {
    let upstream = WorkTree {
        path: env.path("git/modules"),
    };
    let manifest = format!(r#"{{"name": "acme/a", "version": "{version}"}}"#);
    upstream.write("a/composer.json", &manifest).release(version);
}

/// The signature by a program that is not ours.
fn signature(secret: &str, body: &str) -> String {
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-r", "-hmac", secret])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is installed by tests/run");
    openssl.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = openssl.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

fn post(port: u16, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /-/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

fn github(event: &str, secret: &str, body: &str) -> String {
    format!(
        "X-GitHub-Event: {event}\r\nX-Hub-Signature-256: sha256={}\r\n",
        signature(secret, body)
    )
}

fn gitlab(token: &str) -> String {
    format!("X-Gitlab-Event: Tag Push Hook\r\nX-Gitlab-Token: {token}\r\n")
}

#[test]
fn a_push_starts_a_cycle_and_many_start_one() {
    let port = free_port();
    let env = env(
        port,
        "push:\n  - {from: github, secret_file: github}\n  - {from: gitlab, secret_file: gitlab}\n",
    );
    let server = env.serve("run", port);
    let log = || std::fs::read_to_string(env.path("log")).unwrap();
    let is_there = |version: &str| get(port, &format!("/mirror/packages/acme/a-{version}.zip")).status == 200;
    let until = |version: &str| {
        let deadline = Instant::now() + Duration::from_secs(180);
        while !is_there(version) {
            assert!(Instant::now() < deadline, "{version} is not there\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    release(&env, "1.1.0");

    // Nothing of this starts anything.
    let other = GITHUB_BODY.replace("modules", "elsewhere");
    let large = format!("{{\"x\": \"{}\"}}", "x".repeat(5 << 20));
    let status = |headers: &str, body: &str| post(port, headers, body).0;
    assert_eq!(status("", GITHUB_BODY), 400);
    assert_eq!(status("X-GitHub-Event: push\r\n", GITHUB_BODY), 401);
    assert_eq!(status(&github("push", "guessed", GITHUB_BODY), GITHUB_BODY), 403);
    assert_eq!(status(&github("push", GITHUB_SECRET, &other), GITHUB_BODY), 403);
    assert_eq!(
        status(&github("push", GITLAB_TOKEN, GITHUB_BODY), GITHUB_BODY),
        403
    );
    assert_eq!(status(&gitlab(GITHUB_SECRET), GITLAB_BODY), 403);
    let away = env.path("github").with_extension("away");
    std::fs::rename(env.path("github"), &away).unwrap();
    let unchecked = status(&github("push", GITHUB_SECRET, GITHUB_BODY), GITHUB_BODY);
    std::fs::rename(&away, env.path("github")).unwrap();
    assert_eq!(unchecked, 503, "the secret cannot be read");
    assert_eq!(status(&github("push", GITHUB_SECRET, &other), &other), 404);
    assert_eq!(
        status(&github("ping", GITHUB_SECRET, GITHUB_BODY), GITHUB_BODY),
        200
    );
    assert_eq!(
        status(&github("push", GITHUB_SECRET, "payload=1"), "payload=1"),
        400
    );
    // The connection ends before all of it is sent.
    let declared = format!("Content-Length: {}\r\n", large.len());
    assert_eq!(request(port, "POST", "/-/push", &declared).status, 413);
    for method in ["GET", "HEAD", "PUT", "OPTIONS"] {
        let answer = request(port, method, "/-/push", "");
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("POST")),
            "{method}"
        );
    }
    assert!(!log().contains("asks for a cycle"), "{}", log());
    assert!(!is_there("1.1.0"));

    let (code, answer) = post(port, &github("create", GITHUB_SECRET, GITHUB_BODY), GITHUB_BODY);
    assert_eq!(code, 202, "{answer}");
    until("1.1.0");

    release(&env, "1.2.0");
    for _ in 0..5 {
        assert_eq!(status(&gitlab(GITLAB_TOKEN), GITLAB_BODY), 202);
    }
    until("1.2.0");
    let log = log();
    assert_eq!(log.matches("cycle finished").count(), 2, "{log}");
    for secret in [GITHUB_SECRET, GITLAB_TOKEN, "guessed"] {
        assert!(!log.contains(secret), "{log}");
    }
    assert_eq!(server.stop(), Some(0));
}

/// By a client that does not know the length beforehand, or first asks whether the body is wanted.
#[test]
fn a_delivery_comes_in_whatever_way_http_has() {
    let port = free_port();
    let env = env(port, "push:\n  - {from: github, secret_file: github}\n");
    let server = env.serve("run", port);
    let body = format!("{{\"x\": \"{}\"}}", "x".repeat(2 << 20));
    let signed = github("ping", GITHUB_SECRET, &body);
    for way in ["Content-Type: a/b", "Transfer-Encoding: chunked"] {
        for expect in ["Expect:", "Expect: 100-continue"] {
            let mut curl = Command::new("curl");
            // Without an invitation it would wait until it is too late.
            curl.args([
                "-s",
                "-w",
                "%{http_code}",
                "--expect100-timeout",
                "60",
                "--max-time",
                "30",
            ])
            .args(["--data-binary", "@-", "-H", way, "-H", expect])
            .args(signed.lines().flat_map(|header| ["-H", header]))
            .arg(format!("http://127.0.0.1:{port}/-/push"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
            let mut curl = curl.spawn().expect("curl is installed by tests/run");
            curl.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
            let output = curl.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.ends_with("200"), "{way}, {expect}: {said}");
        }
    }
    // Chunks that are none, and a body that ends too early.
    for (header, body) in [
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n\r\n\r\n"),
        ("Transfer-Encoding: chunked", "5\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhello0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhel"),
        ("Content-Length: 5", "hel"),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(
            stream,
            "POST /-/push HTTP/1.1\r\nHost: x\r\n{PROOF}{header}\r\n\r\n{body}"
        )
        .unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{header} {body:?}: {answer}");
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn who_announces_a_body_and_sends_none_keeps_no_delivery_out() {
    let port = free_port();
    let env = env(port, "push:\n  - {from: github, secret_file: github}\n");
    let server = env.serve("run", port);
    let announce = |headers: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let head = format!("POST /-/push HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let answered = |mut stream: TcpStream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let began = Instant::now();
    assert!(answered(announce("")).starts_with("HTTP/1.1 400 "));
    assert!(answered(announce("X-GitHub-Event: push\r\n")).starts_with("HTTP/1.1 401 "));
    let silent: Vec<_> = (0..6).map(|_| announce(PROOF)).collect();
    let signed = github("ping", GITHUB_SECRET, GITHUB_BODY);
    let status = run(Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-w", "%{http_code}"])
        .args(["--interface", "127.0.0.2", "-d", GITHUB_BODY])
        .args(signed.lines().flat_map(|header| ["-H", header]))
        .arg(format!("http://127.0.0.1:{port}/-/push")));
    assert_eq!(status, "200", "another client has its own place");
    assert!(began.elapsed() < Duration::from_secs(3), "nobody was waited for");
    drop(silent);
    let silent = announce(PROOF);
    assert_eq!(post(port, &signed, GITHUB_BODY).0, 200, "it waits for its turn");
    assert!(answered(silent).starts_with("HTTP/1.1 408 "));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn nobody_is_listened_to_unless_configured() {
    let port = free_port();
    let env = env(port, "");
    let server = env.serve("run", port);
    assert_eq!(post(port, &gitlab(""), GITLAB_BODY).0, 404);
    assert_eq!(get(port, "/-/push").status, 404);
    assert_eq!(server.stop(), Some(0));
}

/// Who only serves cannot build, and says so.
#[test]
fn a_server_without_a_builder_takes_no_push() {
    let port = free_port();
    let env = env(port, "push:\n  - {from: gitlab, secret_file: gitlab}\n");
    let server = env.serve("serve", port);
    assert_eq!(post(port, &gitlab(GITLAB_TOKEN), GITLAB_BODY).0, 404);
    assert_eq!(server.stop(), Some(0));
}
