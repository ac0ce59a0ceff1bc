//! HTTP and HTTPS: credentials, certificates, redirects and failures of the connection.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use mirror::config::{Credential, Secret};
use mirror::git::{FetchErrorKind, WantedRefs};
use mirror::net::NetworkError;
use mirror::util::cancel::CancelFlag;

use crate::support::certificates::CertificateAuthority;
use crate::support::git::BareRepository;
use crate::support::git_server::{Behaviour, GitServer};
use crate::support::local_clone::{ALL_TAGS, LocalClone, all_tags, unmixed};

/// `joe:s3cret` in Basic authentication.
const JOE: &str = "Basic am9lOnMzY3JldA==";

struct Setup {
    upstream: BareRepository,
    server: GitServer,
    local: LocalClone,
}

fn setup(behaviour: Behaviour) -> Setup {
    let upstream = BareRepository::with_tags(&["1.0", "1.1"]);
    let server = GitServer::start(upstream.root());
    server.behave(behaviour);
    Setup { upstream, server, local: LocalClone::new() }
}

impl Setup {
    fn url(&self) -> String {
        self.server.url("x.git")
    }

    fn cause(&self) -> FetchErrorKind {
        self.local.cause(&self.url())
    }
}

fn with_login() -> Behaviour {
    Behaviour { authorization: Some(JOE.into()), ..Behaviour::default() }
}

/// A credential for `joe` with this password, in a file with a line end.
fn credential(local: &LocalClone, prefix: &str, password: &str) -> Credential {
    let file = local.dir.path().join("password");
    std::fs::write(&file, format!("{password}\n")).expect("written");
    Credential {
        url: prefix.to_owned(),
        username: Some(Secret::Value("joe".into())),
        password: Some(Secret::File(file)),
        ..Credential::default()
    }
}

#[test]
fn other_schemes_are_told_from_a_wrong_password() {
    let mut s = setup(with_login());
    s.local.git.credentials = vec![credential(&s.local, &s.server.url(""), "s3cret")];
    for (challenge, says) in [
        (r#"Digest realm="git, and Basic", nonce="1", qop="auth""#, Some("only Digest")),
        (r#"Negotiate, NTLM"#, Some("only Negotiate, NTLM")),
        (r#"Digest realm="git", nonce="1", Basic realm="git""#, None),
        ("", None),
    ] {
        let authorization = Some("of another kind".into());
        s.server.behave(Behaviour {
            authorization,
            challenge: Some(challenge.into()),
            ..Behaviour::default()
        });
        match (s.cause(), says) {
            (FetchErrorKind::Network(error @ NetworkError::Login { .. }), Some(says)) => {
                let says = format!("does not accept a password by the scheme Basic, {says}");
                assert!(error.to_string().ends_with(&says), "{error}");
            }
            (FetchErrorKind::Network(NetworkError::Denied { .. }), None) => {}
            (error, _) => panic!("{challenge}: {error:?}"),
        }
    }
}

#[test]
fn credential_or_url_userinfo_authenticates() {
    let mut s = setup(with_login());
    let with_userinfo = s.url().replace("http://", "http://joe:s3cret@");
    s.local.fetch(&with_userinfo).expect("a fetch");
    s.local.git.credentials = vec![credential(&s.local, &s.server.url(""), "s3cret")];
    assert_eq!(s.local.fetch(&s.url()).expect("a fetch").unchanged, 2);
}

#[test]
fn denied_access_names_the_credential_but_no_secret() {
    let mut s = setup(with_login());
    let error = s.local.fails(&s.url());
    assert!(matches!(error.kind, FetchErrorKind::Network(NetworkError::Denied { credential: None, .. })));
    let said = r"refused access (http status 401: who are you?\n\u001b[31mnobody) without a credential";
    assert!(error.to_string().contains(said), "{error}");

    let prefix = s.server.url("");
    s.local.git.credentials = vec![credential(&s.local, &prefix, "wr0ng")];
    let error = s.local.fails(&s.url());
    let text = format!("{error} {error:?} {:?}", s.local.git);
    assert!(text.contains(&format!("credential for `{prefix}`")), "{text}");
    assert!(!text.contains("wr0ng"), "{text}");

    let error = s.local.fails(&s.url().replace("http://", "http://joe:wr0ng@"));
    assert!(!format!("{error} {error:?}").contains("wr0ng"), "{error}");

    s.local.git.credentials[0].password = Some(Secret::File("/no/such/file".into()));
    assert!(matches!(s.cause(), FetchErrorKind::Network(NetworkError::File { .. })));
}

#[test]
fn credential_is_sent_only_below_its_prefix() {
    let mut s = setup(with_login());
    s.local.git.credentials = vec![
        credential(&s.local, "http://127.0.0.1:1/", "s3cret"),
        credential(&s.local, &s.server.url("other"), "s3cret"),
    ];
    assert!(matches!(s.cause(), FetchErrorKind::Network(NetworkError::Denied { credential: None, .. })));
    assert!(s.server.requests().iter().all(|request| !request.headers.contains_key("authorization")));
}

#[test]
fn redirects_are_followed_without_the_credential() {
    let mut s = setup(Behaviour::default());
    let gate = GitServer::start(s.upstream.root());
    gate.behave(Behaviour {
        redirect: Some(s.server.url("").trim_end_matches('/').into()),
        ..Behaviour::default()
    });
    s.local.git.credentials = vec![credential(&s.local, &gate.url(""), "s3cret")];
    s.local.git.redirects = vec![s.server.url("")];
    let url = gate.url("x.git").replace("http://", "http://user:pass@");
    s.local.fetch(&url).expect("a fetch");
    assert_eq!(gate.requests()[0].headers["authorization"], JOE);
    let behind = s.server.requests();
    assert!(behind.iter().any(|request| request.line.starts_with("POST /x.git/git-upload-pack")));
    assert!(behind.iter().all(|request| !request.headers.contains_key("authorization")));
    assert_eq!(s.local.versions(), unmixed(&["1.0", "1.1"]));
}

#[test]
fn redirect_to_another_host_triggers_no_credential() {
    let mut s = setup(with_login());
    let gate = GitServer::start(s.upstream.root());
    gate.behave(Behaviour {
        redirect: Some(s.server.url("").trim_end_matches('/').into()),
        ..Behaviour::default()
    });
    s.local.git.credentials = vec![credential(&s.local, &s.server.url(""), "s3cret")];
    let error = s.local.fails(&gate.url("x.git"));
    assert!(matches!(error.kind, FetchErrorKind::Network(NetworkError::Redirect { .. })), "{error:?}");
    assert!(error.to_string().contains("name the beginning of that url in `git.redirects`"), "{error}");
    assert!(s.server.requests().is_empty(), "a private address is not connected to");

    s.local.git.redirects = vec![s.server.url("")];
    let error = s.local.fails(&gate.url("x.git"));
    assert!(
        matches!(error.kind, FetchErrorKind::Network(NetworkError::Denied { credential: None, .. })),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("hint: credentials are not sent to where a redirect leads"),
        "{error}"
    );
    let requests = s.server.requests();
    assert!(!requests.is_empty());
    assert!(requests.iter().all(|request| !request.headers.contains_key("authorization")));
    // The operator's own URL still gets it.
    s.local.fetch(&s.url()).expect("a fetch");
}

#[test]
fn redirect_loop_or_redirect_out_of_http_fails() {
    let s = setup(Behaviour::default());
    for to in [s.server.url("").trim_end_matches('/'), "file:///etc"] {
        s.server.behave(Behaviour { redirect: Some(to.into()), ..Behaviour::default() });
        assert!(matches!(s.cause(), FetchErrorKind::Network(NetworkError::Redirect { .. })), "{to}");
    }
}

#[test]
fn private_certificate_authority_is_trusted_when_configured() {
    let upstream = BareRepository::with_tags(&["1.0"]);
    let authority = CertificateAuthority::new();
    let server = GitServer::start_tls(upstream.root(), authority.server());
    let mut local = LocalClone::new();
    let url = format!("https://127.0.0.1:{}/x.git", server.port());

    let error = local.fails(&url);
    assert!(matches!(error.kind, FetchErrorKind::Network(NetworkError::Tls { .. })), "{error:?}");
    assert!(error.to_string().contains("hint: name the certificate authority"), "{error}");

    local.git.ca_file = Some(authority.ca_file());
    local.fetch(&url).expect("a fetch");
    assert_eq!(local.versions(), unmixed(&["1.0"]));

    local.git.ca_file = Some("/no/such/file.pem".into());
    assert!(matches!(local.cause(&url), FetchErrorKind::Network(NetworkError::File { .. })));

    let gate = GitServer::start_tls(upstream.root(), authority.server());
    gate.behave(Behaviour { redirect: Some("http://127.0.0.1:1".into()), ..Behaviour::default() });
    local.git.ca_file = Some(authority.ca_file());
    let cause = local.cause(&format!("https://localhost:{}/x.git", gate.port()));
    assert!(
        matches!(cause, FetchErrorKind::Network(NetworkError::Redirect { reason: "it leaves https", .. })),
        "{cause}"
    );
}

#[test]
fn tls_errors_have_specific_hints() {
    let upstream = BareRepository::with_tags(&["1.0"]);
    let authority = CertificateAuthority::new();
    let mut local = LocalClone::new();
    local.git.ca_file = Some(authority.ca_file());
    let own = GitServer::start_tls(upstream.root(), authority.server_with_ca_certificate());
    // The response of nginx to a TLS handshake on its HTTP port.
    let plain = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = plain.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = plain.accept().expect("a connection");
        let _ = stream.read(&mut [0; 16384]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = stream.read(&mut [0; 16384]);
    });
    for (port, hint) in
        [(own.port(), "basicConstraints=CA:FALSE"), (port, "hint: does this port speak plain http?")]
    {
        let error = local.fails(&format!("https://127.0.0.1:{port}/x.git"));
        assert!(matches!(error.kind, FetchErrorKind::Network(NetworkError::Tls { .. })), "{error:?}");
        assert!(error.to_string().contains(hint), "{error}");
    }
}

#[test]
fn missing_server_is_unreachable() {
    let local = LocalClone::new();
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let cause = local.cause(&format!("http://{free}/x.git"));
    assert!(matches!(cause, FetchErrorKind::Network(NetworkError::Unreachable { .. })), "{cause:?}");
    assert!(cause.to_string().contains("refused"), "{cause}");
    // RFC 2606 reserves the name, so it never resolves.
    let cause = local.cause("http://no-such-host.invalid/x.git");
    assert!(matches!(cause, FetchErrorKind::Network(NetworkError::Unreachable { .. })), "{cause:?}");
    assert!(!local.path().exists() && !local.path().with_extension("git.partial").exists());
}

#[test]
fn missing_repository_and_web_page_are_distinguished() {
    let s = setup(Behaviour::default());
    let error = s.local.fails(&s.server.url("none.git"));
    assert!(matches!(error.kind, FetchErrorKind::NotFound), "{error:?}");
    s.server.behave(Behaviour { web_page: true, ..Behaviour::default() });
    let cause = s.cause();
    assert!(matches!(cause, FetchErrorKind::NotGit { .. }), "{cause:?}");
    assert!(cause.to_string().contains("text/html"), "{cause}");
    s.server.behave(Behaviour { status: Some(503), ..Behaviour::default() });
    assert!(matches!(s.cause(), FetchErrorKind::Network(NetworkError::Status { status: 503, .. })));
    s.server.behave(Behaviour { status: Some(403), ..Behaviour::default() });
    assert!(matches!(s.cause(), FetchErrorKind::Network(NetworkError::Denied { .. })));
}

#[test]
fn silent_server_times_out() {
    for limit in [None, Some(100)] {
        let mut s = setup(Behaviour { stall: true, limit, ..Behaviour::default() });
        s.local.git.timeout = Duration::from_millis(300);
        let start = Instant::now();
        let cause = s.cause();
        assert!(matches!(cause, FetchErrorKind::Network(NetworkError::Timeout { .. })), "{cause:?}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn interrupted_fetch_changes_nothing_and_next_one_succeeds() {
    let s = setup(Behaviour::default());
    s.local.fetch(&s.url()).expect("a fetch");
    s.upstream.release("1.2");
    s.server.behave(Behaviour { limit: Some(150), ..Behaviour::default() });
    let cause = s.cause();
    assert!(matches!(cause, FetchErrorKind::Network(NetworkError::Interrupted { .. })), "{cause:?}");
    assert_eq!(s.local.versions(), unmixed(&["1.0", "1.1"]));
    let temporary = std::fs::read_dir(s.local.path().join("objects/pack")).expect("a folder");
    assert_eq!(temporary.count(), 2, "one pack and its index");
    s.server.behave(Behaviour::default());
    s.local.fetch(&s.url()).expect("a fetch");
    assert_eq!(s.local.versions(), unmixed(&["1.0", "1.1", "1.2"]));
}

#[test]
fn cancelled_fetch_returns_cancelled() {
    let s = setup(Behaviour::default());
    let cancel = CancelFlag::default();
    let select = |refs: &[_]| {
        cancel.set();
        all_tags(refs)
    };
    let wanted = WantedRefs { select: &select, extra_refs: &[], history: false };
    let fetcher = s.local.fetcher();
    let error = fetcher.fetch(&s.local.path(), &s.url(), wanted, &cancel, &|_| {}).expect_err("cancelled");
    assert!(matches!(error.kind, FetchErrorKind::Cancelled));
    assert!(!s.local.path().exists());
}

#[test]
fn fetch_reports_progress() {
    let s = setup(Behaviour::default());
    let seen = std::cell::Cell::new(None);
    let fetcher = s.local.fetcher();
    let fetched = fetcher
        .fetch(&s.local.path(), &s.url(), ALL_TAGS, &CancelFlag::default(), &|progress| {
            seen.set(Some(progress));
        })
        .expect("a fetch");
    let last = seen.get().expect("progress");
    assert_eq!((last.objects, last.total), (fetched.objects, fetched.objects));
    assert_eq!(last.bytes, fetched.received_bytes);
}
