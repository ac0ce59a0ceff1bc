//! Outgoing webhooks: a mirror reports failures, divergences and recoveries.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::support::env::TestEnv;
use crate::support::http::get;
use crate::support::store::{GOOD, release};
use crate::support::{free_port, until};
use serde_json::Value;

/// A receiver that refuses the first message once.
fn receiver() -> (u16, Receiver<Value>) {
    receiver_that_takes(|n| n > 0)
}

/// A receiver that takes the requests with these numbers, from zero on, and refuses the others.
fn receiver_that_takes(takes: impl Fn(usize) -> bool + Send + 'static) -> (u16, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            loop {
                line.clear();
                stream.read_line(&mut line).unwrap();
                let header = line.to_ascii_lowercase();
                if let Some(value) = header.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if let Some(agent) = header.strip_prefix("user-agent:") {
                    assert!(agent.trim().starts_with("mirror/"), "{agent}");
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let is_taken = takes(n);
            let status = if is_taken { "200 OK" } else { "503 Later" };
            write!(stream.get_mut(), "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .unwrap();
            if is_taken {
                sender.send(serde_json::from_slice(&body).unwrap()).unwrap();
            }
        }
    });
    (port, receiver)
}

#[test]
fn failed_first_cycle_reports_its_reason() {
    let (env, port) = (TestEnv::new(), free_port());
    let (hook, messages) = receiver();
    env.configure(port, "  - {name: modules, git: 'https://git.example/modules', packages: [{one: ''}]}\n");
    let configuration = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    let configuration = format!("{configuration}notify:\n  - url: http://127.0.0.1:{hook}/\n");
    env.write("mirror.yaml", &configuration);
    let _server = env.start("run");
    let failure = messages.recv_timeout(Duration::from_secs(120)).unwrap();
    assert_eq!((&failure["event"], &failure["state"]), (&"failure".into(), &"empty".into()));
    let text = failure["text"].as_str().unwrap();
    assert!(text.contains("failed: modules: "), "{failure:#}");

    let packages = get(port, "/mirror/packages.json");
    assert_eq!(packages.status, 503);
    assert!(packages.text().contains("status.html"), "{}", packages.text());
    for path in ["/mirror/", "/mirror/status.html"] {
        let page = get(port, path);
        assert_eq!(page.status, 200);
        let page = page.text();
        assert!(page.contains("Nothing is published yet: the last cycle"), "{page}");
        assert!(page.contains("the folder `(internal URL)` does not exist"), "{page}");
        assert!(!page.contains(env.path("git").to_str().unwrap()), "{page}");
    }
    let state: Value = serde_json::from_slice(&get(port, "/mirror/mirror.json").body).unwrap();
    assert_eq!(state["repository"]["counts"]["failed_sources"], 1);
    let metrics = get(port, "/-/metrics").into_text();
    assert!(metrics.contains(r#"mirror_failed_sources{repository="acme"} 1"#), "{metrics}");
    let overview = get(port, "/").into_text();
    assert!(overview.contains(r#"<a href="./mirror/">acme</a>"#), "{overview}");

    env.upstream("modules")
        .write("composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#)
        .release("1.0.0");
    env.write("mirror.yaml", &format!("{configuration}site: {{name: one}}\n"));
    let recovery = messages.recv_timeout(Duration::from_secs(120)).unwrap();
    assert_eq!(recovery["event"], "recovery");
    assert!(!get(port, "/mirror/status.html").text().contains("not a git repository"));
    let cycles = std::fs::read_to_string(env.path("data/acme/status/cycles.json")).unwrap();
    assert!(!cycles.contains("\"report\""), "the snapshot has it now: {cycles}");
}

#[test]
fn notification_waits_until_its_secret_can_be_read() {
    let (env, port) = (TestEnv::new(), free_port());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = listener.local_addr().unwrap().port();
    env.configure(port, "  - {name: modules, git: 'https://git.example/modules', packages: [{one: ''}]}\n");
    let notify = format!("notify: [{{url: 'http://127.0.0.1:{hook}/', secret_file: secret}}]\n");
    env.write("mirror.yaml", &format!("{}{notify}", env.read("mirror.yaml")));
    let _server = env.start("run");
    until("a failed delivery", || env.read("log").contains("failed to send a notification"));
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "it is not sent without a signature");
    listener.set_nonblocking(false).unwrap();
    env.write("secret", "shared\n");
    let head = BufReader::new(listener.accept().unwrap().0).lines().map(Result::unwrap);
    let head: Vec<_> = head.take_while(|line| !line.is_empty()).collect();
    assert!(head.iter().any(|line| line.starts_with("mirror-signature-256: sha256=")), "{head:?}");
}

#[test]
fn release_is_told_although_the_configuration_changes_meanwhile() {
    let (env, port) = (TestEnv::new(), free_port());
    let (is_open, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (hook, messages) = {
        let (is_open, refused) = (Arc::clone(&is_open), Arc::clone(&refused));
        receiver_that_takes(move |_| {
            let is_taken = is_open.load(Ordering::SeqCst);
            refused.fetch_add(usize::from(!is_taken), Ordering::SeqCst);
            is_taken
        })
    };
    release(&env.upstream("good"), "1.0.0", "first");
    env.configure(port, GOOD);
    let notify = format!("notify: [{{url: 'http://127.0.0.1:{hook}/', on: [release]}}]\n");
    let configuration = format!("{}{notify}", env.read("mirror.yaml"));
    env.write("mirror.yaml", &configuration);
    let _server = env.serve("run", port);
    until("it is told", || refused.load(Ordering::SeqCst) > 0);
    env.write("mirror.yaml", &format!("{configuration}site: {{name: other}}\n"));
    until("a reload", || env.read("log").contains("configuration reloaded"));
    is_open.store(true, Ordering::SeqCst);
    let message = messages.recv_timeout(Duration::from_secs(120)).unwrap();
    assert_eq!(message["event"], "release");
}

#[test]
fn webhook_receives_failure_divergence_and_recovery() {
    let (env, port) = (TestEnv::new(), free_port());
    let (hook, messages) = receiver();
    let modules = env.upstream("modules");
    modules.write("a/composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#);
    modules.release("1.0.0");
    env.configure(port, "  - {name: modules, git: 'https://git.example/modules', packages: [{each: ''}]}\n");
    let configuration = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    let configuration = format!("{configuration}notify:\n  - url: http://127.0.0.1:{hook}/secret\n");
    env.write("mirror.yaml", &configuration);
    let server = env.serve("run", port);
    let next = || {
        messages
            .recv_timeout(Duration::from_secs(120))
            .unwrap_or_else(|_| panic!("no message; {}", std::fs::read_to_string(env.path("log")).unwrap()))
    };
    // The state at the start is not reported. Each new configuration starts a cycle.
    std::thread::sleep(Duration::from_secs(3));
    let away = modules.path.with_extension("away");
    std::fs::rename(&modules.path, &away).unwrap();
    env.write("mirror.yaml", &format!("{configuration}site: {{name: one}}\n"));
    let failure = next();
    assert_eq!((&failure["event"], &failure["state"]), (&"failure".into(), &"incomplete".into()));
    assert!(failure["failures"][0].as_str().unwrap().starts_with("modules: "), "{failure:#}");
    assert!(
        failure["text"].as_str().unwrap().contains("Mirror acme (incomplete): failed: modules: "),
        "{failure:#}"
    );

    std::fs::rename(&away, &modules.path).unwrap();
    modules.write("a/code.php", "<?php // other bytes").release("1.0.0");
    env.write("mirror.yaml", &format!("{configuration}site: {{name: two}}\n"));
    let mut events = [next(), next()];
    events.sort_by_key(|message| message["event"].to_string());
    assert_eq!((&events[0]["event"], &events[0]["diverged"]), (&"divergence".into(), &1.into()));
    assert_eq!(events[1]["event"], "recovery");
    let log = std::fs::read_to_string(env.path("log")).unwrap();
    assert!(log.contains("sent again") && !log.contains("/secret"), "{log}");
    drop(server);
}
