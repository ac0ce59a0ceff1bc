//! What a service manager is told, and the sockets that it passes on. The test takes its place: sd_notify(3), sd_listen_fds(3).

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::support::env::{MirrorProcess, TestEnv};
use crate::support::http::{Client, is_ready};
use crate::support::{free_port, until};

const SOURCE: &str =
    "  - name: modules\n    git: https://git.example/modules\n    packages:\n      - {each: ''}\n";

fn env(port: u16) -> TestEnv {
    let env = TestEnv::new();
    let upstream = env.upstream("modules");
    upstream.write("a/composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#);
    upstream.release("1.0.0");
    env.configure(port, SOURCE);
    env
}

/// The notifications so far, each one a line for each variable.
#[derive(Clone)]
struct Notifications(Arc<Mutex<Vec<String>>>);

impl Notifications {
    fn receive(socket: UnixDatagram) -> Self {
        let received = Self(Arc::default());
        let all = received.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                all.0.lock().unwrap().push(String::from_utf8(buffer[..length].to_vec()).unwrap());
            }
        });
        received
    }

    /// Those with this line.
    fn with(&self, line: &str) -> Vec<usize> {
        let all = self.0.lock().unwrap();
        let has = |text: &String| text.lines().any(|found| found == line);
        all.iter().enumerate().filter_map(|(index, text)| has(text).then_some(index)).collect()
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[test]
fn service_manager_is_told_start_status_reload_watchdog_and_end() {
    let port = free_port();
    let env = env(port);
    let socket = env.path("notify");
    let told = Notifications::receive(UnixDatagram::bind(&socket).unwrap());
    let mut command = env.command(&["run"]);
    command
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "400000")
        .stderr(File::create(env.path("log")).unwrap());
    let mirror = MirrorProcess::new(command.spawn().unwrap());

    until("it has started", || !told.with("READY=1").is_empty());
    assert_eq!(
        Client::local(port).request("GET", "/-/healthz", &[]).status,
        200,
        "it listens when it says so"
    );
    until("its status is told", || !told.with("STATUS=acme: fresh").is_empty());
    until("the watchdog hears of it again and again", || told.with("WATCHDOG=1").len() > 2);

    for (reloads, change) in [(1, ""), (2, "unknown: key\n")] {
        env.write("mirror.yaml", &format!("{}{change}", env.read("mirror.yaml")));
        mirror.signal("HUP");
        until("it reloads, and ends doing so", || {
            let (begun, ready) = (told.with("RELOADING=1"), told.with("READY=1"));
            begun.len() >= reloads && ready.last() > begun.last()
        });
    }
    let reload = told.with("RELOADING=1")[0];
    let microseconds = told.all()[reload]
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC=")?.parse::<i64>().ok())
        .expect("the time of the reload");
    let age = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec - microseconds / 1_000_000;
    assert!((0..120).contains(&age), "the time of the reload is {age} s ago");

    assert_eq!(told.with("STOPPING=1"), [0; 0]);
    assert_eq!(mirror.stop(), Some(0));
    let (stopping, ready) = (told.with("STOPPING=1"), told.with("READY=1"));
    assert!(stopping.len() == 1 && stopping.last() > ready.last(), "{:?}", told.all());
}

/// Starts the mirror with this socket as descriptor 3, as systemd does.
fn start_with(env: &TestEnv, socket: OwnedFd) -> MirrorProcess {
    let mirror = env.command(&["run"]);
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@""#, "sh"])
        .arg(mirror.get_program())
        .args(mirror.get_args())
        .stdin(Stdio::from(socket))
        .stderr(File::create(env.path("log")).unwrap());
    MirrorProcess::new(command.spawn().unwrap())
}

#[test]
fn passed_socket_is_served_and_stays_open_between_two_servers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let env = env(port);
    for _ in 0..2 {
        // Nobody accepts yet, and the request waits.
        let mut early = Client::local(port);
        early.send("GET /-/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mirror = start_with(&env, listener.try_clone().unwrap().into());
        assert_eq!(early.read_head().status, 200);
        until("it is ready", || is_ready(port));
        assert_eq!(mirror.stop(), Some(0));
    }
}

#[test]
fn passed_unix_socket_is_not_removed() {
    let port = free_port();
    let env = env(port);
    let path = env.path("http.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let configuration = env.read("mirror.yaml");
    let listen = format!("['127.0.0.1:{port}', 'unix:{}']", path.display());
    env.write("mirror.yaml", &configuration.replace(&format!("['127.0.0.1:{port}']"), &listen));
    let mirror = start_with(&env, listener.try_clone().unwrap().into());
    until("it is ready", || is_ready(port));
    assert_eq!(mirror.stop(), Some(0));
    assert!(UnixStream::connect(&path).is_ok(), "the service manager still listens");
}

#[test]
fn passed_socket_that_the_configuration_does_not_name_is_refused() {
    let env = env(free_port());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut mirror = start_with(&env, listener.into());
    assert_eq!(mirror.wait(), Some(2));
    let log = env.read("log");
    assert!(
        log.contains(&format!("passed a socket at `{address}`"))
            && log.contains("hint: name it in `serve.listen`"),
        "{log}"
    );
}
