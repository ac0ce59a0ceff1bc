//! A read error, or the premature end of a file or a folder, at each system call that reads the volume, an upstream, a bundle or a
//! backup: the cycle or command says so, nothing disappears from the metadata, nothing changes, and the next one completes.
//!
//! `FAULTS_AT` repeats one fault, as a violation names it: `update openat error=EIO 17`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use mirror::util::digest::Sha256;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::fixture::{Fixture, Verdict, children, copy, send, told};
use crate::property::shelf;
use crate::{Figures, error, oracle, trace, workers};

/// System calls that read.
const READING: [&str; 11] = [
    "read",
    "pread64",
    "openat",
    "getdents64",
    "statx",
    "newfstatat",
    "fstat",
    "lstat",
    "stat",
    "access",
    "readlink",
];

/// Calls that can also end too early, with nothing. strace cannot shorten what they give.
const ENDING: [&str; 3] = ["read", "pread64", "getdents64"];

struct Situation {
    name: &'static str,
    prepare: fn(&Path) -> Fixture,
    /// The command and its arguments; `BUNDLE` is what it reads beside the volume.
    command: &'static [&'static str],
    /// Whether `mirror run` runs the cycle, in a process of its own.
    is_run: bool,
}

const SITUATIONS: &[Situation] = &[
    Situation { name: "update", prepare: updated, command: BUILD, is_run: false },
    // Nothing is new, but all archives are read.
    Situation { name: "render", prepare: rendered, command: BUILD, is_run: false },
    Situation {
        name: "first",
        prepare: |binary| {
            let fixture = Fixture::new(binary).without_compression();
            std::fs::create_dir(fixture.data()).expect("a folder");
            fixture.release("1.0.0");
            fixture.release("1.1.0");
            fixture.save();
            fixture
        },
        command: BUILD,
        is_run: false,
    },
    Situation {
        name: "rollback",
        prepare: |binary| {
            let fixture = updated(binary);
            fixture.run(&["rollback"]).expect("a rollback");
            fixture.save();
            fixture
        },
        command: BUILD,
        is_run: false,
    },
    Situation { name: "import", prepare: importing, command: &["import", BUNDLE], is_run: false },
    Situation { name: "restore", prepare: restoring, command: &["restore", "--from", BUNDLE], is_run: false },
    Situation { name: "run", prepare: interrupted, command: BUILD, is_run: true },
];

const BUILD: &[&str] = &["build"];

/// Below the fixture's folder.
const BUNDLE: &str = "bundle";

/// Three releases of which the newest is not published yet, and one version that is withdrawn.
fn updated(binary: &Path) -> Fixture {
    let fixture = Fixture::new(binary).without_compression();
    fixture.release("1.0.0");
    fixture.release("1.1.0");
    fixture.run(&["build"]).expect("a cycle");
    fixture.run(&["withdraw", "acme/tool", "1.0.0", "--reason", "a test"]).expect("a withdrawal");
    fixture.release("1.2.0");
    fixture.save();
    fixture
}

fn rendered(binary: &Path) -> Fixture {
    let fixture = updated(binary);
    fixture.run(&["build"]).expect("a cycle");
    let with_note = "notes: [{package: acme/a, note: a test}]\nsources:";
    fixture.adapt("recipe.yaml", "sources:", with_note);
    fixture.save();
    fixture
}

/// A mirror that has imported two releases, and a bundle with what was released since.
fn importing(binary: &Path) -> Fixture {
    let fixture = Fixture::new(binary).without_compression();
    fixture.adapt("mirror.yaml", "recipe: ./recipe.yaml", "import: true");
    let origin = updated(binary);
    let bundle = fixture.path(BUNDLE).display().to_string();
    origin.run(&["export", &bundle]).expect("an export");
    fixture.run(&["import", &bundle]).expect("an import");
    fixture.save();
    origin.run(&["build"]).expect("a cycle");
    origin.run(&["export", &bundle, "--since", "6"]).expect("an export");
    fixture
}

/// An empty mirror, and the backup of another one.
fn restoring(binary: &Path) -> Fixture {
    let fixture = Fixture::new(binary).without_compression();
    fixture.adapt("mirror.yaml", "recipe: ./recipe.yaml", "import: true");
    let origin = updated(binary);
    std::fs::create_dir(fixture.data()).expect("a folder");
    copy(&origin.data().join("acme"), &fixture.path(BUNDLE));
    fixture.save();
    fixture
}

/// A cycle that was interrupted is due at once.
fn interrupted(binary: &Path) -> Fixture {
    let fixture = updated(binary);
    let history = fixture.data().join("acme/status/cycles.json");
    let text = std::fs::read(&history).expect("a record");
    let mut record: Value = serde_json::from_slice(&text).expect("a record");
    record["running"] = json!("2026-01-01T00:00:00Z");
    std::fs::write(&history, record.to_string()).expect("written");
    fixture.save();
    fixture
}

impl Situation {
    /// A cycle or another command below strace.
    fn cycle(&self, fixture: &Fixture, strace: Command) -> Verdict<Output> {
        let command = self.command(fixture);
        match self.is_run {
            true => first_cycle(fixture, strace),
            false => {
                let mut mirror = fixture.mirror_below(strace, &command[0]);
                Ok(mirror.args(&command[1..]).output().expect("strace starts"))
            }
        }
    }

    /// The same without a fault.
    fn complete(&self, fixture: &Fixture) -> Verdict {
        let command = self.command(fixture);
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        fixture.run(&command).map(drop)
    }

    fn command(&self, fixture: &Fixture) -> Vec<String> {
        let bundle = fixture.path(BUNDLE).display().to_string();
        self.command.iter().map(|word| word.replace(BUNDLE, &bundle)).collect()
    }
}

struct Fault {
    situation: &'static Situation,
    call: String,
    what: &'static str,
    /// Which calls of a thread, as strace's `when`.
    when: String,
}

impl Fault {
    fn name(&self) -> String {
        format!("{} {} {} {}", self.situation.name, self.call, self.what, self.when)
    }
}

/// `most` of the faults that are possible, chosen by `FAULTS_SEED`.
pub fn at_each_read(binary: &Path, most: usize) -> Verdict<Figures> {
    let only = std::env::var("FAULTS_AT").unwrap_or_default();
    let mut faults = Vec::new();
    for situation in SITUATIONS.iter().filter(|situation| only.is_empty() || only.starts_with(situation.name))
    {
        faults.extend(possible(binary, situation)?);
    }
    Rng::with_seed(workers::seeds(1)[0]).shuffle(&mut faults);
    faults.retain(|fault| only.is_empty() || fault.name() == only);
    if faults.is_empty() {
        return Err(format!("`{only}` is no fault"));
    }
    faults.truncate(most);
    // A worker prepares each situation when it first needs it.
    let prepare = || Ok(BTreeMap::new());
    let mut figures = workers::each(&faults, 1, prepare, |prepared, fault, figures| {
        let case: &mut Case = match prepared.entry(fault.situation.name) {
            Entry::Occupied(case) => case.into_mut(),
            Entry::Vacant(place) => place.insert(Case::new(binary, fault.situation)?),
        };
        let at = |why: String| format!("{why}\nFAULTS_AT='{}' repeats it", fault.name());
        case.inject(fault, figures).map_err(at)
    })?;
    figures.count("chosen", faults.len());
    Ok(figures)
}

/// The faults of a situation, at the calls that its cycle makes on the volume and the upstreams.
fn possible(binary: &Path, situation: &'static Situation) -> Verdict<Vec<Fault>> {
    let fixture = (situation.prepare)(binary);
    fixture.restore();
    let strace = trace::recording(&fixture, &READING.join(","));
    let output = situation.cycle(&fixture, strace)?;
    if output.status.code() != Some(0) {
        return Err(told(&output));
    }
    let mut calls = trace::calls(&fixture);
    calls.retain(|(_, _, line)| is_ours(&fixture, line));
    calls.sort();
    calls.dedup_by(|a, b| (&a.0, a.1) == (&b.0, b.1));
    let mut faults = Vec::new();
    for (call, n, _) in calls {
        let mut add = |what, when| faults.push(Fault { situation, call: call.clone(), what, when });
        add("error=EIO", n.to_string());
        if ENDING.contains(&&*call) {
            add("retval=0", n.to_string());
        }
        // A disk that is gone for the rest of the cycle.
        if !situation.is_run && n.is_multiple_of(5) {
            add("error=EIO", format!("{n}+"));
        }
    }
    Ok(faults)
}

/// Whether a call is on the volume or an upstream.
fn is_ours(fixture: &Fixture, line: &str) -> bool {
    [fixture.data(), &fixture.path("git"), &fixture.path(BUNDLE)]
        .iter()
        .any(|place| line.contains(&place.display().to_string()))
}

/// The archives that the metadata names, by path.
type Archives = BTreeMap<String, Sha256>;

struct Case {
    fixture: Fixture,
    /// What is published before the cycle, and after it.
    before: Archives,
    expected: Archives,
}

impl Case {
    fn new(binary: &Path, situation: &Situation) -> Verdict<Self> {
        let fixture = (situation.prepare)(binary);
        fixture.restore();
        let mut case = Self { fixture, before: Archives::new(), expected: Archives::new() };
        case.before = case.published()?;
        situation.complete(&case.fixture)?;
        case.expected = case.published()?;
        Ok(case)
    }

    fn published(&self) -> Verdict<Archives> {
        shelf(&self.fixture.data().join("acme"))
    }

    fn inject(&self, fault: &Fault, figures: &mut Figures) -> Verdict {
        let Fault { situation, call, what, when } = fault;
        self.fixture.restore();
        let strace = trace::injecting(&self.fixture, call, what, when);
        let output = situation.cycle(&self.fixture, strace)?;
        let injected = trace::injected(&self.fixture);
        if !injected.iter().any(|line| is_ours(&self.fixture, line)) {
            figures.count("elsewhere", 1);
            return Ok(());
        }
        figures.faults += 1;
        let is_warned = situation.is_run && told(&output).contains("WARN");
        let is_told = is_warned || error::reports_error(&output);
        figures.count(if is_told { "reported" } else { "withstood" }, 1);
        self.judge(situation, &output, is_told).map_err(|why| {
            let injected: Vec<_> = injected.iter().take(4).map(String::as_str).collect();
            format!("{why}\n{}\n{}", injected.join("\n"), told(&output))
        })
    }

    /// Either an error is reported, or everything is published; and in any case nothing is gone or wrong.
    fn judge(&self, situation: &Situation, output: &Output, is_told: bool) -> Verdict {
        if output.status.code() != Some(0) && !is_told {
            return Err("unreported: no message".into());
        }
        let now = self.published().map_err(|e| format!("after the fault: {e}"))?;
        if let Some(path) = self.before.keys().find(|path| !now.contains_key(*path)) {
            return Err(format!("lost: {path}"));
        }
        if let Some(path) = now.keys().find(|path| now.get(*path) != self.expected.get(*path)) {
            return Err(format!("wrong: {path} is published"));
        }
        if !is_told && now != self.expected {
            let missing = self.expected.keys().filter(|path| !now.contains_key(*path));
            let missing: Vec<_> = missing.map(String::as_str).collect();
            return Err(format!("unreported: complete, but without {}", missing.join(", ")));
        }
        situation.complete(&self.fixture).map_err(|e| format!("the next cycle: {e}"))?;
        let now = self.published()?;
        if now != self.expected {
            let now: Vec<_> = now.into_keys().collect();
            return Err(format!("not healed: only {} are published", now.join(", ")));
        }
        Ok(())
    }
}

/// How long the first cycle of `mirror run` may take under strace.
const PATIENCE: Duration = Duration::from_secs(30);

/// `mirror run` until its first cycle has ended, or until it ends by itself. Its exit code tells nothing of the cycle.
fn first_cycle(fixture: &Fixture, mut strace: Command) -> Verdict<Output> {
    // The traced program is the child, so that signals reach it.
    strace.arg("-D").stdout(Stdio::null()).stderr(Stdio::piped());
    let child = fixture.mirror_below(strace, "run").stderr(Stdio::piped()).spawn().expect("strace starts");
    let (id, began) = (child.id(), Instant::now());
    let output = std::thread::spawn(move || child.wait_with_output());
    while !output.is_finished() && !is_idle(fixture, id) && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    let is_stuck = began.elapsed() >= PATIENCE;
    let is_alive = output.is_finished() || oracle::status(fixture.port, "/-/healthz") == Some(200);
    send(id, Signal::TERM);
    let output = output.join().expect("no panic").expect("an end");
    match () {
        () if is_stuck => {
            Err(format!("stuck: the first cycle has not ended in {PATIENCE:?}: {}", told(&output)))
        }
        () if !is_alive => Err(format!("the server does not answer: {}", told(&output))),
        () => Ok(output),
    }
}

/// Whether the cycle has ended, or none is due because the record of the interrupted one could not be read.
fn is_idle(fixture: &Fixture, process: u32) -> bool {
    let record = std::fs::read(fixture.data().join("acme/status/cycles.json")).unwrap_or_default();
    let record: Value = serde_json::from_slice(&record).unwrap_or_default();
    let mirror = oracle::below(fixture.port, "mirror.json").unwrap_or_default().1;
    let mirror: Value = serde_json::from_slice(&mirror).unwrap_or_default();
    let is_scheduled = mirror["repository"]["next_run"].as_str().is_some_and(|next| next > "2026-01-02");
    let is_ended = record["running"].is_null() && !record["past"].is_null();
    (is_ended || is_scheduled) && children(process).is_empty()
}
