//! When `mirror run` builds.

use crate::support::env::{MirrorProcess, TestEnv};
use crate::support::http::get;
use crate::support::{free_port, until};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SOURCE: &str =
    "  - name: modules\n    git: https://git.example/modules\n    packages:\n      - {each: ''}\n";

/// A new mirror has nothing to serve while its git server is down, so it retries before the next scheduled time.
#[test]
fn failed_first_cycle_is_retried_soon() {
    let port = free_port();
    let env = TestEnv::new();
    env.configure(port, SOURCE);
    let log = std::fs::File::create(env.path("log")).unwrap();
    let mut mirror = Command::new(env!("CARGO_BIN_EXE_mirror"));
    mirror.args(["run", "--config"]).arg(env.path("mirror.yaml")).stderr(Stdio::from(log));
    let server = MirrorProcess::new(mirror.spawn().unwrap());
    let said = || std::fs::read_to_string(env.path("log")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(180);
    let until = |what: &str, is: &dyn Fn() -> bool| {
        while !is() {
            assert!(Instant::now() < deadline, "{what}: not in time\n{}", said());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    until("the first cycle fails", &|| said().contains("waiting for the next cycle"));
    assert_eq!(get(port, "/-/readyz").status, 503);

    let upstream = env.upstream("modules");
    upstream.write("a/composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#);
    upstream.release("1.0.0");
    until("it is published", &|| get(port, "/-/readyz").status == 200);
    assert_eq!(get(port, "/mirror/packages/acme/a-1.0.0.zip").status, 200);
    assert_eq!(server.stop(), Some(0));
}

/// A shutdown or a new configuration during a fetch does not count as a failure of the source.
#[test]
fn interrupted_cycle_resumes_at_start() {
    let port = free_port();
    let env = TestEnv::new();
    let upstream = env.upstream("modules");
    let release = |version: &str| {
        upstream.write("a/composer.json", &format!(r#"{{"name": "acme/a", "version": "{version}"}}"#));
        upstream.release(version);
    };
    release("1.0.0");
    env.configure(port, SOURCE);
    env.build(0);
    let read = |path: &str| std::fs::read_to_string(env.path(path)).unwrap();
    let (recipe, config) = (read("recipe.yaml"), read("mirror.yaml"));
    // A server that accepts connections and never responds.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let slow = format!("'https://slow.example/': 'http://{}/', 'https://git", silent.local_addr().unwrap());
    env.write("mirror.yaml", &config.replace("'https://git", &slow).replace("timeout: 2s", "timeout: 60s"));
    env.write(
        "recipe.yaml",
        &format!("{recipe}  - {{name: slow, git: 'https://slow.example/x', packages: [{{one: ''}}]}}\n"),
    );
    let server = env.serve("run", port);
    silent.set_nonblocking(true).unwrap();
    let mut held = None;
    until("the fetch has begun", || {
        held = silent.accept().ok();
        held.is_some()
    });
    assert_eq!(server.stop(), Some(0));
    assert!(!read("log").contains("failed to fetch"), "{}", read("log"));
    let cycles: serde_json::Value = serde_json::from_str(&read("data/acme/status/cycles.json")).unwrap();
    assert_eq!(cycles["past"].as_array().map(Vec::len), Some(1), "{cycles:#}");
    assert!(cycles["running"].is_string(), "{cycles:#}");

    env.write("mirror.yaml", &config);
    env.write("recipe.yaml", &recipe);
    release("1.1.0");
    let _server = env.serve("run", port);
    until("the next night is not waited for", || {
        get(port, "/mirror/packages/acme/a-1.1.0.zip").status == 200
    });
}

/// A short failure of the network does not delay an update by a day.
#[test]
fn unreachable_source_is_retried_before_the_next_schedule() {
    let port = free_port();
    let env = TestEnv::new();
    env.configure(port, SOURCE);
    // The regular run is half a day away.
    let hour = (jiff::Timestamp::now() + jiff::Span::new().hours(12)).strftime("%H").to_string();
    let schedule = format!("recipe: ./recipe.yaml, schedule: '0 {hour} * * *'");
    env.write("mirror.yaml", &env.read("mirror.yaml").replace("recipe: ./recipe.yaml", &schedule));
    let upstream = env.upstream("modules");
    upstream.write("a/composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#);
    upstream.release("1.0.0");
    env.build(0);
    std::fs::rename(&upstream.path, env.path("away")).unwrap();
    let _server = env.serve("run", port);
    let config = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    // A new configuration makes every repository due.
    env.write("mirror.yaml", &format!("{config}site: {{name: another}}\n"));
    let deadline = Instant::now() + Duration::from_secs(60);
    let waits = loop {
        let log = std::fs::read_to_string(env.path("log")).unwrap();
        if let Some(line) = log.lines().find(|line| line.contains("waiting for the next cycle: retry")) {
            break serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        assert!(Instant::now() < deadline, "{log}");
        std::thread::sleep(Duration::from_millis(50));
    };
    let at = |key: &str| -> jiff::Timestamp { waits[key].as_str().unwrap().parse().unwrap() };
    let pause = at("next").duration_since(at("timestamp")).as_secs();
    assert!((0..=600).contains(&pause), "{waits}");
    // The same times in the log, progress.json, mirror.json, the metrics and the page.
    let (next, regular) = (at("next"), at("regular"));
    assert!(next < regular, "{waits}");
    let told = waits["message"].as_str().unwrap();
    let minute = |time: jiff::Timestamp| time.strftime("%Y-%m-%d %H:%M UTC").to_string();
    assert!(
        told.contains("retry in ") && told.ends_with(&format!("regular run {}", minute(regular))),
        "{told}"
    );
    let json = |path: &str| get(port, &format!("/mirror/{path}")).json();
    until("the status has the retry", || json("mirror.json")["repository"]["next_run"] == waits["next"]);
    assert_eq!(json("mirror.json")["repository"]["regular_run"], waits["regular"]);
    assert_eq!(json("progress.json")["next"], waits["next"]);
    let metrics = get(port, "/-/metrics").into_text();
    for (name, time) in [("next", next), ("regular", regular)] {
        let line =
            format!("mirror_cycle_{name}_timestamp_seconds{{repository=\"acme\"}} {}\n", time.as_second());
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    let page = get(port, "/mirror/status.html").into_text();
    let words = format!("retry <time class=\"age\" datetime=\"{next}\">{}</time>", minute(next));
    assert!(page.contains(&words) && page.contains(&format!("; regular run {}", minute(regular))), "{page}");
    assert_eq!(get(port, "/mirror/packages/acme/a-1.0.0.zip").status, 200);
}
