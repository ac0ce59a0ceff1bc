//! Hosts with several addresses: one that does not answer costs a fraction of the time limit (RFC 8305).

use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::certificates::CertificateAuthority;
use crate::support::env::TestEnv;
use crate::support::git_server::GitServer;
use crate::support::sshd::Sshd;

/// A port of the IPv6 loopback address that answers nobody, since its queue of connections is full.
struct SilentPort {
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl SilentPort {
    fn new(port: u16) -> Self {
        let listener = TcpListener::bind(("::1", port)).expect("an IPv6 port");
        rustix::net::listen(&listener, 0).expect("a short queue");
        let address = listener.local_addr().expect("an address");
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
        Self { _queue: std::iter::from_fn(connect).collect(), _listener: listener }
    }
}

#[test]
fn silent_ipv6_address_delays_no_fetch() {
    let env = TestEnv::new();
    for name in ["http", "https", "ssh"] {
        env.upstream(name).write("composer.json", &format!(r#"{{"name": "acme/{name}"}}"#)).release("1.0.0");
    }
    let authority = CertificateAuthority::new();
    let http = GitServer::start(&env.path("git"));
    let https = GitServer::start_tls(&env.path("git"), authority.server());
    let sshd = Sshd::start();
    let ports = [http.port(), https.port(), sshd.port()];
    let _silent = ports.map(SilentPort::new);
    sshd.write("known_hosts", &sshd.known_hosts_line("host.pub").replace("127.0.0.1", "localhost"));
    let ssh = sshd.url_by("localhost", &env.path("git/ssh"));
    let [http, https, _] = ports;
    let source =
        |url: &str, name: &str| format!("  - {{name: {name}, git: '{url}', packages: [{{one: ''}}]}}\n");
    let sources = source(&format!("http://localhost:{http}/http"), "http")
        + &source(&format!("https://localhost:{https}/https"), "https")
        + &source(&ssh, "ssh");
    env.configure(1, &sources);
    let credential = format!(
        "  ca_file: {}\n  credentials:\n    - {{url: '{ssh}', private_key_file: {}, known_hosts_file: {}}}\n",
        authority.ca_file().display(),
        sshd.file("client").display(),
        sshd.file("known_hosts").display()
    );
    env.write(
        "mirror.yaml",
        &(env.read("mirror.yaml").replace("connect_timeout: 2s", "connect_timeout: 20s") + &credential),
    );
    env.write("hosts", "::1 localhost\n127.0.0.1 localhost\n");

    let mirror = env.command(&["build"]);
    let mut build = Command::new("unshare");
    build
        .args(["--mount", "sh", "-c", r#"mount --bind "$0" /etc/hosts && exec "$@""#])
        .arg(env.path("hosts"));
    build.arg(mirror.get_program()).args(mirror.get_args());
    let began = Instant::now();
    let output = build.output().expect("unshare starts");
    let took = began.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(took < Duration::from_secs(5), "{took:?}");
}
