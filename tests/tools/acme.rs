//! Certificates from a real ACME server: Pebble, of Let's Encrypt, with a DNS server of its own.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rcgen::{CertificateParams, KeyPair};

use crate::support::certificates::CertificateAuthority;
use crate::support::env::{MirrorProcess, TestEnv};
use crate::support::http::get;
use crate::support::store::mirror;
use crate::support::web_server::WebServer;
use crate::support::{free_port, missing, run, until};

/// An ACME server that asks for proofs on the port of a mirror.
struct Acme {
    authority: CertificateAuthority,
    server: WebServer,
    management: u16,
    _names: MirrorProcess,
}

impl Acme {
    fn start(http_port: u16) -> Self {
        let (authority, management) = (CertificateAuthority::new(), free_port());
        let (names, dns) = serve_names();
        let (certificate, key) = authority.server_files();
        let server = WebServer::start(
            "env",
            &|_| {
                let words = [
                    "PEBBLE_VA_NOSLEEP=1",
                    "PEBBLE_WFE_NONCEREJECT=0",
                    "pebble",
                    "-config",
                    "conf",
                    "-dnsserver",
                ];
                let mut words: Vec<_> = words.map(str::to_owned).into();
                words.push(format!("127.0.0.1:{dns}"));
                words
            },
            &|_, port| {
                serde_json::json!({ "pebble": {
                    "listenAddress": format!("127.0.0.1:{port}"),
                    "managementListenAddress": format!("127.0.0.1:{management}"),
                    "certificate": certificate,
                    "privateKey": key,
                    "httpPort": http_port,
                    "tlsPort": free_port(),
                } })
                .to_string()
            },
        );
        Self { authority, server, management, _names: names }
    }

    /// Adds the section to the configuration. Returns the port for TLS.
    fn configure(&self, env: &TestEnv, hosts: &str) -> u16 {
        let tls = free_port();
        let section = format!(
            "serve: {{acme: {{listen: '127.0.0.1:{tls}', directory: 'https://127.0.0.1:{}/dir', hosts: [{hosts}]}}, ",
            self.server.port()
        );
        let git = format!("git:\n  ca_file: {}\n", self.authority.ca_file().display());
        let config = env.read("mirror.yaml").replace("serve: {", &section).replace("git:\n", &git);
        env.write("mirror.yaml", &config);
        tls
    }

    /// The file with its root certificate, made at each start.
    fn root(&self) -> PathBuf {
        let file = self.server.file("root.pem");
        run(Command::new("curl")
            .args(["-fsS", "--cacert"])
            .arg(self.authority.ca_file())
            .arg(format!("https://127.0.0.1:{}/roots/0", self.management))
            .arg("-o")
            .arg(&file));
        file
    }
}

/// Starts a DNS server, for which every host name leads to 127.0.0.1. Returns its port.
fn serve_names() -> (MirrorProcess, u16) {
    loop {
        let dns = free_port();
        let mut names = Command::new("pebble-challtestsrv")
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", ""])
            .args(["-tlsalpn01", "", "-management", &format!("127.0.0.1:{}", free_port())])
            .args(["-dns01", &format!("127.0.0.1:{dns}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}", missing("pebble-challtestsrv", &error)));
        let mut has_ended = false;
        until("the names are served", || {
            has_ended = names.try_wait().unwrap().is_some();
            has_ended || TcpStream::connect(("127.0.0.1", dns)).is_ok()
        });
        // It ends if somebody else has taken one of the ports.
        if !has_ended {
            return (MirrorProcess::new(names), dns);
        }
    }
}

/// Whether curl, which trusts `root`, gets the metadata from the host.
fn is_served(root: &PathBuf, host: &str, tls: u16) -> bool {
    let status = Command::new("curl")
        .args(["-fsS", "-o", "/dev/null", "--cacert"])
        .arg(root)
        .args(["--resolve", &format!("{host}:{tls}:127.0.0.1")])
        .arg(format!("https://{host}:{tls}/mirror/packages.json"))
        .stderr(Stdio::null())
        .status();
    status.unwrap().success()
}

/// Waits until curl gets the metadata; nothing may fail before.
fn wait_until_served(env: &TestEnv, root: &PathBuf, host: &str, tls: u16) {
    until(host, || {
        let log = env.read("log");
        assert!(!log.contains("\"ERROR\""), "{log}");
        is_served(root, host, tls)
    });
}

/// The only file of this name in the folder of the ACME server.
fn stored(env: &TestEnv, name: &str) -> PathBuf {
    let mut folders = std::fs::read_dir(env.path("data/.acme")).unwrap();
    let folder = folders.next().unwrap().unwrap().path();
    assert!(folders.next().is_none(), "one ACME server has one folder");
    folder.join(name)
}

#[test]
fn certificate_is_got_in_the_background_kept_and_renewed_for_other_hosts() {
    let (env, _upstream, port) = mirror();
    let acme = Acme::start(port);
    let tls = acme.configure(&env, "mirror.test");
    let root = acme.root();
    let running = env.serve("run", port);
    wait_until_served(&env, &root, "mirror.test", tls);
    assert!(!is_served(&root, "www.mirror.test", tls), "the certificate is for another host");
    assert_eq!(get(port, "/.well-known/acme-challenge/x").status, 404);
    let file = stored(&env, "certificate.pem");
    let mode = run(Command::new("stat").args(["-c", "%a"]).arg(file.parent().unwrap()));
    assert_eq!(mode.trim(), "700", "nobody else can read the keys");
    running.stop();

    let first = std::fs::read(&file).unwrap();
    let running = env.serve("run", port);
    assert!(is_served(&root, "mirror.test", tls), "at once, with the one on the volume");
    running.stop();
    assert_eq!(std::fs::read(&file).unwrap(), first, "it was not ordered again");

    let account = std::fs::read(stored(&env, "account.json")).unwrap();
    // The hosts are now those of the repositories.
    let config = env.read("mirror.yaml").replace(", hosts: [mirror.test]", "");
    let of_url = |host: &str| {
        config.replace(&format!("'http://127.0.0.1:{port}/mirror/'"), &format!("'https://{host}/mirror/'"))
    };
    env.write("mirror.yaml", &of_url("mirror.test"));
    let _running = env.serve("run", port);
    assert_eq!(std::fs::read(&file).unwrap(), first, "it has all hosts");
    env.write("mirror.yaml", &of_url("www.mirror.test"));
    wait_until_served(&env, &root, "www.mirror.test", tls);
    assert_eq!(std::fs::read(stored(&env, "account.json")).unwrap(), account, "the account is used again");
}

#[test]
fn certificate_that_ends_soon_is_served_until_it_is_renewed() {
    let (env, _upstream, port) = mirror();
    let without = env.read("mirror.yaml");
    let gone = Acme::start(port);
    gone.configure(&env, "mirror.test");
    let gone_port = gone.server.port();
    drop(gone);
    env.serve("run", port).stop();
    let file = stored(&env, "certificate.pem");
    let mut ending = CertificateParams::new(["mirror.test".to_owned()]).unwrap();
    ending.not_before = rcgen::date_time_ymd(2020, 1, 1);
    ending.not_after = rcgen::date_time_ymd(2020, 4, 1);
    let key = KeyPair::generate().unwrap();
    let ending = format!("{}{}", ending.self_signed(&key).unwrap().pem(), key.serialize_pem());
    std::fs::write(&file, &ending).unwrap();
    let running = env.serve("run", port);
    until("the failure is logged", || env.read("log").contains(&format!("127.0.0.1:{gone_port}")));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), ending, "without the ACME server nothing changes");
    running.stop();

    env.write("mirror.yaml", &without);
    let acme = Acme::start(port);
    let tls = acme.configure(&env, "mirror.test");
    let next = env.path("data/.acme").join(format!("127.0.0.1_{}_dir", acme.server.port()));
    std::fs::rename(file.parent().unwrap(), &next).unwrap();
    let _running = env.serve("run", port);
    let root = acme.root();
    wait_until_served(&env, &root, "mirror.test", tls);
}

#[test]
fn host_that_leads_elsewhere_is_named() {
    let (env, _upstream, port) = mirror();
    // The proof is asked for at a port where nobody answers.
    let acme = Acme::start(free_port());
    acme.configure(&env, "elsewhere.test");
    let _running = env.serve("run", port);
    until("the host is named", || env.read("log").contains("elsewhere.test: "));
    let log = env.read("log");
    assert!(log.contains("gave no certificate for elsewhere.test"), "{log}");
    assert!(log.contains("each host has to lead to this mirror on port 80"), "{log}");
    assert!(log.contains("retry_minutes"), "{log}");
}
