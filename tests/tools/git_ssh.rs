//! SSH with a real sshd: keys, host keys and messages of the remote git.

use std::net::TcpListener;
use std::process::Command;

use mirror::config::{Credential, Secret};
use mirror::git::FetchErrorKind;
use mirror::net::NetworkError;

use crate::support::env::TestEnv;
use crate::support::git::BareRepository;
use crate::support::local_clone::{LocalClone, names, unmixed};
use crate::support::sshd::{Dropbear, Sshd};
use crate::support::{free_port, run};

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
    assert!(text.contains("the passphrase is wrong") && !text.contains("sesame"), "{text}");
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

/// The public key in `file`, without its comment.
fn public(server: &Sshd, file: &str) -> String {
    server.read(file).split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_owned()
}

#[test]
fn known_hosts_lines_count_as_for_ssh() {
    let mut s = setup();
    let (key, other) = (public(&s.server, "host.pub"), public(&s.server, "client.pub"));
    s.server.write("hashed", &format!("[localhost]:{} {key}\n", s.server.port()));
    run(Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(s.server.file("hashed")));
    let hashed = s.server.read("hashed");
    let name = format!("[localhost]:{}", s.server.port());
    s.local.git.credentials[0].url = "ssh://localhost/".replace("localhost", &name.replace(['[', ']'], ""));
    for (host, lines, is_accepted) in [
        ("localhost", format!("{name} {key}"), true),
        ("LocalHost", format!("{name} {key}"), true),
        ("localhost", format!("{} {key}", name.to_uppercase()), true),
        ("localhost", format!("  {name}\t{key}   a comment # of words"), true),
        ("localhost", format!("[local*]:* {key}"), true),
        ("localhost", format!("[localhos?]:{} {key}", s.server.port()), true),
        ("localhost", format!("other,{name},third {key}"), true),
        ("localhost", format!("![other]:*,[*]:* {key}"), true),
        ("localhost", format!("*,!{name},!localhost {key}"), false),
        ("localhost", format!("*,!{name} {key}"), true),
        ("localhost", format!("!{name} {key}"), false),
        ("localhost", hashed.clone(), true),
        ("localhost", format!("localhost {key}"), true),
        ("localhost", format!("localhost {key}\n{name} {other}"), false),
        ("localhost", format!("[localhost]:1 {key}"), false),
        ("localhost", format!("{name} {other}\n{name} {key}"), true),
        ("localhost", format!("# {name} {key}\n\nnonsense\n{name} ssh-new AAAA\n{name} {key}"), true),
        ("localhost", format!("#{name} {key}"), false),
        ("localhost", format!("{name} {key}\n@revoked * {key}"), false),
        ("localhost", format!("@revoked {name} {key}\n{hashed}"), false),
        ("localhost", format!("@revoked other {key}\n{name} {key}"), true),
        ("localhost", format!("@revoked * {other}\n{name} {key}"), true),
        ("localhost", format!("@cert-authority {name} {key}"), false),
        ("localhost", format!("@unknown {name} {key}"), false),
    ] {
        s.server.write("known_hosts", &format!("{lines}\n"));
        assert_eq!(s.server.accepts_ssh(host, "client", "known_hosts"), is_accepted, "ssh: {lines}");
        let fetched = s.local.fetch(&s.server.url_by(host, &s.upstream.path()));
        assert_eq!(fetched.is_ok(), is_accepted, "{lines}: {fetched:?}");
    }
}

#[test]
fn revoked_host_key_is_refused_by_name() {
    let s = setup();
    let (line, key) = (s.server.read("known_hosts"), public(&s.server, "host.pub"));
    s.server.write("known_hosts", &format!("{line}@revoked * {key}\n"));
    let error = s.local.fails(&s.url());
    assert!(matches!(error.kind, FetchErrorKind::HostKeyRevoked { .. }), "{error:?}");
    // The host alone revokes the key on every port.
    s.server.write("known_hosts", &format!("{line}@revoked 127.0.0.1 {key}\n"));
    assert!(matches!(s.cause(), FetchErrorKind::HostKeyRevoked { .. }));
    // Another key of the host is asked for instead.
    s.server.key("second", "ecdsa", "");
    s.server.configure(&format!("HostKey {}", s.server.file("second").display()));
    let second = s.server.known_hosts_line("second.pub");
    s.server.write("known_hosts", &format!("{line}{second}@revoked * {key}\n"));
    assert!(s.server.accepts_ssh("127.0.0.1", "client", "known_hosts"));
    s.local.fetch(&s.url()).unwrap_or_else(|error| panic!("{error}"));
    s.server.write("known_hosts", &format!("{line}@revoked * ssh-ed25519 broken\n"));
    assert!(s.cause().to_string().contains("line 2 revokes a key that cannot be read"));
}

#[test]
fn host_certificates_are_checked() {
    let s = setup();
    s.server.key("authority", "ed25519", "");
    s.server.key("wrong_authority", "rsa", "");
    let (authority, wrong) = (public(&s.server, "authority.pub"), public(&s.server, "wrong_authority.pub"));
    let trusted = format!("@cert-authority [127.0.0.*]:* {authority}\n");
    let plain = s.server.read("known_hosts");
    let revoked = format!("@revoked * {authority}\n");
    let sign = |arguments: &[&str]| {
        let mut sign = Command::new("ssh-keygen");
        sign.args(["-q", "-I", "host", "-s"]).arg(s.server.file("authority")).args(arguments);
        run(sign.arg(s.server.file("host.pub")));
    };
    let certificate = format!("HostCertificate {}\n", s.server.file("host-cert.pub").display());
    s.server.configure(&format!("{certificate}HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com"));
    for (arguments, lines, reason) in [
        (&["-h", "-n", "127.0.0.1"] as &[_], trusted.clone(), ""),
        (&["-h", "-n", "other,127.0.0.1"], trusted.clone(), ""),
        (&["-h", "-n", "127.*"], trusted.clone(), "it is for 127.*"),
        (&["-h"], trusted.clone(), ""),
        (&["-h", "-n", "127.0.0.1"], plain.clone(), ""),
        (&["-h", "-n", "127.0.0.1"], format!("@cert-authority * {wrong}\n"), "another authority"),
        (&["-h", "-n", "127.0.0.1"], format!("{trusted}{revoked}"), "revoked"),
        (&["-h", "-n", "127.0.0.1"], format!("{plain}{revoked}"), "revoked"),
        (&["-h", "-n", "other"], trusted.clone(), "it is for other"),
        (&["-h", "-n", "other"], format!("{trusted}{plain}"), ""),
        (&["-h", "-V", "20200101:20200102"], trusted.clone(), "it has expired on 2020-01-02"),
        (&["-h", "-V", "20990101:20990102"], trusted.clone(), "it is valid only from 2099-01-01"),
    ] {
        sign(arguments);
        s.server.write("known_hosts", &lines);
        let ssh = s.server.accepts_ssh("127.0.0.1", "client", "known_hosts");
        assert_eq!(ssh, reason.is_empty(), "ssh: {arguments:?} {lines}");
        match s.local.fetch(&s.url()) {
            Ok(_) => assert!(reason.is_empty(), "{arguments:?} {lines}"),
            Err(error) => assert!(!reason.is_empty() && error.to_string().contains(reason), "{error}"),
        }
    }
}

#[test]
fn user_certificate_beside_the_key_authenticates() {
    let mut s = setup();
    s.server.key("authority", "ed25519", "");
    let trust = format!("TrustedUserCAKeys {}", s.server.file("authority.pub").display());
    s.server.configure(&trust);
    let user = run(Command::new("id").arg("-un"));
    for kind in ["ed25519", "ecdsa", "rsa"] {
        s.server.key(kind, kind, "");
        s.credential().private_key = Some(s.server.file(kind));
        assert!(s.local.fetch(&s.url()).is_err(), "{kind} without a certificate");
        let mut sign = Command::new("ssh-keygen");
        sign.args(["-q", "-I", "user", "-n", user.trim(), "-s"]).arg(s.server.file("authority"));
        run(sign.arg(s.server.file(&format!("{kind}.pub"))));
        s.local.fetch(&s.url()).expect(kind);
    }
    let mut sign = Command::new("ssh-keygen");
    sign.args(["-q", "-I", "user", "-V", "20200101:20200102", "-s"]).arg(s.server.file("authority"));
    run(sign.arg(s.server.file("rsa.pub")));
    assert!(s.cause().to_string().contains("its certificate has expired on 2020-01-02"));
    s.server.authorize("rsa");
    s.local.fetch(&s.url()).expect("the key alone");
    s.server.write("rsa-cert.pub", &s.server.read("ed25519-cert.pub"));
    assert!(s.cause().to_string().contains("not the certificate of the key beside it"));
}

/// Commands that write a private key in a format of their own to `$key`, some from the RSA key in `$rsa`, and what is said where it cannot be read.
const FORMATS: &[(&str, &str)] = &[
    ("ssh-keygen -q -t ed25519 -N '' -f $key", ""),
    ("ssh-keygen -q -t ed25519 -N secret -f $key", ""),
    ("ssh-keygen -q -t ed25519 -N secret -Z aes256-gcm@openssh.com -f $key", ""),
    ("ssh-keygen -q -t ecdsa -b 521 -N secret -Z chacha20-poly1305@openssh.com -f $key", ""),
    ("ssh-keygen -q -t ecdsa -b 384 -N secret -Z aes128-cbc -f $key", ""),
    ("ssh-keygen -q -t ed25519 -N secret -Z 3des-cbc -f $key", "encryption with 3des-cbc is not supported"),
    ("ssh-keygen -q -t rsa -b 2048 -m PEM -N '' -f $key", ""),
    ("ssh-keygen -q -t rsa -b 2048 -m PEM -N secret -f $key", ""),
    ("ssh-keygen -q -t rsa -b 2048 -m PKCS8 -N '' -f $key", ""),
    ("ssh-keygen -q -t rsa -b 2048 -m PKCS8 -N secret -f $key", ""),
    ("ssh-keygen -q -t ecdsa -m PEM -N '' -f $key", ""),
    ("openssl ecparam -genkey -name secp384r1 -out $key", ""),
    ("ssh-keygen -q -t ecdsa -m PEM -N secret -f $key", "EC PRIVATE KEY with AES-128-CBC is not supported"),
    ("ssh-keygen -q -t ecdsa -b 384 -m PKCS8 -N '' -f $key", ""),
    ("ssh-keygen -q -t ecdsa -b 521 -m PKCS8 -N secret -f $key", ""),
    (
        "openssl rsa -in $rsa -traditional -aes256 -passout pass:secret -out $key",
        "RSA PRIVATE KEY with AES-256-CBC is not supported",
    ),
    (
        "openssl rsa -in $rsa -traditional -des3 -passout pass:secret -out $key",
        "RSA PRIVATE KEY with DES-EDE3-CBC is not supported",
    ),
    ("openssl pkcs8 -in $rsa -topk8 -v2 aes-256-cbc -passout pass:secret -out $key", ""),
    ("openssl pkcs8 -in $rsa -topk8 -scrypt -passout pass:secret -out $key", ""),
    ("openssl pkcs8 -in $rsa -topk8 -v2 des3 -passout pass:secret -out $key", ""),
    ("openssl pkcs8 -in $rsa -topk8 -v2prf hmacWithSHA1 -passout pass:secret -out $key", ""),
    ("openssl pkcs8 -in $rsa -topk8 -v1 PBE-SHA1-3DES -passout pass:secret -out $key", "is not supported"),
];

#[test]
fn private_keys_are_read_or_named_with_a_remedy() {
    let mut s = setup();
    s.credential().private_key = Some(s.server.file("key"));
    let rsa = s.server.file("rsa");
    run(Command::new("openssl").args(["genpkey", "-algorithm", "rsa", "-out"]).arg(&rsa));
    for (command, reason) in FORMATS {
        for file in ["key", "key.pub"] {
            let _ = std::fs::remove_file(s.server.file(file));
        }
        run(Command::new("sh").arg("-c").arg(command).env("rsa", &rsa).env("key", s.server.file("key")));
        run(Command::new("chmod").arg("600").arg(s.server.file("key")));
        let read =
            Command::new("ssh-keygen").args(["-y", "-P", "secret", "-f"]).arg(s.server.file("key")).output();
        let read = read.expect("ssh-keygen starts");
        assert!(read.status.success(), "{command}: OpenSSH does not read it");
        s.server.write("authorized_keys", &String::from_utf8(read.stdout).expect("a key"));
        s.credential().passphrase = Some(Secret::Value("secret".into()));
        match s.local.fetch(&s.url()) {
            Ok(_) => assert!(reason.is_empty(), "{command}"),
            Err(error) => {
                let text = error.to_string();
                assert!(
                    !reason.is_empty() && text.contains(reason) && text.contains("hint: "),
                    "{command}: {text}"
                );
                // Following the hint helps.
                let mut convert = Command::new("ssh-keygen");
                convert.args(["-q", "-p", "-P", "secret", "-N", "secret", "-f"]);
                run(convert.arg(s.server.file("key")));
                s.local.fetch(&s.url()).expect(command);
            }
        }
        if command.contains("secret") {
            s.credential().passphrase = None;
            assert!(s.cause().to_string().contains("the key needs a passphrase"), "{command}");
            s.credential().passphrase = Some(Secret::Value("wrong".into()));
            assert!(s.cause().to_string().contains("the passphrase is wrong"), "{command}");
        }
    }
}

#[test]
fn servers_limited_to_one_algorithm_are_reached() {
    let s = setup();
    for line in [
        "KexAlgorithms ecdh-sha2-nistp256",
        "KexAlgorithms ecdh-sha2-nistp384",
        "KexAlgorithms ecdh-sha2-nistp521",
        "KexAlgorithms diffie-hellman-group-exchange-sha256",
        "KexAlgorithms diffie-hellman-group14-sha256",
        "Ciphers aes128-gcm@openssh.com",
        "Ciphers aes256-gcm@openssh.com",
        "Ciphers aes128-ctr\nMACs hmac-sha1",
        "Ciphers aes256-ctr\nMACs hmac-sha2-512-etm@openssh.com",
        "MaxAuthTries 1",
    ] {
        s.server.configure(line);
        s.local.fetch(&s.url()).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    s.server.configure("KexAlgorithms sntrup761x25519-sha512@openssh.com");
    let text = s.cause().to_string();
    assert!(text.contains("no key exchange that is supported here, only sntrup761x25519-sha512"), "{text}");
}

#[test]
fn other_ways_to_log_in_are_told_from_wrong_credentials() {
    let s = setup();
    for (line, says) in [
        (
            "AuthenticationMethods keyboard-interactive",
            "does not accept a private key, only keyboard-interactive",
        ),
        ("AuthenticationMethods password", "does not accept a private key, only password"),
        ("AuthenticationMethods publickey,password", "a private key alone, only together with password"),
    ] {
        s.server.configure(&format!("KbdInteractiveAuthentication yes\n{line}"));
        let error = s.local.fails(&s.url());
        assert!(error.to_string().contains(says), "{line}: {error}");
    }
}

#[test]
fn password_is_the_answer_to_a_prompt() {
    let mut s = setup();
    s.credential().private_key = None;
    s.credential().password = Some(Secret::File(s.server.write("password", "open sesame\n")));
    s.server.ask_for("open sesame", "");
    s.local.fetch(&s.url()).unwrap_or_else(|error| panic!("{error}"));
    s.server.write("password", "wr0ng\n");
    let cause = s.cause();
    assert!(matches!(cause, FetchErrorKind::Network(NetworkError::Denied { .. })), "{cause}");
    s.server.write("password", "open sesame\n");
    s.server.ask_for("open sesame", "auth required pam_stress.so\n");
    let text = s.cause().to_string();
    assert!(text.contains("a password alone, only together with an answer to `STRESS Password:`"), "{text}");
    s.server.configure("AuthenticationMethods publickey");
    let text = s.cause().to_string();
    assert!(text.contains("does not accept a password, only publickey"), "{text}");
}

#[test]
fn output_of_the_remote_shell_is_quoted() {
    let s = setup();
    let git = format!("exec git-upload-pack {}", s.upstream.path().display());
    for (command, says) in [
        (format!("echo welcome to host; {git}"), "welcome to host\nhint"),
        (format!("echo face the music; echo and dance; {git}"), "face the music\\nand dance\nhint"),
        (format!("echo; echo 1; {git}"), "answered: 1\nhint"),
        ("echo This account is not available.; exit 1".to_owned(), "This account is not available."),
        ("printf 'Password: '; sleep 5".to_owned(), "Password:"),
    ] {
        s.server.configure(&format!("ForceCommand {command}"));
        let text = s.local.fails(&s.url()).to_string();
        assert!(text.contains(says), "{command}: {text}");
    }
    s.server.configure(&format!("ForceCommand echo to stderr >&2; {git}"));
    s.local.fetch(&s.url()).expect("standard error is no output");
}

#[test]
fn scp_like_url_names_the_port_in_brackets() {
    let mut s = setup();
    let url = s.url().replacen("ssh://", "[", 1).replacen('/', "]:/", 1);
    s.credential().url = url.split_once("]:").map(|(host, _)| format!("{host}]:")).expect("a host");
    s.local.fetch(&url).unwrap_or_else(|error| panic!("{url}: {error}"));
}

#[test]
fn check_reads_keys_passphrases_and_known_hosts() {
    let env = TestEnv::new();
    env.configure(
        free_port(),
        "  - {name: a, git: 'ssh://git@Host.example:2222/a.git', packages: [{one: ''}]}\n",
    );
    let configuration = env.read("mirror.yaml");
    for (name, passphrase) in [("open", ""), ("locked", "secret")] {
        let mut keygen = Command::new("ssh-keygen");
        run(keygen.args(["-q", "-t", "ed25519", "-N", passphrase, "-f"]).arg(env.path(name)));
    }
    run(Command::new("ssh-keygen")
        .args(["-q", "-m", "PKCS8", "-p", "-N", "secret", "-f"])
        .arg(env.path("open")));
    env.write("right", "secret\n");
    env.write("wrong", "sesame\n");
    let key = env.read("locked.pub");
    env.write("known_hosts", &format!("[*.EXAMPLE]:2222 {key}"));
    env.write("others", &format!("other.example {key}@revoked * {key}"));
    env.write("revoked", "@revoked * ssh-ed25519 AAAA\n");
    for (keys, says) in [
        ("private_key_file: locked, passphrase_file: right, known_hosts_file: known_hosts", None),
        ("private_key_file: open, passphrase_file: right, known_hosts_file: known_hosts", None),
        ("private_key_file: open, known_hosts_file: known_hosts", Some("private_key_file: failed to read")),
        (
            "private_key_file: locked, known_hosts_file: known_hosts",
            Some("the key needs a passphrase (`passphrase_file`)"),
        ),
        (
            "private_key_file: locked, passphrase_file: wrong, known_hosts_file: known_hosts",
            Some("the passphrase is wrong"),
        ),
        (
            "private_key_file: locked.pub, known_hosts_file: known_hosts",
            Some("it is a public key, not a private key"),
        ),
        (
            "private_key_file: mirror.yaml, known_hosts_file: known_hosts",
            Some("it is a file of another kind"),
        ),
        (
            "private_key_file: locked, passphrase_file: right",
            Some("no known_hosts file is configured for `host.example:2222`"),
        ),
        (
            "private_key_file: locked, passphrase_file: right, known_hosts_file: others",
            Some("others` has no key of `host.example:2222`"),
        ),
        (
            "private_key_file: locked, passphrase_file: right, known_hosts_file: revoked",
            Some("line 1 revokes a key that cannot be read"),
        ),
    ] {
        let credential = format!("  credentials: [{{url: 'ssh://host.example:2222/', {keys}}}]\n");
        env.write("mirror.yaml", &(configuration.clone() + &credential));
        let output = env.mirror("check");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), says.is_none(), "{keys}: {said}");
        assert!(said.contains(says.unwrap_or_default()), "{keys}: {said}");
    }
}

#[test]
fn dropbear_is_a_server_like_openssh() {
    let s = setup();
    let dropbear = Dropbear::start(&s.server);
    let url = s.url().replace(&format!(":{}/", s.server.port()), &format!(":{}/", dropbear.port()));
    let mut local = LocalClone::new();
    local.git.credentials = s.local.git.credentials.clone();
    local.git.credentials[0].url = url.clone();
    let line = s.server.known_hosts_line("host.pub");
    s.server.write(
        "known_hosts",
        &line.replace(&format!(":{} ", s.server.port()), &format!(":{} ", dropbear.port())),
    );
    local.fetch(&url).unwrap_or_else(|error| panic!("{error}"));
    local.git.credentials[0].private_key = Some(s.server.file("stranger"));
    let cause = local.cause(&url);
    assert!(matches!(cause, FetchErrorKind::Network(NetworkError::Denied { .. })), "{cause}");
}
