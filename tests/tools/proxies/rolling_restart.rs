//! A rolling restart of two replicas behind HAProxy, which retries nothing.

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::{Proxy, front_port, haproxy_example};
use crate::support::env::MirrorProcess;
use crate::support::http::is_ready;
use crate::support::served_mirror::ServedMirror;
use crate::support::{free_port, until};

const CLIENTS: usize = 12;

#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    requests: AtomicUsize,
    /// By the first lines of their answers.
    failures: std::sync::Mutex<Vec<String>>,
}

impl Load {
    /// Asks again and again, on a new connection each time. HAProxy keeps its connections to the replicas.
    fn run(&self, port: u16, paths: &[&str]) {
        for path in paths.iter().cycle().take_while(|_| !self.is_over.load(Ordering::Relaxed)) {
            let answer = ask(port, path).unwrap_or_else(|error| error.to_string());
            self.requests.fetch_add(1, Ordering::Relaxed);
            if !answer.starts_with("HTTP/1.1 200") {
                self.failures
                    .lock()
                    .unwrap()
                    .push(format!("{path}: {}", answer.lines().next().unwrap_or("")));
            }
        }
    }
}

fn ask(port: u16, path: &str) -> std::io::Result<String> {
    use std::io::Write as _;
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn rolling_restart_behind_haproxy_loses_no_request() {
    let (env, one) = ServedMirror::built();
    let two = free_port();
    let config = env.read("mirror.yaml").replace("notice: 0s", "notice: 4s");
    env.write("mirror.yaml", &config);
    env.write("two.yaml", &config.replace(&format!("'127.0.0.1:{one}'"), &format!("'127.0.0.1:{two}'")));
    let start = |file: &str, port: u16| {
        let mut mirror = std::process::Command::new(env!("CARGO_BIN_EXE_mirror"));
        mirror.args(["serve", "--config"]).arg(env.path(file)).stderr(std::process::Stdio::null());
        let process = MirrorProcess::new(mirror.spawn().unwrap());
        until("it is ready", || is_ready(port));
        process
    };
    let mut replicas =
        [("mirror.yaml", one), ("two.yaml", two)].map(|(file, port)| (file, port, start(file, port)));
    let front = front_port();
    let config = haproxy_example(front, [("one", one), ("two", two)]);
    let config = config.replace("defaults\n", "defaults\n    retries 0\n");
    let statistics = front_port();
    let config = format!(
        "{config}\nlisten statistics\n    bind 127.0.0.1:{statistics}\n    stats enable\n    stats uri /\n"
    );
    let _proxy = Proxy::haproxy_with(front, &config);
    let is_up = |name: &str| {
        let table = ask(statistics, "/;csv").unwrap();
        let line =
            table.lines().find(|line| line.starts_with(&format!("mirror,{name},"))).unwrap().to_owned();
        line.split(',').nth(17) == Some("UP")
    };
    let load = Load::default();
    let paths = ["/mirror/packages.json", "/mirror/packages/acme/a-1.0.0.zip", "/mirror/"];
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| load.run(front, &paths));
        }
        for ((file, port, replica), name) in replicas.iter_mut().zip(["one", "two"]) {
            replica.signal("TERM");
            until("HAProxy has noticed", || !is_up(name));
            until("it has ended", || !is_ready_or_draining(*port));
            *replica = start(file, *port);
            until("HAProxy sends requests again", || is_up(name));
        }
        load.is_over.store(true, Ordering::Relaxed);
    });
    let (requests, failures) = (load.requests.into_inner(), load.failures.into_inner().unwrap());
    assert!(failures.is_empty(), "{} of {requests}: {failures:#?}", failures.len());
    assert!(requests > 200, "{requests} requests were not many");
}

fn is_ready_or_draining(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}
