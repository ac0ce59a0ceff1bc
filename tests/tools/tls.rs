//! HTTPS with the real curl and the real Composer: certificates that change, protocols, addresses.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::composer::ComposerProject;
use crate::support::certificates::CertificateAuthority;
use crate::support::env::TestEnv;
use crate::support::free_port;
use crate::support::http::{Client, get};
use mirror::cli::healthcheck::check;
use mirror::config::{Address, Serve, Tls};
use mirror::server::HealthEndpoint;
use mirror::server::{PublishedSite, Server, Settings};
use mirror::telemetry::Metrics;
use tokio::runtime::Runtime;

/// A limit for a busy machine.
const LONG: Duration = Duration::from_secs(60);

struct Mirror {
    plain: SocketAddr,
    tls: Vec<SocketAddr>,
    _runtime: Runtime,
}

fn bind(runtime: &Runtime, files: (PathBuf, PathBuf), http2: bool) -> anyhow::Result<Server> {
    let serve = Serve {
        listen: vec![([127, 0, 0, 1], 0).into()],
        tls: Some(Tls {
            listen: vec![([127, 0, 0, 1], 0).into(), "[::1]:0".parse().unwrap()],
            certificate: files.0,
            key: files.1,
            http2,
        }),
        header_timeout: Duration::from_secs(2),
        ..Serve::default()
    };
    let settings = Settings { tls: serve.tls.clone(), serve, ..Settings::default() };
    let metrics = Metrics::new(Path::new("/"))?;
    runtime.block_on(Server::bind(settings, PublishedSite::default(), metrics))
}

impl Mirror {
    fn start(files: (PathBuf, PathBuf), http2: bool) -> Self {
        let runtime = Runtime::new().unwrap();
        let server = bind(&runtime, files, http2).unwrap();
        let addresses = server.addresses().iter().map(|address| match address {
            Address::Tcp(address) => *address,
            Address::Unix(_) => unreachable!("none is configured"),
        });
        let addresses: Vec<_> = addresses.collect();
        runtime.spawn(server.run(std::future::pending()));
        Self { plain: addresses[0], tls: addresses[1..].to_vec(), _runtime: runtime }
    }

    /// The status and the HTTP version that curl gets when it trusts `authority`.
    fn curl(
        &self,
        to: SocketAddr,
        authority: &CertificateAuthority,
        arguments: &[&str],
    ) -> Result<String, String> {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code} %{http_version}"])
            .arg("--cacert")
            .arg(authority.ca_file())
            .args(arguments)
            .arg(format!("https://localhost:{}/-/healthz", to.port()))
            .args(["--resolve", &format!("localhost:{}:{}", to.port(), to.ip())])
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }
}

#[test]
fn https_and_http_are_served_side_by_side() {
    let authority = CertificateAuthority::new();
    let mirror = Mirror::start(authority.server_files(), false);
    for address in &mirror.tls {
        for arguments in [&["--http1.1"][..], &["--http2"], &["--tlsv1.2", "--tls-max", "1.2"]] {
            assert_eq!(mirror.curl(*address, &authority, arguments).unwrap(), "200 1.1");
        }
    }
    let stranger = CertificateAuthority::new();
    assert!(mirror.curl(mirror.tls[0], &stranger, &[]).unwrap_err().contains("certificate"));
    check(&mirror.plain.into(), HealthEndpoint::Health, LONG).unwrap();
    assert!(
        check(&mirror.tls[0].into(), HealthEndpoint::Health, LONG).is_err(),
        "no HTTP where HTTPS is spoken"
    );
}

#[test]
fn http2_is_negotiated_only_when_offered_by_client() {
    let authority = CertificateAuthority::new();
    let mirror = Mirror::start(authority.server_files(), true);
    assert_eq!(mirror.curl(mirror.tls[0], &authority, &["--http2"]).unwrap(), "200 2");
    assert_eq!(mirror.curl(mirror.tls[0], &authority, &["--http1.1"]).unwrap(), "200 1.1");
}

/// Without ALPN, and with ALPN that selected HTTP/1.1.
#[test]
fn http2_without_alpn_is_refused() {
    let authority = CertificateAuthority::new();
    for http2 in [true, false] {
        let mirror = Mirror::start(authority.server_files(), http2);
        for offered in [&[][..], &["-alpn", "http/1.1"]] {
            let mut client = Command::new("openssl")
                .args(["s_client", "-quiet", "-connect", &mirror.tls[0].to_string()])
                .args(offered)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut asks = client.stdin.take().unwrap();
            asks.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
            let answer = client.wait_with_output().unwrap().stdout;
            assert!(answer.is_empty(), "{http2} {offered:?}: {}", String::from_utf8_lossy(&answer));
        }
    }
}

#[test]
fn renewed_certificate_is_loaded_and_broken_one_is_rejected() {
    let (first, second) = (CertificateAuthority::new(), CertificateAuthority::new());
    let mirror = Mirror::start(first.server_files(), false);
    let (certificate, key) = first.server_files();
    let ask = |authority| mirror.curl(mirror.tls[0], authority, &[]);
    assert_eq!(ask(&first).unwrap(), "200 1.1");

    // A certificate of another key, then an invalid file, for longer than the interval of the checks.
    for broken in [std::fs::read(second.server_files().0).unwrap(), b"nonsense".to_vec()] {
        std::fs::write(&certificate, broken).unwrap();
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            assert_eq!(ask(&first).unwrap(), "200 1.1", "the pair before stays in use");
        }
    }
    std::fs::copy(second.server_files().0, &certificate).unwrap();
    std::fs::copy(second.server_files().1, &key).unwrap();
    let deadline = Instant::now() + LONG;
    while ask(&second).is_err() {
        assert!(Instant::now() < deadline, "the new pair is taken");
    }
    assert!(ask(&first).is_err());
}

#[test]
fn unusable_certificate_pair_is_reported_at_start() {
    let runtime = Runtime::new().unwrap();
    let (one, other) = (CertificateAuthority::new(), CertificateAuthority::new());
    let refused = |certificate: PathBuf, key: PathBuf| {
        format!("{:#}", bind(&runtime, (certificate, key), false).err().unwrap())
    };
    let ((certificate, key), (_, others)) = (one.server_files(), other.server_files());
    let missing = certificate.with_extension("missing");
    for (refusal, expected) in [
        (refused(missing, key.clone()), "is it mounted"),
        (refused(key.clone(), key.clone()), "has no certificate"),
        (refused(certificate.clone(), certificate.clone()), "has no private key"),
        (refused(certificate, others), "does not match the certificate"),
    ] {
        assert!(refusal.contains(expected), "{refusal}");
    }
}

/// Clients that send nothing, or plain HTTP, are disconnected.
#[test]
fn missing_tls_handshake_is_disconnected() {
    let authority = CertificateAuthority::new();
    let mirror = Mirror::start(authority.server_files(), false);
    for said in ["", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut client = Client::connect(mirror.tls[0], LONG);
        client.send(said);
        let rest = client.read_to_end();
        assert!(!rest.starts_with(b"HTTP"));
    }
}

/// Composer trusts the authority that its configuration names, and speaks HTTP/1.1 unless HTTP/2 is switched on.
#[test]
fn composer_installs_over_https_with_private_authority() {
    for (keys, protocol) in [("", "HTTP/1.1"), (", http2: true", "HTTP/2.0")] {
        let (env, plain, port, authority) =
            (TestEnv::new(), free_port(), free_port(), CertificateAuthority::new());
        env.upstream("modules")
            .write("a/composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#)
            .write("a/Code.php", "<?php // over TLS")
            .release("1.0.0");
        let source = "  - {name: modules, git: 'https://git.example/modules', packages: [{each: ''}]}\n";
        env.configure(plain, source);
        let (certificate, key) = authority.server_files();
        let tls = format!(
            "tls: {{listen: '127.0.0.1:{port}', certificate: '{}', key: '{}'{keys}}}, drain",
            certificate.display(),
            key.display()
        );
        let config = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
        let config = config.replace("drain", &tls).replace(
            &format!("http://127.0.0.1:{plain}/mirror/"),
            &format!("https://127.0.0.1:{port}/mirror/"),
        );
        env.write("mirror.yaml", &format!("{config}log: {{access: full, format: json}}\n"));
        env.build(0);
        let server = env.serve("serve", plain);

        let project = |name: &str, config: &str| {
            env.write(
                &format!("{name}/composer.json"),
                &format!(
                    r#"{{"name": "a/project", "require": {{"acme/a": "1.0.0"}}, "config": {{{config}}},
                        "repositories": [{{"type": "composer", "url": "https://127.0.0.1:{port}/mirror/"}}, {{"packagist.org": false}}]}}"#
                ),
            );
            env.path(name)
        };
        let trusting = project("project", &format!(r#""cafile": "{}""#, authority.ca_file().display()));
        ComposerProject { folder: &trusting }.composer(&["update"]);
        let code = std::fs::read_to_string(trusting.join("vendor/acme/a/Code.php")).unwrap();
        assert_eq!(code, "<?php // over TLS");

        // A client that does not trust the authority fails.
        let stranger = project("stranger", "");
        let refused = ComposerProject { folder: &stranger }.try_composer(&["update"]);
        assert!(!refused.status.success());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("certificate"), "{said}");

        assert_eq!(get(plain, "/mirror/packages.json").status, 200);
        assert_eq!(server.stop(), Some(0));
        let log = std::fs::read_to_string(env.path("log")).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        let requests: Vec<serde_json::Value> = lines
            .filter(|line: &serde_json::Value| line["agent"].as_str().is_some_and(|a| a.contains("Composer")))
            .collect();
        assert!(requests.len() >= 2, "{log}");
        for request in requests {
            assert_eq!(request["protocol"], protocol, "{request}");
        }
    }
}
