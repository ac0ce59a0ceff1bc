//! Real git repositories and the real binary, in a temporary folder.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Waits until `is` holds, which a busy machine may take long for.
pub fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is() {
        assert!(Instant::now() < deadline, "{what}: not within two minutes");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a program that must succeed, and answers what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}: is it installed? tests/run installs it"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// A folder with upstream repositories, a configuration and a data volume.
pub struct Lab {
    folder: TempDir,
}

impl Lab {
    pub fn new() -> Self {
        let lab = Self {
            folder: TempDir::new().unwrap(),
        };
        std::fs::create_dir(lab.path("git")).unwrap();
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A new upstream repository.
    pub fn upstream(&self, name: &str) -> Upstream {
        let upstream = Upstream {
            folder: self.path("git").join(name),
        };
        run(Command::new("git")
            .args(["init", "-q", "-b", "main"])
            .arg(&upstream.folder));
        upstream
    }

    /// A recipe with one source `upstream` by the given rules, and a configuration that uses it.
    pub fn configure(&self, port: u16, sources: &str) {
        self.write("recipe.yaml", &format!("sources:\n{sources}"));
        self.write(
            "mirror.yaml",
            &format!(
                "data: {data}\nserve: {{listen: ['127.0.0.1:{port}'], drain: 5s}}\nrepositories:\n  - {{name: acme, url: 'http://127.0.0.1:{port}/mirror/', recipe: ./recipe.yaml}}\ngit:\n  connect_timeout: 2s\n  timeout: 2s\n  rewrite: {{'https://git.example/': 'file://{git}/'}}\n",
                data = self.path("data").display(),
                git = self.path("git").display(),
            ),
        );
    }

    /// Runs `mirror` with this configuration.
    pub fn mirror(&self, command: &str) -> Output {
        let mut mirror = Command::new(env!("CARGO_BIN_EXE_mirror"));
        mirror
            .arg(command)
            .arg("--config")
            .arg(self.path("mirror.yaml"))
            .env_remove("RUST_LOG")
            .output()
            .unwrap()
    }

    /// Runs `mirror build`, which must end with `code`, and answers its log.
    pub fn build(&self, code: i32) -> String {
        let output = self.mirror("build");
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{log}");
        log
    }

    /// Starts `mirror run` or `mirror serve` and waits until it is ready.
    pub fn serve(&self, command: &str, port: u16) -> Running {
        let running = self.start(command);
        until("it is ready", || get(port, "/-/readyz").status == 200);
        running
    }

    /// Starts `mirror run` or `mirror serve` and waits until it listens.
    pub fn start(&self, command: &str) -> Running {
        let mut mirror = Command::new(env!("CARGO_BIN_EXE_mirror"));
        mirror
            .arg(command)
            .arg("--config")
            .arg(self.path("mirror.yaml"))
            .stderr(Stdio::piped());
        let mut child = mirror.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            assert_ne!(
                log.read_line(&mut line).unwrap(),
                0,
                "mirror ended before it listened"
            );
        }
        let mut file = std::fs::File::create(self.path("log")).unwrap();
        std::thread::spawn(move || std::io::copy(&mut log, &mut file));
        Running { child }
    }

    /// Path, modification time and size of everything on the volume but the record of cycles.
    pub fn volume(&self) -> String {
        run(Command::new("find").arg(self.path("data")).args([
            "-name",
            "status",
            "-prune",
            "-o",
            "-printf",
            "%P %T@ %s %i\n",
        ]))
    }
}

/// A running `mirror`, killed when it goes out of scope.
pub struct Running {
    child: Child,
}

impl Running {
    pub fn of(child: Child) -> Self {
        Self { child }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        run(Command::new("kill").args(["-s", signal, &self.child.id().to_string()]));
    }

    /// Stops all its threads until SIGCONT. The signal alone does not: a busy machine lets some run on for a while.
    pub fn suspend(&self) {
        self.signal("STOP");
        until("every thread stands still", || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
            threads.map(|thread| thread.unwrap().path()).all(|thread| {
                let stat = std::fs::read_to_string(thread.join("stat")).unwrap_or_default();
                stat.rsplit(") ")
                    .next()
                    .is_some_and(|state| state.starts_with('T'))
            })
        });
    }

    /// Sends SIGTERM and answers the exit code.
    pub fn stop(mut self) -> Option<i32> {
        run(Command::new("kill").arg(self.child.id().to_string()));
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A git repository with a work tree.
pub struct Upstream {
    pub folder: PathBuf,
}

impl Upstream {
    pub fn git(&self, arguments: &[&str]) -> String {
        let date = "2024-05-06T07:08:09+02:00";
        let mut git = Command::new("git");
        git.current_dir(&self.folder).args([
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "commit.gpgsign=false",
        ]);
        run(git
            .args(arguments)
            .env("GIT_AUTHOR_DATE", date)
            .env("GIT_COMMITTER_DATE", date))
    }

    pub fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Commits all that is there and tags it.
    pub fn release(&self, tag: &str) -> &Self {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", tag]);
        self.git(&["tag", "-f", tag]);
        self
    }
}

/// A port that is free now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// An HTTP response: status, head and body.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let line = self
            .head
            .lines()
            .find(|line| line.to_lowercase().starts_with(&format!("{name}: ")))?;
        line.split_once(": ").map(|(_, value)| value.trim())
    }
}

/// Sends one request over a socket of its own.
pub fn request(port: u16, method: &str, path: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"
    )
    .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("a response");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head,
        body: bytes[end + 4..].to_vec(),
    }
}

pub fn get(port: u16, path: &str) -> Answer {
    request(port, "GET", path, "")
}

/// The real Composer client, in a project folder with a home of its own.
pub struct Project<'a> {
    pub folder: &'a Path,
}

impl Project<'_> {
    pub fn composer(&self, arguments: &[&str]) -> String {
        let mut composer = Command::new("composer");
        composer
            .current_dir(self.folder)
            .args(arguments)
            .args(["--no-interaction", "--no-ansi"]);
        composer
            .env("COMPOSER_HOME", self.folder.join(".home"))
            .env("COMPOSER_ALLOW_SUPERUSER", "1");
        let output = composer.output().expect("composer is installed by tests/run");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "composer {arguments:?}\n{text}");
        text
    }
}
