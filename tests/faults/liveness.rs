//! A running mirror of two repositories, and the liveness oracle: whatever happens to one source or to a process, what the good
//! source has released is published, a revoked token is refused, and the server answers, each within a bound.

use std::path::Path;
use std::time::{Duration, Instant};

use mirror::util::digest::Sha256;
use rustix::process::Signal;
use serde_json::Value;

use crate::fixture::{Fixture, Server, Verdict, children, send};
use crate::oracle::{self, Answers};
use crate::proxy::Proxy;
use crate::support::git_server::GitServer;
use crate::support::http::try_get_with;

/// Within this time everything has to happen, on a busy machine, too. A cycle with a source that stalls takes some seconds by its
/// configuration.
pub const BOUND: Duration = Duration::from_secs(45);

/// How often a cycle is requested whose fetch was too slow without a fault, on a busy machine.
const RETRY: Duration = Duration::from_secs(10);

/// How long the server may take for an answer, on a busy machine.
const ANSWER: Duration = Duration::from_secs(3);

/// The repository `acme` of the fixture, whose source `tool` is behind a proxy, and the private repository `closed`, which
/// shares its source `modules`.
pub struct Live {
    pub fixture: Fixture,
    pub proxy: Proxy,
    _git: GitServer,
    server: Option<Server>,
    /// How many versions were released after the first.
    releases: usize,
    /// The number of the token in the users file.
    token: usize,
}

impl Live {
    /// With one release published. Cycles that take longer than `deadline` fail.
    pub fn start(binary: &Path, deadline: &str) -> Verdict<Self> {
        let fixture = Fixture::new(binary).without_compression();
        let git = GitServer::start(&fixture.path("git"));
        let proxy = Proxy::start(git.port());
        let closed = format!(
            "  - {{name: closed, url: 'http://127.0.0.1:{}/closed/', recipe: ./closed.yaml, users: ./users}}\n",
            fixture.port
        );
        let build = "build: {workers: 1, parallel_repositories: 2}\n";
        let limits = format!("limits: {{cycle_deadline: {deadline}}}\nsnapshots: {{keep: 3, grace: 0s}}\n");
        fixture.adapt("mirror.yaml", "build: {workers: 1}\n", &format!("{closed}{build}{limits}"));
        let times = "parallel: 2\n  connect_timeout: 2s\n  timeout: 2s\n  total_timeout: 9s\n";
        fixture.adapt("mirror.yaml", "parallel: 1\n", times);
        let rewrite =
            format!("rewrite: {{'https://git.example/tool': 'http://127.0.0.1:{}/tool', ", proxy.port);
        fixture.adapt("mirror.yaml", "rewrite: {", &rewrite);
        fixture.write(
            "closed.yaml",
            "sources:\n  - {name: modules, git: 'https://git.example/modules', packages: [{each: app}]}\n",
        );
        fixture.release("1.0.0");
        let mut live = Self { fixture, proxy, _git: git, server: None, releases: 0, token: 0 };
        live.set_token();
        live.start_server()?;
        live.require("1.0.0")?;
        live.require_tool("1.0.0")?;
        live.require_success()?;
        Ok(live)
    }

    /// Starts the mirror, also after a kill.
    pub fn start_server(&mut self) -> Verdict {
        let (server, is_ready) = self.fixture.launch(self.fixture.mirror("run"), BOUND)?;
        self.server = Some(server);
        if is_ready { Ok(()) } else { Err(self.stuck("the mirror is ready")) }
    }

    pub fn server(&mut self) -> &mut Server {
        self.server.as_mut().expect("a running mirror")
    }

    /// Kills the mirror, and waits until the processes of its cycles have ended, too.
    pub fn kill_server(&mut self) -> Verdict {
        let server = self.server.take().expect("a running mirror");
        let children = children(server.id());
        server.signal(Signal::KILL);
        // One that stands still can only end when it continues.
        children.iter().for_each(|child| send(*child, Signal::CONT));
        let began = Instant::now();
        let survives = |child: &&u32| is_running(**child);
        while children.iter().any(|child| survives(&child)) && began.elapsed() < ANSWER {
            std::thread::sleep(Duration::from_millis(5));
        }
        let survivor = children.iter().find(survives);
        // It would keep the log open.
        survivor.into_iter().for_each(|child| send(*child, Signal::KILL));
        server.stop();
        match survivor {
            None => Ok(()),
            Some(child) => Err(format!("stuck: the process {child} of a cycle outlives its mirror")),
        }
    }

    /// Releases a version upstream, and makes cycles due.
    pub fn change(&mut self) -> String {
        self.releases += 1;
        let version = format!("2.{}.0", self.releases);
        self.fixture.release(&version);
        self.reload();
        version
    }

    fn set_token(&self) {
        let digest = Sha256::digest(token(self.token).as_bytes());
        self.fixture.write("users", &format!("ci:sha256:{digest}\n"));
    }

    /// Makes cycles of both repositories due, by loading the configuration again.
    pub fn reload(&self) {
        if let Some(server) = &self.server {
            server.signal(Signal::HUP);
        }
    }

    /// The oracle: the version of the good source is published in both repositories, and a token that is replaced then is refused, without
    /// another cycle or reload.
    pub fn require(&mut self, version: &str) -> Verdict {
        self.within(BOUND, &format!("{version} of the good source is published"), |live| {
            live.has_good("acme", version) && live.has_good("closed", version)
        })?;
        let old = self.token;
        self.token += 1;
        self.set_token();
        self.within(BOUND, "the revoked token is refused and the new one accepted", |live| {
            let status = |token| live.ask("/closed/packages.json", token).map(|(status, _)| status);
            status(old) == Some(401) && status(live.token) == Some(200)
        })
    }

    /// Without a fault, the version of the other source is published, too.
    pub fn require_tool(&mut self, version: &str) -> Verdict {
        let mut requested = Instant::now();
        self.within(BOUND, &format!("{version} of the other source is published"), |live| {
            let has_failed = live.error_of_tool().is_some();
            if has_failed && requested.elapsed() > RETRY && !live.is_recorded_as_running("acme") {
                live.reload();
                requested = Instant::now();
            }
            live.has_tool(version) && !has_failed
        })
    }

    /// Whether the metadata of a repository has a version of the good source.
    pub fn has_good(&self, repository: &str, version: &str) -> bool {
        let base = if repository == "acme" { "mirror" } else { repository };
        self.names(base, "a", version)
    }

    /// Whether a version of the bad source is published.
    pub fn has_tool(&self, version: &str) -> bool {
        self.names("mirror", "tool", version)
    }

    fn names(&self, base: &str, package: &str, version: &str) -> bool {
        let response = self.ask(&format!("/{base}/p2/acme/{package}.json"), self.token);
        let archive = format!("/{package}-{version}.zip\"");
        response.is_some_and(|(status, body)| status == 200 && body.contains(&archive))
    }

    /// Waits until something is so, and the mirror answers all the time.
    pub fn within(&mut self, bound: Duration, what: &str, mut is_so: impl FnMut(&Self) -> bool) -> Verdict {
        let began = Instant::now();
        loop {
            let asked = Instant::now();
            if oracle::status(self.fixture.port, "/-/healthz") != Some(200) || asked.elapsed() > ANSWER {
                return Err(self.stuck("the mirror answers"));
            }
            if is_so(self) {
                return Ok(());
            }
            if began.elapsed() > bound {
                return Err(self.stuck(&format!("{what}, within {bound:?}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn stuck(&mut self, what: &str) -> String {
        let log = self.server.take().map(Server::stop).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(25)..].join("\n");
        format!("stuck: this did not happen: {what}; the log ends with\n{last}")
    }

    /// The status and text of a path, for a token.
    fn ask(&self, path: &str, number: usize) -> Option<(u16, String)> {
        let headers = format!("Authorization: Bearer {}\r\n", token(number));
        let response = try_get_with(self.fixture.port, path, &headers)?;
        Some((response.status, String::from_utf8(response.body).ok()?))
    }

    /// Why the last cycle of a repository failed as a whole, and the number of recorded ones.
    pub fn runs(&self, repository: &str) -> (usize, Option<String>) {
        let record = self.record(repository);
        let runs = record["past"].as_array().map_or(&[][..], Vec::as_slice);
        let error = runs.last().and_then(|run| run["error"].as_str()).map(str::to_owned);
        (runs.len(), error)
    }

    pub fn is_recorded_as_running(&self, repository: &str) -> bool {
        !self.record(repository)["running"].is_null()
    }

    fn record(&self, repository: &str) -> Value {
        let file = self.fixture.data().join(repository).join("status/cycles.json");
        let text = std::fs::read(file).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The last cycles did not fail as a whole. Waits for those that run.
    pub fn require_success(&mut self) -> Verdict {
        for repository in ["acme", "closed"] {
            let what = format!("the cycle of `{repository}` ends");
            self.within(BOUND, &what, |live| !live.is_recorded_as_running(repository))?;
            if let (_, Some(error)) = self.runs(repository) {
                return Err(format!("the cycle failed as a whole: {error}"));
            }
        }
        Ok(())
    }

    /// What `mirror.json` says of the bad source.
    pub fn error_of_tool(&self) -> Option<String> {
        let (_, body) = oracle::below(self.fixture.port, "mirror.json")?;
        let document: Value = serde_json::from_slice(&body).ok()?;
        document["repository"]["sources"]["tool"]["error"].as_str().map(str::to_owned)
    }

    /// The first oracle: nothing is lost or changed.
    pub fn require_everything(&mut self) -> Verdict {
        let answers = Answers::of(self.fixture.port)?;
        self.fixture.oracle.require(&answers)?;
        self.fixture.oracle.admit(&answers)
    }
}

/// Longer than what can be guessed.
fn token(number: usize) -> String {
    format!("a-long-and-random-token-{number}")
}

pub fn is_running(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with('Z'))
}
