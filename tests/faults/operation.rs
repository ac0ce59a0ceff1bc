//! Random sequences of what upstreams and operators do: releases, nightly versions that expire, cycles, rollbacks, withdrawals
//! and repairs, most of them under a kill or an error of a system call. The seed determines a sequence.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Output;

use fastrand::Rng;
use mirror::util::digest::Sha256;

use crate::fixture::{Fixture, Verdict, told};
use crate::property::shelf;
use crate::{Figures, oracle, trace, workers};

/// The calls by which commands change the volume, those that they make more often several times.
const WRITING: [&str; 14] = [
    "openat",
    "write",
    "write",
    "fsync",
    "fsync",
    "fsync",
    "rename",
    "renameat2",
    "linkat",
    "unlink",
    "mkdir",
    "fchmod",
    "symlink",
    "flock",
];

const READING: [&str; 4] = ["openat", "read", "statx", "getdents64"];

pub fn sequences(binary: &Path, most: usize) -> Verdict<Figures> {
    let prepare = || Ok(());
    workers::each(&workers::seeds(most), 1, prepare, |(), seed, figures| {
        let mut sequence = Sequence::new(binary, *seed)?;
        let verdict = sequence.run();
        figures.faults += sequence.faults;
        figures.count("sequences", 1);
        figures.count("operations", sequence.done.len());
        figures.count("withdrawals", sequence.withdrawals);
        verdict
            .map_err(|why| workers::with_seed(*seed, &format!("after {}: {why}", sequence.done.join(", "))))
    })
}

struct Sequence {
    fixture: Fixture,
    seed: u64,
    rng: Rng,
    /// Archives of released versions that were ever published, by path.
    known: BTreeMap<String, Sha256>,
    /// The paths of the versions that are withdrawn.
    withdrawn: BTreeSet<String>,
    /// Whether the metadata may be that of an earlier snapshot.
    is_rolled_back: bool,
    patch: usize,
    faults: usize,
    withdrawals: usize,
    done: Vec<String>,
}

/// How an operation ended.
#[derive(PartialEq)]
enum End {
    Done,
    /// It was killed, or has failed: its effect may have come about or not.
    Disturbed,
}

impl Sequence {
    fn new(binary: &Path, seed: u64) -> Verdict<Self> {
        let fixture = Fixture::new(binary).without_compression();
        let night = "  - {name: night, git: 'https://git.example/tool', nightly: main, packages: [{one: ''}]}\nretention: {versions: 1}\n";
        let tool = "  - {name: tool, git: 'https://git.example/tool', packages: [{one: ''}]}\n";
        fixture.adapt("recipe.yaml", tool, &format!("{tool}{night}"));
        let build = "build: {workers: 1}\n";
        fixture.adapt("mirror.yaml", build, &format!("{build}snapshots: {{keep: 3, grace: 0s}}\n"));
        let mut sequence = Self {
            fixture,
            seed,
            rng: Rng::with_seed(seed),
            known: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            is_rolled_back: false,
            patch: 0,
            faults: 0,
            withdrawals: 0,
            done: Vec::new(),
        };
        ["1.0.0", "1.0.1", "1.0.2"].iter().for_each(|tag| sequence.fixture.release(tag));
        sequence.settle()?;
        Ok(sequence)
    }

    fn run(&mut self) -> Verdict {
        for _ in 0..self.rng.usize(4..10) {
            match self.rng.u8(0..16) {
                0..=1 => self.release(),
                2..=3 => self.commit(),
                4..=7 => self.disturbed(&["build"]).map(drop)?,
                8..=9 => self.roll_back()?,
                10 => self.disturbed(&["rollback", "--end"]).map(drop)?,
                11..=13 => self.withdraw()?,
                14 => self.undo()?,
                _ => self.repair()?,
            }
            self.look()?;
        }
        self.settle()?;
        // A second cycle has nothing to do but to remove what has expired.
        self.settle()?;
        self.fixture.run(&["verify"])?;
        if self.seed.is_multiple_of(5) { self.look_over_http() } else { Ok(()) }
    }

    fn release(&mut self) {
        self.patch += 1;
        self.done.push("release".into());
        self.fixture.release(&format!("1.1.{}", self.patch));
    }

    /// A state of a branch that is no release.
    fn commit(&mut self) {
        self.patch += 1;
        self.done.push("commit".into());
        let tool = &self.fixture.tool;
        tool.write("bin/tool", &format!("# commit {}\n", self.patch));
        tool.git(&["commit", "-q", "-a", "-m", "later"]);
    }

    fn roll_back(&mut self) -> Verdict {
        self.is_rolled_back = true;
        self.disturbed(&["rollback"]).map(drop)
    }

    fn withdraw(&mut self) -> Verdict {
        let Some((path, package, version)) = self.choose(|sequence, path| !sequence.withdrawn.contains(path))
        else {
            return Ok(());
        };
        let command = ["withdraw", &package, &version, "--reason", "a test"];
        self.withdrawals += 1;
        if self.disturbed(&command)? == End::Disturbed {
            // What clients have seen as gone stays gone.
            let is_gone = !self.is_rolled_back && !self.published()?.contains_key(&path);
            if is_gone {
                self.withdrawn.insert(path.clone());
            }
            self.cycle()?;
            if is_gone {
                self.look()?;
            }
            self.fixture.run(&command)?;
        }
        self.withdrawn.insert(path);
        Ok(())
    }

    fn undo(&mut self) -> Verdict {
        let Some((path, package, version)) = self.choose(|sequence, path| sequence.withdrawn.contains(path))
        else {
            return Ok(());
        };
        let command = ["withdraw", &package, &version, "--undo"];
        self.withdrawn.remove(&path);
        if self.disturbed(&command)? == End::Disturbed {
            if let Err(why) = self.fixture.run(&command)
                && !why.contains("is not withdrawn")
            {
                return Err(why);
            }
            self.cycle()?;
        }
        Ok(())
    }

    /// Damages an archive and builds it again.
    fn repair(&mut self) -> Verdict {
        let Some((path, ..)) = self.choose(|_, _| true) else { return Ok(()) };
        let file = self.file(&path);
        let bytes = std::fs::read(&file).map_err(|e| format!("{path}: {e}"))?;
        // Links of the old file keep their bytes.
        std::fs::remove_file(&file).expect("removed");
        if self.rng.bool() {
            std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("written");
        }
        let command = ["verify", "--repair"];
        if self.disturbed(&command)? == End::Disturbed {
            self.fixture.run(&command)?;
        }
        Ok(())
    }

    /// A released version that was published; the first one always stays.
    fn choose(&mut self, is_wanted: impl Fn(&Self, &str) -> bool) -> Option<(String, String, String)> {
        let versions =
            self.known.keys().filter(|path| !path.ends_with("-1.0.0.zip") && is_wanted(self, path));
        let versions: Vec<_> = versions.cloned().collect();
        let path = self.rng.choice(versions)?;
        let name = path.strip_prefix("packages/")?.strip_suffix(".zip")?;
        let (package, version) = name.rsplit_once('-')?;
        Some((path.clone(), package.to_owned(), version.to_owned()))
    }

    /// An undisturbed cycle.
    fn cycle(&mut self) -> Verdict {
        self.fixture.run(&["build"]).map(drop)
    }

    /// Ends what was begun; then everything is published.
    fn settle(&mut self) -> Verdict {
        self.done.push("settle".into());
        if self.is_rolled_back {
            self.fixture.run(&["rollback", "--end"])?;
        }
        self.cycle()?;
        self.is_rolled_back = false;
        self.look()
    }

    /// Runs a command, usually with a fault.
    fn disturbed(&mut self, command: &[&str]) -> Verdict<End> {
        let rng = &mut self.rng;
        let call = WRITING[rng.usize(0..WRITING.len())];
        // A command makes some of these calls once, and some a few dozen times.
        let n = 1 + rng.usize(0..3) * rng.usize(0..8);
        let fault = match rng.u8(0..8) {
            0..=1 => None,
            2..=5 => Some((call, "signal=KILL")),
            6 => Some((call, ["error=EIO", "error=ENOSPC"][rng.usize(0..2)])),
            _ => Some((READING[rng.usize(0..READING.len())], "error=EIO")),
        };
        let output = match fault {
            None => self.fixture.mirror(command[0]).args(&command[1..]).output().expect("mirror starts"),
            Some((call, what)) => {
                let strace = trace::injecting(&self.fixture, call, what, &n.to_string());
                let mut mirror = self.fixture.mirror_below(strace, command[0]);
                mirror.args(&command[1..]).output().expect("strace starts")
            }
        };
        let is_hit = fault.is_some_and(|(_, what)| match what {
            "signal=KILL" => trace::was_killed(&output),
            _ => !trace::injected(&self.fixture).is_empty(),
        });
        self.faults += usize::from(is_hit);
        let fault = fault.filter(|_| is_hit).map(|(call, what)| format!(" ({what} at {call} {n})"));
        self.done.push(format!("{}{}", command.join(" "), fault.unwrap_or_default()));
        self.judge(command, &output, is_hit)
    }

    fn judge(&self, command: &[&str], output: &Output, is_hit: bool) -> Verdict<End> {
        match output.status.code() {
            Some(0) => Ok(End::Done),
            None | Some(137) if is_hit => Ok(End::Disturbed),
            // The program could not be loaded.
            Some(127) if is_hit => Ok(End::Disturbed),
            // 64 if the configuration could not be read.
            Some(1 | 2 | 64) if is_hit && !output.stderr.is_empty() => Ok(End::Disturbed),
            Some(2) if is_no_rollback(output) => Ok(End::Disturbed),
            _ => Err(format!("`mirror {}`: {}", command.join(" "), told(output))),
        }
    }

    fn file(&self, path: &str) -> PathBuf {
        self.fixture.data().join("acme").join(path)
    }

    /// The archives of released versions that the metadata names. Those of nightly versions exist, too.
    fn published(&self) -> Verdict<BTreeMap<String, Sha256>> {
        let mut published = shelf(&self.fixture.data().join("acme"))?;
        published.retain(|path, _| is_released(path));
        Ok(published)
    }

    fn look(&mut self) -> Verdict {
        let published = self.published()?;
        for (path, sha256) in &self.known {
            let bytes = std::fs::read(self.file(path)).map_err(|e| format!("lost: {path}: {e}"))?;
            if Sha256::digest(&bytes) != *sha256 {
                return Err(format!("changed: {path}"));
            }
            match (published.contains_key(path), self.withdrawn.contains(path)) {
                (true, true) => return Err(format!("published again: {path} is withdrawn")),
                (false, false) if !self.is_rolled_back => return Err(format!("lost: {path}")),
                _ => {}
            }
        }
        self.known.extend(published);
        Ok(())
    }

    fn look_over_http(&mut self) -> Verdict {
        let server = self.fixture.serve()?;
        let answers = oracle::Answers::of(self.fixture.port)?;
        for (path, sha256) in &self.known {
            let is_withdrawn = self.withdrawn.contains(path);
            let is_right = match oracle::below(self.fixture.port, path) {
                Some((410, _)) => is_withdrawn,
                Some((200, body)) => !is_withdrawn && Sha256::digest(&body) == *sha256,
                _ => false,
            };
            if !is_right || answers.lasting.contains_key(path) == is_withdrawn {
                return Err(format!("over HTTP, {path} is wrong"));
            }
        }
        drop(server);
        Ok(())
    }
}

/// Whether a rollback has nowhere to go.
fn is_no_rollback(output: &Output) -> bool {
    let text = told(output);
    text.contains("there is no snapshot before") || text.contains("this content is already published")
}

/// Whether an archive is that of a released version, by the version in its name.
fn is_released(path: &str) -> bool {
    let version = path.rsplit_once('-').map(|(_, version)| version.trim_end_matches(".zip"));
    version.is_some_and(|version| {
        version.split('.').count() == 3 && version.chars().all(|c| c.is_ascii_digit() || c == '.')
    })
}
