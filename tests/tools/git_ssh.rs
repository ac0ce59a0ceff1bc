//! SSH with a real sshd: keys, host keys and messages of the remote git.

use std::net::TcpListener;

use mirror::config::{Credential, Secret};
use mirror::git::FetchErrorKind;
use mirror::net::NetworkError;

use crate::support::git::BareRepository;
use crate::support::local_clone::{LocalClone, names, unmixed};
use crate::support::sshd::Sshd;

struct Setup {
    upstream: BareRepository,
    server: Sshd,
    local: LocalClone,
}

fn setup() -> Setup {
    let upstream = BareRepository::with_tags(&["1.0", "1.1"]);
    let server = Sshd::start();
    let mut local = LocalClone::new();
    let credential = Credential {
        url: server.url("/".as_ref()),
        private_key: Some(server.file("client")),
        known_hosts: Some(server.file("known_hosts")),
        ..Credential::default()
    };
    local.git.credentials = vec![credential];
    Setup { upstream, server, local }
}

impl Setup {
    fn url(&self) -> String {
        self.server.url(&self.upstream.path())
    }

    fn cause(&self) -> FetchErrorKind {
        self.local.cause(&self.url())
    }

    fn credential(&mut self) -> &mut Credential {
        &mut self.local.git.credentials[0]
    }
}

#[test]
fn ssh_key_authenticates_and_fetch_is_shallow() {
    let s = setup();
    let fetched = s.local.fetch(&s.url()).expect("a fetch");
    assert_eq!(fetched.new.len(), 2);
    assert!(s.local.path().join("shallow").exists());
    for n in 0..30 {
        s.upstream.release(&format!("2.{n:02}"));
    }
    assert_eq!(s.local.fetch(&s.url()).expect("a fetch").new.len(), 30);
    s.upstream.release("3.0");
    let fetched = s.local.fetch(&s.url()).expect("a fetch");
    assert_eq!(names(&fetched.new), ["refs/tags/3.0"]);
    assert_eq!(s.local.fetch(&s.url()).expect("a fetch").unchanged, 33);
    assert_eq!(s.local.versions().len(), 33);
}

#[test]
fn full_clone_over_ssh_succeeds() {
    let mut s = setup();
    s.local.git.shallow = false;
    s.local.fetch(&s.url()).expect("a fetch");
    s.upstream.release("1.2");
    s.local.fetch(&s.url()).expect("a fetch");
    assert_eq!(s.local.versions(), unmixed(&["1.0", "1.1", "1.2"]));
}

#[test]
fn encrypted_rsa_key_needs_its_passphrase() {
    let mut s = setup();
    s.server.key("locked", "rsa", "open sesame");
    s.server.authorize("locked");
    s.credential().private_key = Some(s.server.file("locked"));
    let text = s.cause().to_string();
    assert!(text.contains("needs a passphrase"), "{text}");
    s.credential().passphrase = Some(Secret::File(s.server.write("passphrase", "sesame\n")));
    let text = s.cause().to_string();
    assert!(text.contains("is the passphrase correct?") && !text.contains("sesame"), "{text}");
    s.server.write("passphrase", "open sesame\n");
    s.local.fetch(&s.url()).expect("a fetch");
}

#[test]
fn unauthorized_key_is_refused() {
    let mut s = setup();
    s.credential().private_key = Some(s.server.file("stranger"));
    s.credential().password = Some(Secret::File(s.server.write("password", "wr0ng\n")));
    let error = s.local.fails(&s.url());
    assert!(
        matches!(error.kind, FetchErrorKind::Network(NetworkError::Denied { credential: Some(_), .. })),
        "{error:?}"
    );
    assert!(!format!("{error:?}").contains("wr0ng"));
}

#[test]
fn unknown_or_changed_host_key_is_refused_with_line_to_add() {
    let s = setup();
    let line = s.server.known_hosts_line("host.pub");
    s.server.write("known_hosts", "other.example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ\n");
    let error = s.local.fails(&s.url());
    assert!(matches!(error.kind, FetchErrorKind::HostKeyUnknown { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("add the line: {}", line.trim_end())), "{error}");

    s.server.write("known_hosts", &s.server.known_hosts_line("client.pub"));
    let error = s.local.fails(&s.url());
    assert!(matches!(error.kind, FetchErrorKind::HostKeyChanged { .. }), "{error:?}");

    // Following the hint helps.
    s.server.write("known_hosts", &line);
    s.local.fetch(&s.url()).expect("a fetch");
}

#[test]
fn known_hosts_must_be_configured_and_readable() {
    let mut s = setup();
    s.credential().known_hosts = Some("/no/such/file".into());
    assert!(matches!(s.cause(), FetchErrorKind::Network(NetworkError::File { .. })));
    s.credential().known_hosts = None;
    let error = s.local.fails(&s.url());
    assert!(matches!(error.kind, FetchErrorKind::NoKnownHosts { .. }));
    assert!(error.to_string().contains("`ssh-keyscan -p "), "{error}");
    s.local.git.credentials.clear();
    assert!(matches!(s.cause(), FetchErrorKind::NoKnownHosts { .. }));
}

#[test]
fn message_of_remote_git_is_reported() {
    let s = setup();
    let cause = s.local.cause(&s.server.url("/no/such/repo.git".as_ref()));
    assert!(matches!(cause, FetchErrorKind::Remote { .. }), "{cause:?}");
    assert!(cause.to_string().contains("does not appear to be a git repository"), "{cause}");
}

#[test]
fn missing_or_silent_ssh_server_is_reported() {
    let mut s = setup();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    s.local.git.credentials.push(Credential {
        url: format!("ssh://{address}/"),
        known_hosts: Some(s.server.file("known_hosts")),
        ..Credential::default()
    });
    s.local.git.timeout = std::time::Duration::from_millis(300);
    let url = format!("ssh://git@{address}/x.git");
    assert!(matches!(s.local.cause(&url), FetchErrorKind::Network(NetworkError::Timeout { .. })));
    drop(silent);
    assert!(matches!(s.local.cause(&url), FetchErrorKind::Network(NetworkError::Unreachable { .. })));
}
