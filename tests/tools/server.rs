//! The server as curl, openssl and promtool see it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use mirror::config::{Address, Serve, Tls};
use mirror::server::{ContentKind, PublishedSite, Site};

use crate::support::certificates::CertificateAuthority;
use crate::support::env::MirrorProcess;
use crate::support::http::{Client, is_ready};
use crate::support::server::*;
use crate::support::{run, store, until};

/// TLS and HTTP/2 read the bytes that they send, unlike `sendfile`.
#[test]
fn tls_and_http2_downloads_of_truncated_file_are_aborted() {
    let authority = CertificateAuthority::new();
    for (scheme, protocol) in
        [("https", "--http1.1"), ("https", "--http2"), ("http", "--http2-prior-knowledge")]
    {
        let files = PublishedFiles::new();
        let large_zip = files.publish("large.zip", ContentKind::Archive, large());
        let site = Site::new([repository("/", vec![large_zip])]).expect("a valid site");
        let (certificate, key) = authority.server_files();
        let tls = Some(Tls { listen: vec![([127, 0, 0, 1], 0).into()], certificate, key, http2: true });
        let mirror = TestServer::with(Some(site), Serve { tls, ..settings() });
        let address = mirror.addresses[usize::from(scheme == "https")];
        let mut curl = Command::new("curl");
        curl.args(["-ksS", "--max-time", "60", protocol]).arg(format!("{scheme}://{address}/large.zip"));
        let whole = curl.output().expect("curl");
        assert!(whole.stdout == large(), "{scheme} {protocol}");
        let curl = curl.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut curl = curl.spawn().expect("curl");
        let mut body = curl.stdout.take().expect("piped");
        body.read_exact(&mut [0]).expect("a first byte");
        cut_short(&files.path("large.zip"), 1);
        let mut rest = Vec::new();
        body.read_to_end(&mut rest).expect("an end");
        assert!(!curl.wait().expect("an end").success(), "{scheme} {protocol}");
        assert!(rest.len() + 1 < large().len(), "{scheme} {protocol}");
        assert!(rest == large()[1..=rest.len()], "{scheme} {protocol}");
        assert_eq!(mirror.get("/-/healthz").status, 200);
        assert_eq!(mirror.get("/large.zip").status, 503);
    }
}

#[test]
fn shutdown_answers_connected_clients() {
    let files = PublishedFiles::new();
    let published = PublishedSite::default();
    published.replace(files.site());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let authority = CertificateAuthority::new();
    let (certificate, key) = authority.server_files();
    let tls = Some(Tls { listen: vec![([127, 0, 0, 1], 0).into()], certificate, key, http2: false });
    const REQUEST: &[u8] = b"GET /packages.json HTTP/1.1\r\nHost: x\r\n\r\n";
    let (mut late, mut client, secret) = runtime.expect("a runtime").block_on(async {
        let server = bind(Serve { tls, ..settings() }, published).await.expect("a server");
        let &[Address::Tcp(address), Address::Tcp(with_tls)] = server.addresses() else { panic!("not TCP") };
        // The connections are not accepted yet. One sends its request at once, the others a moment later.
        let (client, late) = (Client::connect(address, SOON), Client::connect(address, SOON));
        let mut secret = Command::new("openssl")
            .args(["s_client", "-quiet", "-connect", &with_tls.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl");
        let established = format!(":{:04X} ", with_tls.port());
        while !std::fs::read_to_string("/proc/net/tcp")
            .expect("connections")
            .lines()
            .any(|line| line.contains(&established) && line.contains(" 01 "))
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        let ask = |mut client: &TcpStream| {
            client.write_all(REQUEST)?;
            client.shutdown(Shutdown::Write)
        };
        let mut says = secret.stdin.take().expect("piped");
        ask(client.0.get_ref()).expect("a request");
        let asks = late.0.get_ref().try_clone().expect("the same socket");
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            ask(&asks).and_then(|()| says.write_all(REQUEST))
        });
        assert_eq!(server.run(async {}).await, 0);
        (late, client, secret)
    });
    let secret = secret.wait_with_output().expect("an end").stdout;
    assert!(secret.starts_with(b"HTTP/1.1 200 OK\r\n"));
    for client in [&mut client, &mut late] {
        let head = client.read_head();
        assert_eq!((head.status, head.header("connection")), (200, Some("close")));
    }
}

#[test]
fn http2_with_prior_knowledge_on_the_same_port() {
    let version = run(Command::new("curl").arg("--version"));
    assert!(version.contains("HTTP2"), "this curl has no HTTP/2; the one of Debian has: {version}");
    let files = PublishedFiles::new();
    let site = vec![
        files.publish("packages.json", ContentKind::Metadata, PACKAGES),
        files.publish("large.zip", ContentKind::Archive, large()),
    ];
    let mirror = TestServer::start(Some(Site::new([repository("/", site)]).expect("a valid site")));
    for (path, body, written) in [
        ("/packages.json", PACKAGES.as_bytes(), " 200 2"),
        ("/large.zip", &large(), " 200 2"),
        ("/nothing", b"not found", " 404 2"),
    ] {
        let curl = Command::new("curl")
            .args(["--silent", "--noproxy", "*", "--http2-prior-knowledge"])
            .args(["--write-out", " %{http_code} %{http_version}"])
            .arg(format!("http://{}{path}", mirror.address))
            .output()
            .expect("a curl that runs");
        assert!(curl.stdout == [body, written.as_bytes()].concat(), "{path}");
    }
}

/// `promtool`, from Debian's package `prometheus`, finds no problem.
fn lint(metrics: &[u8]) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed by tests/run");
    let mut input = promtool.stdin.take().expect("piped");
    input.write_all(metrics).expect("promtool reads");
    drop(input);
    let output = promtool.wait_with_output().expect("promtool ends");
    let complaints = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && complaints.is_empty(), "{}", String::from_utf8_lossy(&complaints));
}

#[test]
fn metrics_pass_promtool() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(files.site()));
    let mut client = mirror.client();
    let zip = "/packages/magento/x-1.0.zip";
    assert_eq!(client.request("GET", zip, &[]).status, 200);
    assert_eq!(client.request("GET", zip, &[("Range", "bytes=0-1")]).status, 206);
    assert_eq!(client.request("GET", "/secret-4711", &[]).status, 404);
    lint(&client.request("GET", "/-/metrics", &[]).body);
}

/// Runs as root, because only root can start a process of another user.
#[test]
fn health_is_not_answered_by_another_user() {
    let (env, _, port) = store::mirror();
    let owner = |path: &std::path::Path| std::os::unix::fs::chown(path, Some(65534), None).unwrap();
    // The other user can read all that the server needs, also where the build folder is closed.
    let program = env.path("program");
    std::fs::copy(env.command(&[]).get_program(), &program).unwrap();
    run(Command::new("chmod").args(["-R", "go+rX"]).arg(env.root()));
    let mut server = Command::new(program);
    server.args(env.command(&["serve"]).get_args());
    let log = std::fs::File::create(env.path("log")).unwrap();
    let _server = MirrorProcess::new(server.uid(65534).stderr(log).spawn().unwrap());
    until("it is ready", || is_ready(port));
    let health = env.mirror("health");
    let message = String::from_utf8_lossy(&health.stderr);
    assert_eq!(health.status.code(), Some(2), "{message}");
    assert!(message.contains("a process of user 65534 listens there"), "{message}");
    owner(&env.path("data"));
    assert!(env.mirror("health").status.success(), "the owner of the data may answer");
}
