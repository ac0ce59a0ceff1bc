//! Servers of others on ports of their own: each with a configuration in a folder of its own, as the user that runs the tests.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{free_port, missing, until};

/// A running server; it ends when it goes out of scope.
pub struct WebServer {
    dir: TempDir,
    port: u16,
    child: Child,
}

impl WebServer {
    /// Starts `program` in the foreground. `configuration` is given the folder and a free port, and its text becomes the file
    /// `conf`, which `arguments` name.
    pub fn start(
        program: &str,
        arguments: &dyn Fn(&Path) -> Vec<String>,
        configuration: &dyn Fn(&Path, u16) -> String,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        open_to_all(dir.path());
        let port = free_port();
        std::fs::write(dir.path().join("conf"), configuration(dir.path(), port)).unwrap();
        let log = std::fs::File::create(dir.path().join("output")).unwrap();
        let child = Command::new(program)
            .args(arguments(dir.path()))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}", missing(program, &error)));
        let mut server = Self { dir, port, child };
        until("the server listens", || {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "{program}: {ended:?} {}", server.output());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn output(&self) -> String {
        std::fs::read_to_string(self.file("output")).unwrap_or_default()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        // SIGTERM, so that it ends its children.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// Lets servers read a folder that give up the rights of root.
pub fn open_to_all(dir: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777)).unwrap();
}

/// Whether the tests run as root: servers want to become another user then.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
