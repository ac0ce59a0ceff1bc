//! Upstream repositories, a configuration and a data volume in a temporary folder, and the real program that uses them.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use super::git::WorkTree;
use super::{free_port, http, run, until};

pub struct TestEnv {
    folder: TempDir,
}

impl TestEnv {
    pub fn new() -> Self {
        let env = Self { folder: TempDir::new().unwrap() };
        std::fs::create_dir(env.path("git")).unwrap();
        env
    }

    /// A mirror that has only what is imported, and its port.
    pub fn importer() -> (Self, u16) {
        let (env, port) = (Self::new(), free_port());
        let configuration = format!(
            "data: {}\nserve: {{listen: ['127.0.0.1:{port}'], drain: 5s, notice: 0s}}\nrepositories:\n  - {{name: acme, url: 'http://127.0.0.1:{port}/mirror/', import: true}}\n",
            env.path("data").display()
        );
        env.write("mirror.yaml", &configuration);
        (env, port)
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A new upstream repository.
    pub fn upstream(&self, name: &str) -> WorkTree {
        WorkTree::init(self.path("git").join(name))
    }

    /// Writes a recipe with these sources, and a configuration that uses it.
    pub fn configure(&self, port: u16, sources: &str) {
        self.write("recipe.yaml", &format!("sources:\n{sources}"));
        self.write(
            "mirror.yaml",
            &format!(
                "data: {data}\nserve: {{listen: ['127.0.0.1:{port}'], drain: 5s, notice: 0s}}\nrepositories:\n  - {{name: acme, url: 'http://127.0.0.1:{port}/mirror/', recipe: ./recipe.yaml}}\ngit:\n  connect_timeout: 2s\n  timeout: 2s\n  rewrite: {{'https://git.example/': 'file://{git}/'}}\n",
                data = self.path("data").display(),
                git = self.path("git").display(),
            ),
        );
    }

    /// The program with these arguments and this configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut mirror = Command::new(env!("CARGO_BIN_EXE_mirror"));
        mirror.args(arguments).arg("--config").arg(self.path("mirror.yaml"));
        mirror.env_remove("RUST_LOG");
        mirror
    }

    /// Runs `mirror` with this configuration.
    pub fn mirror(&self, command: &str) -> Output {
        self.command(&[command]).output().unwrap()
    }

    /// Runs `mirror build`, which must end with `code`, and returns its log.
    pub fn build(&self, code: i32) -> String {
        let output = self.mirror("build");
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{log}");
        log
    }

    /// Starts `mirror run` or `mirror serve` and waits until it is ready.
    pub fn serve(&self, command: &str, port: u16) -> MirrorProcess {
        let process = self.start(command);
        until("it is ready", || http::is_ready(port));
        process
    }

    /// Starts `mirror run` or `mirror serve` and waits until it listens. Its log goes to the file `log`.
    pub fn start(&self, command: &str) -> MirrorProcess {
        let mut child = self.command(&[command]).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.lines().last().is_some_and(|last| last.contains("listening")) {
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "mirror ended before it listened: {line}");
        }
        let mut file = File::create(self.path("log")).unwrap();
        std::thread::spawn(move || std::io::copy(&mut log, &mut file));
        MirrorProcess::new(child)
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
pub struct MirrorProcess {
    child: Child,
}

impl MirrorProcess {
    pub fn new(child: Child) -> Self {
        Self { child }
    }

    pub fn signal(&self, signal: &str) {
        run(Command::new("kill").args(["-s", signal, &self.child.id().to_string()]));
    }

    /// Stops all its threads until SIGCONT. The signal alone does not suffice: on a busy machine some run on for a while.
    pub fn suspend(&self) {
        self.signal("STOP");
        until("every thread is stopped", || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
            threads.map(|thread| thread.unwrap().path()).all(|thread| {
                let stat = std::fs::read_to_string(thread.join("stat")).unwrap_or_default();
                stat.rsplit(") ").next().is_some_and(|state| state.starts_with('T'))
            })
        });
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The processes that it has started and that still run.
    pub fn children(&self) -> Vec<u32> {
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let id = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            // proc(5): the state and the parent follow the name in parentheses.
            let mut fields = stat.rsplit(") ").next()?.split(' ');
            let (state, parent) = (fields.next()?, fields.next()?);
            (state != "Z" && parent == self.id().to_string()).then_some(id)
        });
        processes.collect()
    }

    /// Waits until it has started one process, and returns that one.
    pub fn child(&self) -> u32 {
        let mut children = Vec::new();
        until("a process is started", || {
            children = self.children();
            !children.is_empty()
        });
        assert_eq!(children.len(), 1);
        children[0]
    }

    /// Waits until it ends by itself, and returns the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Sends SIGTERM and returns the exit code.
    pub fn stop(mut self) -> Option<i32> {
        run(Command::new("kill").arg(self.child.id().to_string()));
        self.child.wait().unwrap().code()
    }
}

impl Drop for MirrorProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
