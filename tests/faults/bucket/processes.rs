//! The program with a bucket: a mirror, its replica and the object store are killed at random moments, mirrors race, and requests
//! fail. What the replica answers is published, or was before; what `mirror build` reported as published stays, and when the fault
//! is over, the next build is published and served. The seed determines all but the moments of kills.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use mirror::bucket::reader::{LoadedState, read_state};
use mirror::bucket::root::Root;
use mirror::bucket::{Bucket, Condition, Upload};
use mirror::util::digest::Sha256;

use super::{plan, published};
use crate::Figures;
use crate::fixture::{Fixture, Server, Verdict, children, copy, send, told};
use crate::liveness::BOUND;
use crate::oracle::{self, Answers};
use crate::support::failing_proxy::{FailingProxy, Fault, Plan};
use crate::support::object_store::{ObjectStore, configure_in, open};
use crate::workers;

/// After so many faults a worker begins with new mirrors, since cycles of many versions take longer.
const FAULTS_PER_MIRROR: usize = 20;

/// In microseconds, longer than most builds with an upload take whose requests are delayed.
const BUILD: u64 = 3_000_000;

/// How the log names a failing bucket.
const FAILED: &str = "failed to publish to the bucket";

/// Mirrors that race.
const RACERS: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Network,
    KilledBuild,
    /// Of `mirror run`, with the process that uploads.
    KilledMirror,
    KilledReplica,
    Race(usize),
    KilledStore,
}

const KINDS: [Kind; 16] = [
    Kind::Network,
    Kind::KilledBuild,
    Kind::KilledReplica,
    Kind::Race(2),
    Kind::KilledMirror,
    Kind::Network,
    Kind::KilledBuild,
    Kind::Race(4),
    Kind::KilledReplica,
    Kind::Network,
    Kind::KilledMirror,
    Kind::KilledBuild,
    Kind::Race(2),
    Kind::KilledMirror,
    Kind::Network,
    Kind::KilledStore,
];

pub fn faults(binary: &Path, most: usize) -> Verdict<Figures> {
    let store = RwLock::new(ObjectStore::start_seaweed());
    let port = store.read().expect("no panic").port;
    let prepare = || Ok((Mirrors::start(binary, port)?, 0));
    workers::each(&workers::seeds(most), 2, prepare, |(mirrors, faults), seed, figures| {
        if *faults == FAULTS_PER_MIRROR {
            *mirrors = Mirrors::start(binary, port)?;
            *faults = 0;
        }
        *faults += 1;
        let mut rng = Rng::with_seed(*seed);
        // Each comes up in turn.
        let kind = KINDS[*seed as usize % KINDS.len()];
        match kind {
            Kind::KilledStore => {
                let mut store = store.write().expect("no panic");
                mirrors.kill_store(&mut store, &mut rng, figures)
            }
            _ => {
                let _others = store.read().expect("no panic");
                mirrors.inject(&mut rng, kind, figures)
            }
        }
        .map_err(|why| workers::with_seed(*seed, &format!("{kind:?}: {why}")))
    })
}

/// A mirror that publishes to a bucket, a replica that serves from there, and mirrors that race with the first one.
struct Mirrors {
    builder: Fixture,
    replica: Fixture,
    replica_server: Option<Server>,
    racers: Vec<Fixture>,
    proxy: FailingProxy,
    /// Without faults.
    bucket: Bucket,
    releases: usize,
    /// The ledger that was last reported as published.
    told: Vec<u8>,
    /// What the bucket ever published, by path: what the replica may answer.
    published: BTreeMap<String, BTreeSet<Sha256>>,
    /// The nonces of roots whose states are among it.
    admitted: BTreeSet<String>,
}

impl Mirrors {
    fn start(binary: &Path, store: u16) -> Verdict<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("mirrors-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let proxy = FailingProxy::start(store, 0);
        let fixture = || Fixture::new(binary).without_compression();
        let builder = fixture();
        let replica = fixture();
        let racers: Vec<_> = (1..RACERS).map(|_| fixture()).collect();
        let git = builder.path("git");
        for mirror in racers.iter().chain([&builder, &replica]) {
            // All have the URL of the replica, and the upstreams of the builder.
            mirror.adapt(
                "mirror.yaml",
                &format!("'{}'", url(mirror.port)),
                &format!("'{}'", url(replica.port)),
            );
            let own = format!("file://{}/", mirror.path("git").display());
            mirror.adapt("mirror.yaml", &own, &format!("file://{}/", git.display()));
            configure_in(&mirror.path(""), &prefix, proxy.port, ", poll: 1s");
        }
        let mut mirrors = Self {
            bucket: open(&prefix, store),
            replica_server: None,
            builder,
            replica,
            racers,
            proxy,
            releases: 0,
            told: Vec::new(),
            published: BTreeMap::new(),
            admitted: BTreeSet::new(),
        };
        mirrors.release();
        mirrors.build_well()?;
        mirrors.start_replica()?;
        mirrors.require_served()?;
        Ok(mirrors)
    }

    fn inject(&mut self, rng: &mut Rng, kind: Kind, figures: &mut Figures) -> Verdict {
        self.release();
        let stop = AtomicBool::new(false);
        let (port, paths) = (self.replica.port, self.paths());
        let (done, asked) = std::thread::scope(|scope| {
            let client = scope.spawn(|| ask(port, &paths, &stop));
            let done = self.hurt(rng, kind, figures);
            stop.store(true, Ordering::Relaxed);
            (done, client.join().expect("the client"))
        });
        let spoiled = self.proxy.set(None);
        done?;
        figures.count("spoiled requests", spoiled);
        self.recover()?;
        self.judge(&asked, figures)
    }

    /// Makes a fault happen.
    fn hurt(&mut self, rng: &mut Rng, kind: Kind, figures: &mut Figures) -> Verdict {
        match kind {
            Kind::Network => {
                self.proxy.set(Some(plan(rng)));
                let end = self.build();
                figures.faults += 1;
                self.hear(&end, figures)
            }
            Kind::KilledBuild => {
                self.proxy.set(Some(slow(rng)));
                let mut mirror = self.builder.mirror("build");
                let mut child =
                    mirror.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("mirror starts");
                pause(rng);
                let was_running = child.try_wait().expect("a child").is_none();
                child.kill().expect("killed");
                let _ = child.wait();
                figures.faults += usize::from(was_running);
                figures.count("killed builds", usize::from(was_running));
                Ok(())
            }
            Kind::KilledMirror => {
                self.proxy.set(Some(slow(rng)));
                // It may be killed before it is ready.
                let (server, _) = self.builder.launch(self.builder.mirror("run"), Duration::ZERO)?;
                pause(rng);
                for child in children(server.id()) {
                    if rng.bool() {
                        send(child, rustix::process::Signal::KILL);
                    }
                }
                server.stop();
                figures.faults += 1;
                figures.count("killed mirrors", 1);
                Ok(())
            }
            Kind::KilledReplica => {
                self.proxy.set(Some(plan(rng)));
                let end = self.build();
                self.hear(&end, figures)?;
                self.replica_server.take();
                figures.faults += 1;
                figures.count("killed replicas", 1);
                self.start_replica()
            }
            Kind::Race(mirrors) => {
                let plan = rng.bool().then(|| plan(rng));
                self.proxy.set(plan);
                figures.faults += 1;
                self.race(mirrors, figures)
            }
            Kind::KilledStore => unreachable!("it has a function of its own"),
        }
    }

    /// Kills the store in an upload, and starts it again.
    fn kill_store(&mut self, store: &mut ObjectStore, rng: &mut Rng, figures: &mut Figures) -> Verdict {
        self.release();
        self.proxy.set(Some(slow(rng)));
        let mut mirror = self.builder.mirror("build");
        let build = mirror.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("mirror starts");
        pause(rng);
        store.kill();
        figures.faults += 1;
        figures.count("killed stores", 1);
        let end = build.wait_with_output().expect("an end");
        self.hear(&end, figures)?;
        self.proxy.set(None);
        store.restart();
        let began = Instant::now();
        let ready = Upload::new(&b"ready"[..], Default::default());
        while self.bucket.put("ready", &ready, Condition::Always).is_err() {
            if began.elapsed() > BOUND * 2 {
                return Err("the store does not come back".into());
            }
        }
        self.recover()
    }

    /// Lets copies of the volume build the same release, and publish it.
    fn race(&mut self, mirrors: usize, figures: &mut Figures) -> Verdict {
        let racers = &self.racers[..mirrors - 1];
        for (number, racer) in racers.iter().enumerate() {
            copy(self.builder.data(), racer.data());
            let marker = racer.data().join("STORE");
            let text = std::fs::read_to_string(&marker).expect("a volume");
            let other_id = |line: &str| match line.starts_with("id ") {
                true => format!("id {:032x}\n", number + 1),
                false => format!("{line}\n"),
            };
            std::fs::write(&marker, text.lines().map(other_id).collect::<String>()).expect("written");
        }
        let all: Vec<_> = racers.iter().chain([&self.builder]).collect();
        let running: Vec<_> = all
            .iter()
            .map(|racer| racer.mirror("build").stderr(Stdio::piped()).spawn().expect("mirror starts"))
            .collect();
        let ends: Vec<_> =
            running.into_iter().map(|racer| racer.wait_with_output().expect("an end")).collect();
        let now = self.read()?.map_or_else(Vec::new, |loaded| loaded.ledger_text().to_vec());
        let mut won = 0;
        for (racer, end) in all.iter().zip(&ends) {
            match end.status.code() {
                Some(0) if now.starts_with(&ledger(racer)) => won += 1,
                Some(0) => {
                    return Err(format!("lost: a racer was told that it had published; {}", told(end)));
                }
                Some(1) if names_bucket(end) => {}
                _ => return Err(format!("a racer failed otherwise: {}", told(end))),
            }
        }
        figures.count("races", 1);
        figures.count("racers that published", won);
        figures.count("racers that did not", mirrors - won);
        // The mirror goes on from the volume whose ledger is published, as after a restoration.
        let winner = all.iter().find(|racer| ledger(racer).starts_with(&now));
        let Some(winner) = winner else {
            return Err(format!("forked: no racer has the ledger that is published\n{}", told(&ends[0])));
        };
        if winner.port != self.builder.port {
            copy(winner.data(), self.builder.data());
            figures.count("restored", 1);
        }
        if won > 0 {
            self.told = now;
        }
        Ok(())
    }

    fn release(&mut self) {
        self.releases += 1;
        self.builder.release(&format!("2.{}.0", self.releases));
    }

    fn build(&self) -> Output {
        self.builder.mirror("build").output().expect("mirror starts")
    }

    /// A build whose network fails is published, or names the bucket.
    fn hear(&mut self, end: &Output, figures: &mut Figures) -> Verdict {
        match end.status.code() {
            Some(0) => {
                figures.count("withstood", 1);
                self.told = ledger(&self.builder);
                Ok(())
            }
            Some(1) if names_bucket(end) => {
                figures.count("named", 1);
                let log = String::from_utf8_lossy(&end.stderr);
                log.lines().filter(|line| line.contains(FAILED)).try_for_each(super::require_passing)
            }
            _ => Err(format!("the build failed otherwise: {}", told(end))),
        }
    }

    /// Everything that is published, from outside.
    fn read(&self) -> Verdict<Option<Box<LoadedState>>> {
        published::read(&self.bucket, &self.told)
    }

    /// Before and after recovery everything is there; the next build is published, and the replica serves it.
    fn recover(&mut self) -> Verdict {
        let before = self.read().map_err(|why| format!("before recovery: {why}"))?;
        if let Some(before) = before {
            self.admit(&before)?;
            if !ledger(&self.builder).starts_with(before.ledger_text()) {
                return Err("forked: the volume does not continue what is published".into());
            }
        }
        self.build_well()?;
        self.require_served()
    }

    /// A build without a fault, which must be published.
    fn build_well(&mut self) -> Verdict {
        let began = Instant::now();
        let end = self.build();
        if end.status.code() != Some(0) || began.elapsed() > BOUND {
            return Err(format!("stuck: the build without a fault: {:?}, {}", began.elapsed(), told(&end)));
        }
        self.told = ledger(&self.builder);
        let loaded = self.read()?.ok_or("lost: nothing is published")?;
        if loaded.ledger_text()[..] != self.told {
            return Err("lost: the bucket has another ledger than the volume".into());
        }
        let manifest = std::fs::read(self.builder.data().join("acme/current/manifest.json"));
        let manifest: serde_json::Value =
            serde_json::from_slice(&manifest.expect("a snapshot")).expect("a manifest");
        if serde_json::to_value(&loaded.state.snapshot).expect("a manifest") != manifest {
            return Err("stuck: the bucket has another snapshot than the volume".into());
        }
        if self.releases.is_multiple_of(FAULTS_PER_MIRROR) {
            published::require_archives(&self.bucket, &loaded)?;
        }
        self.admit(&loaded)
    }

    /// Adds what is published, and what was since the last time, to what the replica may answer.
    fn admit(&mut self, loaded: &LoadedState) -> Verdict {
        let root = loaded.root();
        let mut states = vec![loaded.state.snapshot.clone()];
        for replaced in root.replaced.iter().filter(|replaced| !self.admitted.contains(&replaced.nonce)) {
            let replaced = Root { snapshot: replaced.snapshot, ..root.clone() };
            let state = read_state(&self.bucket, &replaced).map_err(|error| format!("lost: {error:#}"))?;
            states.push(state.snapshot);
        }
        self.admitted.extend(root.replaced.iter().map(|replaced| replaced.nonce.clone()));
        for manifest in &states {
            let files = manifest.files.iter().map(|(path, file)| (path.clone(), file.sha256));
            let archives = loaded.ledger().archives(|release| manifest.serves(release));
            let archives = archives.map(|(release, _)| (release.path(), release.sha256));
            for (path, sha256) in files.chain(archives) {
                self.published.entry(path).or_default().insert(sha256);
            }
        }
        Ok(())
    }

    fn start_replica(&mut self) -> Verdict {
        let (server, is_ready) = self.replica.launch(self.replica.mirror("serve"), BOUND)?;
        match is_ready {
            true => {
                self.replica_server = Some(server);
                Ok(())
            }
            false => Err(format!("stuck: the replica is not ready: {}", server.stop())),
        }
    }

    /// The replica serves what the volume has, within a bound.
    fn require_served(&mut self) -> Verdict {
        let expected = std::fs::read(self.builder.data().join("acme/current/packages.json")).expect("a file");
        let began = Instant::now();
        let is_served = || {
            let answer = oracle::below(self.replica.port, "packages.json");
            answer.is_some_and(|(status, body)| status == 200 && body == expected)
        };
        while !is_served() {
            if began.elapsed() > BOUND {
                let log = self.replica_server.take().map(Server::stop).unwrap_or_default();
                return Err(format!("stuck: the replica does not follow: {log}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let answers = Answers::of(self.replica.port)?;
        self.replica.oracle.require(&answers)?;
        self.replica.oracle.admit(&answers)
    }

    /// What the replica is asked for while something fails: what it had before, and what comes now.
    fn paths(&self) -> Vec<String> {
        let version = format!("2.{}.0", self.releases);
        let new = ["a", "b", "tool"].map(|name| format!("packages/acme/{name}-{version}.zip"));
        self.published.keys().cloned().chain(new).collect()
    }

    /// What the replica has answered is published, or was.
    fn judge(&self, asked: &[(String, Sha256)], figures: &mut Figures) -> Verdict {
        figures.count("answers of the replica meanwhile", asked.len());
        let wrong = asked.iter().find(|(path, sha256)| {
            !self.published.get(path).is_some_and(|published| published.contains(sha256))
        });
        match wrong {
            Some((path, _)) => {
                Err(format!("wrong bytes: the replica has answered something else for {path}"))
            }
            None => Ok(()),
        }
    }
}

/// Requests paths until it is stopped, and returns the digests of what was answered with 200.
fn ask(port: u16, paths: &[String], stop: &AtomicBool) -> Vec<(String, Sha256)> {
    let mut answers = Vec::new();
    for path in paths.iter().rev().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if let Some((200, body)) = oracle::below(port, path) {
            answers.push((path.clone(), Sha256::digest(&body)));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    answers
}

/// Every request is late, and some fail.
fn slow(rng: &mut Rng) -> Plan {
    let failing = rng.bool();
    let kinds: &[Fault] =
        if failing { &[Fault::Delay, Fault::Delay, Fault::LoseAnswer] } else { &[Fault::Delay] };
    Plan { seed: rng.u64(..), kinds, only: "", share: 1000, most: usize::MAX }
}

fn pause(rng: &mut Rng) {
    std::thread::sleep(Duration::from_micros(rng.u64(0..BUILD)));
}

fn names_bucket(end: &Output) -> bool {
    String::from_utf8_lossy(&end.stderr).contains(FAILED)
}

fn ledger(mirror: &Fixture) -> Vec<u8> {
    std::fs::read(mirror.data().join("acme/ledger.jsonl")).unwrap_or_default()
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/mirror/")
}
