//! Squid as the proxy: plain http is forwarded and https goes through a tunnel, with a login, and messages say what it refuses.

use std::process::Output;

use crate::support::certificates::CertificateAuthority;
use crate::support::env::TestEnv;
use crate::support::git::BareRepository;
use crate::support::git_server::GitServer;
use crate::support::web_server::{WebServer, is_root};
use crate::support::{free_port, run};

struct Setup {
    env: TestEnv,
    squid: WebServer,
    /// Its port without a login, behind a parent that is not there.
    orphan: u16,
    plain: GitServer,
    tls: GitServer,
    authority: CertificateAuthority,
    _upstream: BareRepository,
}

/// Squid with a login, which refuses tunnels to other ports than that of the git server, and the host `refused.test`.
fn setup() -> Setup {
    let upstream = BareRepository::new();
    upstream.commit(&[("100644", "composer.json", "{\"name\": \"acme/tool\", \"version\": \"1.0.0\"}")]);
    upstream.git(&["tag", "1.0.0", "main"]);
    let authority = CertificateAuthority::new();
    let tls = GitServer::start_tls(upstream.root(), authority.server());
    let (orphan, dead) = (free_port(), free_port());
    let squid = WebServer::start(
        "/usr/sbin/squid",
        &|dir| {
            vec!["-N".into(), "-d".into(), "1".into(), "-f".into(), dir.join("conf").display().to_string()]
        },
        &|dir, port| {
            let hash = run(std::process::Command::new("openssl").args(["passwd", "-apr1", "s3cr@t"]));
            std::fs::write(dir.join("logins"), format!("joe:{hash}")).unwrap();
            let user = if is_root() { "cache_effective_user proxy\n" } else { "" };
            let dir = dir.display();
            format!(
                "{user}http_port 127.0.0.1:{port}\nhttp_port 127.0.0.1:{orphan}\npid_filename {dir}/pid\naccess_log none\n\
             cache_log {dir}/output\ncoredump_dir {dir}\ncache deny all\nshutdown_lifetime 0 seconds\nvisible_hostname squid.test\n\
             pinger_enable off\nauth_param basic program /usr/lib/squid/basic_ncsa_auth {dir}/logins\nacl known proxy_auth REQUIRED\n\
             acl CONNECT method CONNECT\nacl git_tls port {tls}\nacl refused dstdomain refused.test\nacl orphan localport {orphan}\n\
             cache_peer 127.0.0.1 parent {dead} 0 no-query no-digest\nnever_direct allow orphan\nalways_direct allow !orphan\n\
             http_access allow orphan\nhttp_access deny refused\nhttp_access deny CONNECT !git_tls\n\
             http_access allow known\nhttp_access deny all\n",
                tls = tls.port(),
            )
        },
    );
    let plain = GitServer::start(upstream.root());
    Setup { env: TestEnv::new(), squid, orphan, plain, tls, authority, _upstream: upstream }
}

impl Setup {
    /// Builds with a source at `url` through the proxy, and returns the log if the source could not be fetched.
    fn build(&self, url: &str, proxy: &str) -> Result<(), String> {
        self.env.configure(1, &format!("  - {{name: s, git: '{url}', packages: [{{one: ''}}]}}\n"));
        let configuration = self.env.read("mirror.yaml");
        self.env.write(
            "mirror.yaml",
            &format!("{configuration}  ca_file: {}\n", self.authority.ca_file().display()),
        );
        let mut build = self.env.command(&["build"]);
        build
            .env_remove("no_proxy")
            .env_remove("NO_PROXY")
            .env("http_proxy", proxy)
            .env("https_proxy", proxy);
        let Output { status, stderr, .. } = build.output().unwrap();
        match status.success() {
            true => Ok(()),
            false => Err(String::from_utf8(stderr).unwrap()),
        }
    }

    fn login(&self, password: &str) -> String {
        format!("http://joe:{password}@127.0.0.1:{}", self.squid.port())
    }
}

#[test]
fn squid_forwards_http_and_tunnels_https() {
    let s = setup();
    s.build(&s.plain.url("x.git"), &s.login("s3cr%40t")).unwrap();
    assert!(s.plain.requests().iter().all(|request| request.headers.contains_key("via")));
    let tls = format!("https://127.0.0.1:{}/x.git", s.tls.port());
    s.build(&tls, &s.login("s3cr%40t")).unwrap();
    assert!(s.env.path("data/acme/packages/acme/tool-1.0.0.zip").exists());
    assert!(s.tls.requests().len() >= 2);
}

#[test]
fn messages_say_what_squid_refuses() {
    let s = setup();
    let tls = format!("https://127.0.0.1:{}/x.git", s.tls.port());
    let good = s.login("s3cr%40t");
    let orphan = format!("http://127.0.0.1:{}", s.orphan);
    for (url, variable, said) in [
        (s.plain.url("x.git"), s.login("wr0ng"), "the proxy asks for a login"),
        (tls.clone(), s.login("wr0ng"), "the proxy asks for a login"),
        ("http://refused.test/x.git".into(), good.clone(), "http status 403"),
        ("https://refused.test/x.git".into(), good.clone(), "http status 403"),
        ("https://127.0.0.1:1/x.git".into(), good, "http status 403"),
        (s.plain.url("x.git"), orphan.clone(), "http status 50"),
        (tls, orphan, "http status 50"),
    ] {
        let log = s.build(&url, &variable).unwrap_err();
        let port = variable.rsplit(':').next().unwrap();
        assert!(
            log.contains(&format!("the proxy `127.0.0.1:{port}`")) && log.contains(said),
            "{url} {said}: {log}"
        );
        assert!(!log.contains("s3cr") && !log.contains("wr0ng"), "{log}");
    }
}
