//! Webhooks of GitHub and GitLab that start a cycle.

use crate::support::env::TestEnv;
use crate::support::free_port;
use crate::support::git::WorkTree;
use crate::support::http::{Client, get, post, request};
use hmac::{Hmac, KeyInit as _, Mac as _};
use std::time::{Duration, Instant};

const SOURCE: &str =
    "  - name: modules\n    git: https://git.example/modules\n    packages:\n      - {each: ''}\n";
const GITHUB_SECRET: &str = "what only GitHub knows";
const GITLAB_TOKEN: &str = "what only GitLab knows";
const GITHUB_BODY: &str = r#"{"ref": "refs/tags/1.1.0", "repository": {"clone_url": "https://git.example/modules.git", "ssh_url": "git@git.example:modules.git"}}"#;
const GITLAB_BODY: &str = r#"{"object_kind": "tag_push", "project": {"git_http_url": "https://git.example/modules.git", "git_ssh_url": "git@git.example:modules.git"}}"#;

/// Headers that a delivery needs before its body is read.
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
    let upstream = WorkTree { path: env.path("git/modules") };
    let manifest = format!(r#"{{"name": "acme/a", "version": "{version}"}}"#);
    upstream.write("a/composer.json", &manifest).release(version);
}

/// The signature of GitHub: HMAC-SHA-256 in hexadecimal.
fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

fn github(event: &str, secret: &str, body: &str) -> String {
    format!("X-GitHub-Event: {event}\r\nX-Hub-Signature-256: sha256={}\r\n", signature(secret, body))
}

fn gitlab(token: &str) -> String {
    format!("X-Gitlab-Event: Tag Push Hook\r\nX-Gitlab-Token: {token}\r\n")
}

#[test]
fn push_starts_a_cycle_and_several_pushes_share_one() {
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

    // None of these starts a cycle.
    let other = GITHUB_BODY.replace("modules", "elsewhere");
    let large = format!("{{\"x\": \"{}\"}}", "x".repeat(5 << 20));
    let status = |headers: &str, body: &str| post(port, "/-/push", headers, body).status;
    assert_eq!(status("", GITHUB_BODY), 400);
    assert_eq!(status("X-GitHub-Event: push\r\n", GITHUB_BODY), 401);
    assert_eq!(status(&github("push", "guessed", GITHUB_BODY), GITHUB_BODY), 403);
    assert_eq!(status(&github("push", GITHUB_SECRET, &other), GITHUB_BODY), 403);
    assert_eq!(status(&github("push", GITLAB_TOKEN, GITHUB_BODY), GITHUB_BODY), 403);
    assert_eq!(status(&gitlab(GITHUB_SECRET), GITLAB_BODY), 403);
    let away = env.path("github").with_extension("away");
    std::fs::rename(env.path("github"), &away).unwrap();
    let unchecked = status(&github("push", GITHUB_SECRET, GITHUB_BODY), GITHUB_BODY);
    std::fs::rename(&away, env.path("github")).unwrap();
    assert_eq!(unchecked, 503, "the secret cannot be read");
    assert_eq!(status(&github("push", GITHUB_SECRET, &other), &other), 404);
    assert_eq!(status(&github("ping", GITHUB_SECRET, GITHUB_BODY), GITHUB_BODY), 200);
    assert_eq!(status(&github("push", GITHUB_SECRET, "payload=1"), "payload=1"), 400);
    // The connection ends before all of it is sent.
    let declared = format!("Content-Length: {}\r\n", large.len());
    assert_eq!(request(port, "POST", "/-/push", &declared).status, 413);
    for method in ["GET", "HEAD", "PUT", "OPTIONS"] {
        let answer = request(port, method, "/-/push", "");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method}");
    }
    assert!(!log().contains("asks for a cycle"), "{}", log());
    assert!(!is_there("1.1.0"));

    let created = github("create", GITHUB_SECRET, GITHUB_BODY);
    assert_eq!(status(&created, GITHUB_BODY), 202);
    until("1.1.0");

    release(&env, "1.2.0");
    for _ in 0..5 {
        assert_eq!(status(&gitlab(GITLAB_TOKEN), GITLAB_BODY), 202);
    }
    until("1.2.0");
    // It is served before its cycle ends.
    crate::support::until("the second cycle ends", || log().matches("cycle finished").count() > 1);
    let log = log();
    assert_eq!(log.matches("cycle finished").count(), 2, "{log}");
    for secret in [GITHUB_SECRET, GITLAB_TOKEN, "guessed"] {
        assert!(!log.contains(secret), "{log}");
    }
    assert_eq!(server.stop(), Some(0));
}

/// Some clients do not know the length of the body beforehand, and some ask first whether the server wants it.
#[test]
fn deliveries_are_read_with_every_body_framing() {
    let port = free_port();
    let env = env(port, "push:\n  - {from: github, secret_file: github}\n");
    let server = env.serve("run", port);
    let body = format!("{{\"x\": \"{}\"}}", "x".repeat(2 << 20));
    let signed = github("ping", GITHUB_SECRET, &body);
    let whole = (format!("Content-Length: {}", body.len()), body.clone());
    let halves = body.split_at(1 << 20);
    let chunk = |bytes: &str| format!("{:x}\r\n{bytes}\r\n", bytes.len());
    let chunks = [chunk(halves.0), chunk(halves.1), "0\r\n\r\n".to_owned()].concat();
    for (framing, sent) in [whole, ("Transfer-Encoding: chunked".to_owned(), chunks)] {
        for is_asked in [false, true] {
            let mut client = Client::local(port);
            let expect = if is_asked { "Expect: 100-continue\r\n" } else { "" };
            client.send(format!("POST /-/push HTTP/1.1\r\nHost: x\r\n{framing}\r\n{expect}{signed}\r\n"));
            if is_asked {
                assert_eq!(client.read_head().status, 100, "{framing}");
            }
            client.send(&sent);
            assert_eq!(client.read_head().status, 200, "{framing}, {expect}");
        }
    }
    // Malformed chunks and truncated bodies.
    for (header, body) in [
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n\r\n\r\n"),
        ("Transfer-Encoding: chunked", "5\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhello0\r\n\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhel"),
        ("Content-Length: 5", "hel"),
    ] {
        let mut client = Client::local(port);
        client.send(format!("POST /-/push HTTP/1.1\r\nHost: x\r\n{PROOF}{header}\r\n\r\n{body}"));
        client.shutdown_write();
        assert_eq!(client.read_head().status, 400, "{header} {body:?}");
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn clients_that_send_no_body_do_not_block_deliveries() {
    let port = free_port();
    let env = env(port, "push:\n  - {from: github, secret_file: github}\n");
    let server = env.serve("run", port);
    let announce = |headers: &str| {
        let mut client = Client::local(port);
        client.send(format!("POST /-/push HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n{headers}\r\n"));
        client
    };
    let began = Instant::now();
    assert_eq!(announce("").read_head().status, 400);
    assert_eq!(announce("X-GitHub-Event: push\r\n").read_head().status, 401);
    let silent: Vec<_> = (0..6).map(|_| announce(PROOF)).collect();
    let signed = github("ping", GITHUB_SECRET, GITHUB_BODY);
    let mut other = Client::from_address([127, 0, 0, 2], port);
    let length = GITHUB_BODY.len();
    other.send(format!(
        "POST /-/push HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{signed}\r\n{GITHUB_BODY}"
    ));
    assert_eq!(other.read_head().status, 200, "another client has its own place");
    assert!(began.elapsed() < Duration::from_secs(3), "nobody was waited for");
    drop(silent);
    let mut silent = announce(PROOF);
    assert_eq!(post(port, "/-/push", &signed, GITHUB_BODY).status, 200, "it waits for its turn");
    assert_eq!(silent.read_head().status, 408);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn webhooks_are_rejected_when_not_configured() {
    let port = free_port();
    let env = env(port, "");
    let server = env.serve("run", port);
    assert_eq!(post(port, "/-/push", &gitlab(""), GITLAB_BODY).status, 404);
    assert_eq!(get(port, "/-/push").status, 404);
    assert_eq!(server.stop(), Some(0));
}

/// `mirror serve` does not build, so it accepts no webhooks.
#[test]
fn serve_command_rejects_webhooks() {
    let port = free_port();
    let env = env(port, "push:\n  - {from: gitlab, secret_file: gitlab}\n");
    let server = env.serve("serve", port);
    assert_eq!(post(port, "/-/push", &gitlab(GITLAB_TOKEN), GITLAB_BODY).status, 404);
    assert_eq!(server.stop(), Some(0));
}
