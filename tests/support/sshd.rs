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
        let path = std::env::var("PATH").unwrap_or_default();
        let config = format!(
            "HostKey {host}\nAuthorizedKeysFile {keys}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n\
             PasswordAuthentication yes\nSetEnv PATH={path}\n",
            host = server.file("host").display(),
            keys = server.file("authorized_keys").display(),
        );
        server.write("sshd_config", &config);
        let config = server.file("sshd_config");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let socket = OwnedFd::from(stream.expect("a connection"));
                let output = socket.try_clone().expect("a descriptor");
                let mut child = Command::new(SSHD)
                    .args(["-i", "-f"])
                    .arg(&config)
                    .stdin(Stdio::from(socket))
                    .stdout(Stdio::from(output))
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("sshd starts");
                std::thread::spawn(move || child.wait());
            }
        });
        server
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
        let user = run(Command::new("id").arg("-un"));
        format!("ssh://{}@{}{}", user.trim(), self.address, repository.display())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}
