//! The processes in which `mirror run` runs cycles: whatever happens to one is a failed cycle, and the server goes on.

use std::cell::Cell;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::env::TestEnv;
use crate::support::file_server::FileServer;
use crate::support::http::{get, is_ready, request, try_get};
use crate::support::{free_port, until};

const MODULES: &str = "  - {name: modules, git: 'https://git.example/modules', packages: [{each: ''}]}\n";
const SLOW: &str = "  - {name: slow, git: 'https://slow.example/x', packages: [{one: ''}]}\n";

/// A mirror of a source with one version, and of another source that accepts connections and never responds.
struct Stalled {
    env: TestEnv,
    port: u16,
    /// Until it is dropped, connections are accepted.
    upstream: Cell<Option<TcpListener>>,
}

impl Stalled {
    fn new(settings: &str) -> Self {
        let (env, port) = (TestEnv::new(), free_port());
        env.configure(port, &format!("{MODULES}{SLOW}"));
        release(&env, "1.0.0", "");
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = upstream.local_addr().unwrap();
        let config = env.read("mirror.yaml").replace("timeout: 2s", "timeout: 60s");
        let rewrite = format!("rewrite: {{'https://slow.example/': 'http://{address}/', ");
        env.write("mirror.yaml", &format!("{}{settings}", config.replace("rewrite: {", &rewrite)));
        Self { env, port, upstream: Cell::new(Some(upstream)) }
    }

    /// Waits until the running cycle has fetched everything but the source that never responds.
    fn wait_for_stall(&self) {
        until("the cycle waits for the slow source", || {
            let progress = get(self.port, "/mirror/progress.json");
            progress.status == 200 && progress.json()["running"]["sources"]["done"] == 1
        });
    }

    fn last_error(&self) -> String {
        last_error(&self.env)
    }
}

fn release(env: &TestEnv, version: &str, rest: &str) {
    let modules = env.upstream("modules");
    modules.write("a/composer.json", &format!(r#"{{"name": "acme/a", "version": "{version}"{rest}}}"#));
    modules.release(version);
}

/// Why the last recorded cycle failed; empty before the first one has ended.
fn last_error(env: &TestEnv) -> String {
    let history = std::fs::read_to_string(env.path("data/acme/status/cycles.json")).unwrap_or_default();
    let history: Value = serde_json::from_str(&history).unwrap_or_default();
    let last = history["past"].as_array().and_then(|runs| runs.last());
    last.and_then(|run| run["error"].as_str()).unwrap_or_default().to_owned()
}

fn kill(process: u32, signal: &str) {
    let _ = std::process::Command::new("kill").args(["-s", signal, &process.to_string()]).output().unwrap();
}

fn is_running(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

/// A client that asks all the time whether the server is alive.
struct Client {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Client {
    fn start(port: u16) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                assert_eq!(try_get(port, "/-/healthz").expect("the server answers").status, 200);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { ended, thread }
    }

    /// Fails unless each request was answered.
    fn stop(self) {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

#[test]
fn killed_process_is_a_failed_cycle_and_the_next_one_publishes() {
    for signal in ["KILL", "SEGV"] {
        let mirror = Stalled::new("");
        let server = mirror.env.start("run");
        let port = mirror.port;
        let client = Client::start(port);
        mirror.wait_for_stall();
        let child = server.child();
        until("the process is dead", || {
            // Rust's handler of SIGSEGV lets the first one pass that no memory access has caused.
            kill(child, signal);
            !is_running(child)
        });
        let cause = format!("SIG{signal}");
        until("the failure is recorded", || mirror.last_error().contains(&cause));
        until("the page names it", || get(mirror.port, "/mirror/status.html").text().contains(&cause));
        let state = get(mirror.port, "/mirror/mirror.json").json();
        assert_eq!(state["repository"]["state"], "empty", "{state:#}");
        let log = mirror.env.read("log");
        assert!(log.contains(&cause), "{log}");
        // The fetch of the other source fails from now on.
        mirror.upstream.set(None);
        until("the next cycle publishes", || is_ready(port));
        client.stop();
        assert_eq!(server.stop(), Some(0));
    }
}

#[test]
fn start_after_a_killed_cycle_says_so_and_does_the_rest() {
    let mirror = Stalled::new("");
    let server = mirror.env.start("run");
    mirror.wait_for_stall();
    let (parent, child) = (server.id(), server.child());
    kill(parent, "KILL");
    kill(child, "KILL");
    until("the cycle is dead", || !is_running(child));
    let history = mirror.env.read("data/acme/status/cycles.json");
    let began = serde_json::from_str::<Value>(&history).unwrap()["running"].as_str().unwrap().to_owned();
    mirror.upstream.set(None);
    drop(server);
    let server = mirror.env.serve("run", mirror.port);
    let log = || mirror.env.read("log");
    until("it is said", || log().contains("the previous cycle did not end"));
    let said = log();
    let line = said.lines().find(|line| line.contains("the previous cycle did not end")).unwrap();
    for part in ["WARN", "\"repository\":\"acme\"", &began, "this cycle does the rest"] {
        assert!(line.contains(part), "`{part}` in {line}");
    }
    until("the cycle ends", || {
        !get(mirror.port, "/mirror/mirror.json").json()["repository"]["checked"].is_null()
    });
    server.stop();
    let log = mirror.env.build(1);
    assert!(!log.contains("did not end"), "{log}");
}

#[test]
fn cycle_beyond_its_memory_limit_fails_by_name() {
    let (env, port) = (TestEnv::new(), free_port());
    env.configure(port, MODULES);
    release(&env, "1.0.0", "");
    // Numbers take sixteen times their size in memory.
    release(&env, "2.0.0", &format!(r#", "extra": [{}0]"#, "0,".repeat(5_000_000)));
    let config = env.read("mirror.yaml");
    env.write("mirror.yaml", &format!("{config}limits: {{cycle_memory: 64MiB, manifest: 32MiB}}\n"));
    let server = env.start("run");
    let client = Client::start(port);
    until("the failure is recorded", || !last_error(&env).is_empty());
    let error = last_error(&env);
    assert!(error.contains("more than 64 MiB") && error.contains("limits.cycle_memory"), "{error}");
    assert!(error.contains("while it worked on source `modules`"), "{error}");
    env.upstream("modules").git(&["tag", "-d", "2.0.0"]);
    until("the next cycle publishes", || is_ready(port));
    client.stop();
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn composer_repository_that_fills_the_memory_is_named_and_git_is_published() {
    let (env, port) = (TestEnv::new(), free_port());
    env.configure(port, MODULES);
    release(&env, "1.0.0", "");
    let others = FileServer::start();
    let names = r#""a","#.repeat(4_000_000);
    others.write("packages.json", format!(r#"{{"packages": {{}}, "available-packages": [{names}"a"]}}"#));
    let url = others.url("");
    let recipe = env.read("recipe.yaml");
    env.write(
        "recipe.yaml",
        &format!("{recipe}composer: [{{name: others, url: '{url}', packages: {{'acme/*': '*'}}}}]\n"),
    );
    let config = env.read("mirror.yaml");
    env.write(
        "mirror.yaml",
        &format!("{config}limits: {{cycle_memory: 96MiB, upstream_metadata: 512MiB}}\n"),
    );
    let server = env.start("run");
    until("the failure is recorded", || !last_error(&env).is_empty());
    let error = last_error(&env);
    assert!(error.contains("more than 96 MiB") && error.contains("source `others`"), "{error}");
    until("what git gave is served", || get(port, "/mirror/packages/acme/a-1.0.0.zip").status == 200);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn cycle_beyond_its_deadline_fails_by_name() {
    let mirror = Stalled::new("limits: {cycle_deadline: 3s}\n");
    let server = mirror.env.start("run");
    until("the failure is recorded", || mirror.last_error().contains("limits.cycle_deadline"));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn stalled_source_delays_its_own_repository_only() {
    let mirror = Stalled::new("build: {parallel_repositories: 2}\n");
    let (env, port) = (&mirror.env, mirror.port);
    env.write("second.yaml", &format!("sources:\n{MODULES}"));
    let second = format!("{{name: second, url: 'http://127.0.0.1:{port}/second/', recipe: ./second.yaml}}");
    // The stalled repository comes first.
    let config =
        env.read("mirror.yaml").replace("git:\n  connect", &format!("  - {second}\ngit:\n  connect"));
    env.write("mirror.yaml", &config);
    let server = env.start("run");
    until("the other repository is published", || get(port, "/second/packages.json").status == 200);
    assert_eq!(server.children().len(), 1, "the first one is still being built");
    assert_eq!(get(port, "/mirror/packages.json").status, 503);
    mirror.upstream.set(None);
    until("the first one is published, too", || get(port, "/mirror/packages.json").status == 200);
    let store = env.read("data/STORE");
    assert!(store.contains("repository acme\n") && store.contains("repository second\n"), "{store}");
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn commands_are_refused_while_a_cycle_runs() {
    let mirror = Stalled::new("");
    let server = mirror.env.start("run");
    mirror.wait_for_stall();
    for command in ["build", "rollback"] {
        let output = mirror.env.mirror(command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("another instance is writing"), "{said}");
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn shutdown_ends_a_running_cycle() {
    let mirror = Stalled::new("");
    let server = mirror.env.start("run");
    mirror.wait_for_stall();
    let (child, began) = (server.child(), Instant::now());
    // It cannot react.
    kill(child, "STOP");
    assert_eq!(server.stop(), Some(0));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(!is_running(child));
    let history: Value = serde_json::from_str(&mirror.env.read("data/acme/status/cycles.json")).unwrap();
    assert!(history["running"].is_string(), "the next start resumes it: {history:#}");
}

#[test]
fn cycle_ends_with_a_killed_server() {
    let mirror = Stalled::new("");
    let server = mirror.env.start("run");
    mirror.wait_for_stall();
    let child = server.child();
    drop(server);
    until("the process has ended", || !is_running(child));
}

#[test]
fn progress_and_log_of_a_process_are_those_of_the_mirror() {
    let mirror = Stalled::new("");
    let server = mirror.env.start("run");
    mirror.wait_for_stall();
    let progress = get(mirror.port, "/mirror/progress.json").json();
    let running = &progress["running"];
    assert_eq!((&running["stage"], &running["sources"]["all"]), (&"fetch".into(), &2.into()), "{progress:#}");
    let metrics = get(mirror.port, "/-/metrics").into_text();
    assert!(metrics.contains("mirror_cycle_fetched_sources{repository=\"acme\"} 1"), "{metrics}");
    until("the page says so", || get(mirror.port, "/mirror/status.html").text().contains("since "));

    let child = server.child();
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{child}/{file}")).unwrap();
    assert_eq!(read("cmdline"), "mirror\0cycle\0acme\0");
    assert_eq!(read("comm"), "mirror\n");
    assert_eq!(read("oom_score_adj"), "1000\n");
    // proc(5): field 41 is the policy, and 5 is SCHED_IDLE. Field 3 follows the name in parentheses.
    assert_eq!(read("stat").rsplit(") ").next().unwrap().split(' ').nth(38), Some("5"));
    let limits = read("limits");
    let data = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
    assert!(data.split_whitespace().nth(3).unwrap().parse::<u64>().is_ok(), "{data}");

    mirror.upstream.set(None);
    until("the cycle has ended", || mirror.env.read("log").contains("waiting for the next cycle"));
    assert_eq!(server.stop(), Some(0));
    let log = mirror.env.read("log");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let message =
        |text: &str| lines.iter().position(|line| line["message"].as_str().unwrap().starts_with(text));
    let (finished, waiting) =
        (message("cycle finished with failures"), message("waiting for the next cycle"));
    assert!(finished.is_some() && finished < waiting, "{log}");
    let finished = &lines[finished.unwrap()];
    assert_eq!((&finished["level"], &finished["repository"]), (&"WARN".into(), &"acme".into()));
    assert_eq!(finished["new"], 1);
}

/// Whether a process compresses published files, by the name that `ps` shows.
fn is_compressing(process: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name == "mirror-compress\n")
}

#[test]
fn killed_compression_is_served_uncompressed_and_tried_again() {
    let (env, port) = (TestEnv::new(), free_port());
    env.configure(port, MODULES);
    let numbers: Vec<_> = (0..60_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_string()).collect();
    release(&env, "1.0.0", &format!(r#", "extra": {{"numbers": [{}]}}"#, numbers.join(",")));
    let server = env.serve("run", port);
    let mut process = None;
    until("files are being compressed", || {
        process = server.children().into_iter().find(|id| is_compressing(*id));
        process.is_some()
    });
    kill(process.unwrap(), "KILL");
    until("the failure is reported", || env.read("log").contains("failed to compress files"));
    let page = |port| request(port, "GET", "/mirror/", "Accept-Encoding: br\r\n");
    assert_eq!((page(port).status, page(port).header("content-encoding")), (200, None));
    until("it is tried again", || page(port).header("content-encoding") == Some("br"));
    assert_eq!(server.stop(), Some(0));
}
