//! A real OpenSSH server on a port of its own, with its own keys.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::run;

const SSHD: &str = "/usr/sbin/sshd";

/// A running server; one `sshd -i` per connection, so there is no daemon to wait for or to stop.
pub struct Sshd {
    dir: TempDir,
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Sshd {
    pub fn start() -> Self {
        assert!(Path::new(SSHD).exists(), "there is no {SSHD} (is the package `openssh-server` installed?)");
        // sshd requires this folder when it runs as root; only root can create it.
        let _ = std::fs::create_dir_all("/run/sshd");
        let dir = tempfile::tempdir().expect("a temporary folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let stopped = Arc::new(AtomicBool::new(false));
        let server = Self { dir, address, stopped: stopped.clone() };
        server.key("host", "ed25519", "");
        server.key("client", "ed25519", "");
        server.key("stranger", "ed25519", "");
        server.authorize("client");
        server.write("known_hosts", &server.known_hosts_line("host.pub"));
        server.configure("");
        let config = server.file("sshd_config");
        let pam = server.file("pam.d");
        serve(listener, stopped, move || {
            let mut sshd = Command::new(SSHD);
            if pam.exists() {
                sshd = Command::new("unshare");
                let script = r#"mount --bind "$0" /etc/pam.d && exec "$@""#;
                sshd.args(["--mount", "sh", "-c", script]).arg(&pam).arg(SSHD);
            }
            sshd.args(["-i", "-f"]).arg(&config);
            sshd
        });
        server
    }

    /// Lets it ask for a password by keyboard-interactive only, for which it needs PAM; these lines of PAM ask further.
    pub fn ask_for(&self, password: &str, further: &str) {
        let check = self.write("check", &format!("#!/bin/sh\n[ \"$(tr -d '\\0')\" = '{password}' ]\n"));
        run(Command::new("chmod").arg("+x").arg(&check));
        std::fs::create_dir_all(self.file("pam.d")).expect("a folder");
        let ask = format!("auth required pam_exec.so quiet expose_authtok {}\n{further}", check.display());
        let rest =
            ["auth", "account", "session"].map(|kind| format!("{kind} required pam_permit.so\n")).concat();
        self.write("pam.d/sshd", &(ask + &rest));
        self.configure("UsePAM yes\nPasswordAuthentication no\nKbdInteractiveAuthentication yes");
    }

    /// Lets these lines of its configuration go before the usual ones, for connections from now on.
    pub fn configure(&self, lines: &str) {
        let path = std::env::var("PATH").unwrap_or_default();
        let config = format!(
            "{lines}\nHostKey {host}\nAuthorizedKeysFile {keys}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n\
             PasswordAuthentication yes\nSetEnv PATH={path}\nAcceptEnv GIT_PROTOCOL\n",
            host = self.file("host").display(),
            keys = self.file("authorized_keys").display(),
        );
        self.write("sshd_config", &config);
    }

    /// Whether OpenSSH's client logs in to it as `host` with this private key and file of known hosts.
    pub fn accepts_ssh(&self, host: &str, key: &str, known_hosts: &str) -> bool {
        let mut ssh = Command::new("ssh");
        ssh.args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "IdentitiesOnly=yes",
        ]);
        ssh.arg("-o").arg(format!("UserKnownHostsFile={}", self.file(known_hosts).display()));
        ssh.args(["-o", "GlobalKnownHostsFile=/dev/null"]);
        ssh.arg("-i").arg(self.file(key)).arg("-p").arg(self.port().to_string()).args([host, "true"]);
        ssh.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("ssh starts").success()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Makes a key pair `name` and `name.pub`.
    pub fn key(&self, name: &str, kind: &str, passphrase: &str) {
        let file = self.file(name);
        run(Command::new("ssh-keygen")
            .args(["-q", "-C", name, "-t", kind, "-N", passphrase, "-f"])
            .arg(file));
    }

    /// Authorizes the key `name` and no other.
    pub fn authorize(&self, name: &str) {
        self.write("authorized_keys", &self.read(&format!("{name}.pub")));
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).expect(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.file(name), text).expect(name);
        self.file(name)
    }

    /// The line of `known_hosts` for this server with the public key in `file`.
    pub fn known_hosts_line(&self, file: &str) -> String {
        let key = self.read(file);
        let mut words = key.split(' ');
        let (kind, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        format!("[127.0.0.1]:{} {kind} {key}\n", self.address.port())
    }

    pub fn url(&self, repository: &Path) -> String {
        self.url_by("127.0.0.1", repository)
    }

    /// The URL with another name of the host.
    pub fn url_by(&self, host: &str, repository: &Path) -> String {
        let user = run(Command::new("id").arg("-un"));
        format!("ssh://{}@{host}:{}{}", user.trim(), self.port(), repository.display())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

/// Runs a server for each connection, with the connection as its input and output.
fn serve(listener: TcpListener, stopped: Arc<AtomicBool>, command: impl Fn() -> Command + Send + 'static) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            let socket = OwnedFd::from(stream.expect("a connection"));
            let output = socket.try_clone().expect("a descriptor");
            let mut command = command();
            command.stdin(Stdio::from(socket)).stdout(Stdio::from(output)).stderr(Stdio::null());
            let mut child = command.spawn().expect("a server starts");
            std::thread::spawn(move || child.wait());
        }
    });
}

/// A dropbear with the keys of an [`Sshd`]. It reads authorized keys in the home directory only, so it has one of its own.
pub struct Dropbear {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Dropbear {
    pub fn start(keys: &Sshd) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let stopped = Arc::new(AtomicBool::new(false));
        let (host, home) = (keys.file("host.dropbear"), keys.file("home"));
        let mut convert = Command::new("dropbearconvert");
        run(convert.args(["openssh", "dropbear"]).arg(keys.file("host")).arg(&host));
        std::fs::create_dir_all(home.join(".ssh")).expect("a folder");
        keys.write("home/.ssh/authorized_keys", &keys.read("authorized_keys"));
        run(Command::new("chmod").args(["-R", "go="]).arg(&home));
        serve(listener, stopped.clone(), move || {
            let mut dropbear = Command::new("unshare");
            let script = r#"mount --bind "$0" ~ && exec /usr/sbin/dropbear -i -r "$1""#;
            dropbear.args(["--mount", "sh", "-c", script]).arg(&home).arg(&host);
            dropbear
        });
        Self { address, stopped }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Dropbear {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}
