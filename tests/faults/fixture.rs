//! A mirror with its upstreams and its volume, and the program under test as a process.
//!
//! It is observed from outside: by exit codes, the log and HTTP responses.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::oracle::{Answers, Oracle};
use crate::support::env::TestEnv;
use crate::support::git::WorkTree;
use crate::support::{free_port, run};

/// The error of a class of faults describes the bug that it has found.
pub type Verdict<T = ()> = Result<T, String>;

pub struct Fixture {
    env: TestEnv,
    binary: PathBuf,
    pub modules: WorkTree,
    pub tool: WorkTree,
    pub port: u16,
    pub oracle: Oracle,
    data: PathBuf,
}

impl Fixture {
    /// With nothing published yet.
    pub fn new(binary: &Path) -> Self {
        let env = TestEnv::new();
        let fixture = Self {
            modules: env.upstream("modules"),
            tool: env.upstream("tool"),
            port: free_port(),
            oracle: Oracle::default(),
            data: env.path("data"),
            binary: binary.to_owned(),
            env,
        };
        fixture.configure();
        fixture
    }

    /// With some releases published and a template of the volume taken.
    pub fn published(binary: &Path, tags: &[&str]) -> Self {
        let mut fixture = Self::new(binary);
        tags.iter().for_each(|tag| fixture.release(tag));
        fixture.complete().expect("the first cycle");
        fixture.save();
        fixture
    }

    fn configure(&self) {
        let sources = "sources:\n  - {name: modules, git: 'https://git.example/modules', packages: [{each: app}]}\n  - {name: tool, git: 'https://git.example/tool', packages: [{one: ''}]}\n";
        self.env.write("recipe.yaml", sources);
        let configuration = format!(
            "data: '{data}'\nserve: {{listen: ['127.0.0.1:{port}'], notice: 0s, drain: 1s}}\nrepositories:\n  - {{name: acme, url: 'http://127.0.0.1:{port}/mirror/', recipe: ./recipe.yaml}}\nbuild: {{workers: 1}}\ngit:\n  parallel: 1\n  rewrite: {{'https://git.example/': 'file://{git}/'}}\n",
            data = self.data.display(),
            port = self.port,
            git = self.env.path("git").display(),
        );
        self.env.write("mirror.yaml", &configuration);
    }

    /// Moves the volume, for example to a file system of its own.
    pub fn move_data(&mut self, to: PathBuf) {
        self.data = to;
        self.configure();
    }

    /// Leaves compressed copies out, which most faults are not about and which take most of the time.
    pub fn without_compression(self) -> Self {
        self.adapt("mirror.yaml", "drain: 1s}", "drain: 1s, compression: none}");
        self
    }

    /// Replaces a text that occurs once in `mirror.yaml` or `recipe.yaml`.
    pub fn adapt(&self, file: &str, from: &str, to: &str) {
        let text = self.env.read(file);
        assert_eq!(text.matches(from).count(), 1, "`{from}` in {text}");
        self.env.write(file, &text.replace(from, to));
    }

    pub fn write(&self, file: &str, text: &str) {
        self.env.write(file, text);
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.env.path(name)
    }

    /// Tags a new state of both upstreams: three packages.
    pub fn release(&self, tag: &str) {
        let manifest = |name: &str| format!(r#"{{"name": "acme/{name}", "version": "{tag}"}}"#);
        for name in ["a", "b"] {
            self.modules
                .write(&format!("app/{name}/composer.json"), &manifest(name))
                .write(&format!("app/{name}/code.php"), &format!("<?php // {name} {tag}\n"));
        }
        self.modules.release(tag);
        self.tool
            .write("composer.json", &manifest("tool"))
            .write("bin/tool", &format!("#!/bin/sh\n# {tag}\n{}\n", "x".repeat(9000)));
        self.tool.release(tag);
    }

    /// Saves the volume for [`Fixture::restore`].
    pub fn save(&self) {
        copy(&self.data, &self.env.path("template"));
    }

    pub fn restore(&self) {
        copy(&self.env.path("template"), &self.data);
    }

    pub fn mirror(&self, command: &str) -> Command {
        self.arguments(Command::new(&self.binary), command)
    }

    /// `mirror` below another program, such as a tracer.
    pub fn mirror_below(&self, mut program: Command, command: &str) -> Command {
        program.arg(&self.binary);
        self.arguments(program, command)
    }

    fn arguments(&self, mut program: Command, command: &str) -> Command {
        program.arg(command).arg("--config").arg(self.env.path("mirror.yaml"));
        program.env_remove("RUST_LOG").stdin(Stdio::null());
        program
    }

    /// Runs a command that must succeed.
    pub fn run(&self, arguments: &[&str]) -> Verdict<Output> {
        let output = self.mirror(arguments[0]).args(&arguments[1..]).output().expect("mirror starts");
        match output.status.code() {
            Some(0) => Ok(output),
            _ => Err(format!("`mirror {}` failed: {}", arguments.join(" "), told(&output))),
        }
    }

    /// Runs a cycle that must succeed and adds what it publishes to the oracle.
    pub fn complete(&mut self) -> Verdict {
        let output = self.mirror("build").output().expect("mirror starts");
        if output.status.code() != Some(0) {
            return Err(format!("the cycle did not complete: {}", told(&output)));
        }
        let answers = self.observe()?;
        self.oracle.require(&answers)?;
        self.oracle.admit(&answers)
    }

    /// Checks a state before and after recovery: nothing is lost or changed, and a cycle completes.
    pub fn recover(&mut self) -> Verdict {
        if !self.oracle.is_empty() {
            let answers = self.observe().map_err(|e| format!("before recovery: {e}"))?;
            self.oracle.require(&answers).map_err(|e| format!("before recovery: {e}"))?;
            self.oracle.admit(&answers)?;
        }
        self.complete().map_err(|e| format!("after recovery: {e}"))
    }

    /// Serves the volume and returns everything that its metadata names.
    pub fn observe(&self) -> Verdict<Answers> {
        let server = self.serve()?;
        let answers = Answers::of(self.port);
        drop(server);
        answers
    }

    /// Starts `mirror serve`, and waits until it is ready.
    pub fn serve(&self) -> Verdict<Server> {
        let (server, ready) = self.serve_at_all()?;
        if ready { Ok(server) } else { Err(format!("not ready: {}", server.stop())) }
    }

    /// Starts `mirror serve`, which may have nothing to serve.
    pub fn serve_at_all(&self) -> Verdict<(Server, bool)> {
        // The server reads the volume at its start, and again only after a change.
        self.launch(self.mirror("serve"), Duration::from_secs(2))
    }

    /// Starts a command that serves, and waits until it is ready, for some time; answers whether it is.
    pub fn launch(&self, mut command: Command, patience: Duration) -> Verdict<(Server, bool)> {
        let started = Instant::now();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("mirror starts");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let mut text = String::new();
        while !text.contains("listening") {
            if log.read_line(&mut text).expect("the log") == 0 {
                let _ = child.wait();
                return Err(format!("the server did not start: {text}"));
            }
        }
        let log = std::thread::spawn(move || {
            let _ = std::io::Read::read_to_string(&mut log, &mut text);
            text
        });
        let mut server = Server { child, log: Some(log), ready_after: Duration::ZERO };
        loop {
            let ready = crate::oracle::status(self.port, "/-/readyz") == Some(200);
            server.ready_after = started.elapsed();
            if ready || server.ready_after > patience {
                return Ok((server, ready));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A running server, killed when it goes out of scope.
pub struct Server {
    child: Child,
    log: Option<std::thread::JoinHandle<String>>,
    pub ready_after: Duration,
}

impl Server {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub fn signal(&self, signal: Signal) {
        send(self.id(), signal);
    }

    /// Kills it with SIGKILL, and the processes that it has started, and returns its log.
    pub fn stop(mut self) -> String {
        // They write to the same log; one may stand still.
        let children = children(self.id());
        let _ = self.child.kill();
        children.into_iter().for_each(|child| send(child, Signal::KILL));
        let _ = self.child.wait();
        self.log.take().and_then(|log| log.join().ok()).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process, which may have ended.
pub fn send(process: u32, signal: Signal) {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    let _ = kill_process(process.expect("the id of a process"), signal);
}

/// The processes that a process has started and that still run, by its threads (proc(5)).
pub fn children(process: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
        .collect()
}

pub fn told(output: &Output) -> String {
    format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// Makes `to` equal to `from`; the folder itself stays, since it may be a mount point.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(to).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.is_symlink() {
            std::fs::remove_dir_all(path).expect("removed");
        } else {
            std::fs::remove_file(path).expect("removed");
        }
    }
    run(Command::new("cp").arg("-a").arg(from.join(".")).arg(to));
}
