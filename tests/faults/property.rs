//! Random sequences of upstream changes, cycles and kills. Published files never change.
//!
//! The seed determines a sequence except for the moments of kills. A violation names its seed;
//! `FAULTS_SEED=n` starts there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fastrand::Rng;
use git2::{Repository, Signature, Time};
use mirror::util::digest::{Sha1, Sha256};
use serde_json::Value;

use crate::Figures;
use crate::fixture::{Fixture, Verdict, told};

pub fn sequences(binary: &Path, most: usize) -> Verdict<Figures> {
    let first = std::env::var("FAULTS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let mut figures = Figures::default();
    let fixture = Fixture::new(binary);
    for seed in first..first + most as u64 {
        let mut sequence = Sequence::new(&fixture, seed);
        sequence.run().map_err(|e| format!("seed {seed}, after {:?}: {e}", sequence.done))?;
        figures.faults += 1;
        figures.count("cycles", sequence.cycles);
        figures.count("kills", sequence.kills);
        figures.count("releases", sequence.known.len());
    }
    Ok(figures)
}

struct Sequence<'a> {
    fixture: &'a Fixture,
    upstream: Upstreams,
    rng: Rng,
    /// Archives that were ever published.
    known: BTreeMap<String, Sha256>,
    done: Vec<String>,
    cycles: usize,
    kills: usize,
    seed: u64,
}

impl<'a> Sequence<'a> {
    fn new(fixture: &'a Fixture, seed: u64) -> Self {
        let _ = std::fs::remove_dir_all(fixture.data());
        Self {
            fixture,
            upstream: Upstreams::new(&fixture.modules.path, &fixture.tool.path),
            rng: Rng::with_seed(seed),
            known: BTreeMap::new(),
            done: Vec::new(),
            cycles: 0,
            kills: 0,
            seed,
        }
    }

    fn run(&mut self) -> Verdict {
        for _ in 0..self.rng.usize(3..9) {
            match self.rng.u8(0..12) {
                0..=2 => self.change("new", |up, rng| up.tag(rng, false)),
                3 => self.change("move", |up, rng| up.tag(rng, true)),
                4 => self.change("delete", Upstreams::delete),
                5 => self.change("re-create", |up, rng| {
                    up.delete(rng);
                    up.tag(rng, true);
                }),
                6 => self.change("rewrite", Upstreams::rewrite),
                7 => self.change("empty", |up, _| up.empty()),
                8..=9 => self.cycle()?,
                _ => self.killed_cycle()?,
            }
        }
        self.cycle()?;
        // A second cycle has nothing to do.
        let before = tree(&self.fixture.data().join("acme"));
        self.cycle()?;
        if before != tree(&self.fixture.data().join("acme")) {
            return Err("an idle cycle changed the volume".into());
        }
        if self.seed.is_multiple_of(50) && !self.known.is_empty() {
            let answers = self.fixture.observe()?;
            for (path, sha256) in &self.known {
                if answers.lasting.get(path) != Some(sha256) {
                    return Err(format!("over HTTP, {path} is lost or changed"));
                }
            }
        }
        Ok(())
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Upstreams, &mut Rng)) {
        change(&mut self.upstream, &mut self.rng);
        self.done.push(name.to_owned());
    }

    fn cycle(&mut self) -> Verdict {
        self.done.push("cycle".into());
        self.cycles += 1;
        let output = self.fixture.mirror("build").output().expect("mirror starts");
        // The exit code shows that nothing was published yet or that a version moved.
        if !matches!(output.status.code(), Some(0..=2)) {
            return Err(told(&output));
        }
        if !self.known.is_empty() && output.status.code() == Some(2) {
            return Err(format!("nothing could be done: {}", told(&output)));
        }
        self.look()
    }

    fn killed_cycle(&mut self) -> Verdict {
        self.done.push("killed cycle".into());
        let mut mirror = self.fixture.mirror("build");
        let mut child = mirror.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("mirror starts");
        std::thread::sleep(Duration::from_micros(self.rng.u64(0..25_000)));
        self.kills += usize::from(child.try_wait().expect("a child").is_none());
        child.kill().expect("killed");
        let _ = child.wait();
        self.look()
    }

    /// Everything that was published is still published, unchanged.
    fn look(&mut self) -> Verdict {
        let now = shelf(&self.fixture.data().join("acme"))?;
        for (path, sha256) in &self.known {
            match now.get(path) {
                Some(now) if now == sha256 => {}
                Some(_) => return Err(format!("changed: {path}")),
                None => return Err(format!("lost: {path}")),
            }
        }
        self.known.extend(now);
        Ok(())
    }
}

/// The archives that the newest snapshot names, read from the files as any web server would.
pub fn shelf(repository: &Path) -> Verdict<BTreeMap<String, Sha256>> {
    let mut archives = BTreeMap::new();
    let snapshots = std::fs::read_dir(repository.join("snapshots")).into_iter().flatten().flatten();
    let newest = snapshots.filter_map(|e| e.file_name().to_str()?.parse::<u64>().ok()).max();
    let Some(newest) = newest else {
        return Ok(archives);
    };
    let snapshot = repository.join("snapshots").join(newest.to_string());
    let json = |path: PathBuf| -> Verdict<Value> {
        let text = std::fs::read(&path).map_err(|e| format!("torn: {}: {e}", path.display()))?;
        serde_json::from_slice(&text).map_err(|e| format!("torn: {}: {e}", path.display()))
    };
    let root = json(snapshot.join("packages.json"))?;
    for name in root["available-packages"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let file = json(snapshot.join(format!("p2/{name}.json")))?;
        for version in file["packages"][name].as_array().into_iter().flatten() {
            let url = version["dist"]["url"].as_str().unwrap_or_default();
            let path = url.split_once("/mirror/").map(|(_, path)| path).unwrap_or_default();
            let bytes = std::fs::read(repository.join(path)).map_err(|e| format!("lost: {path}: {e}"))?;
            if version["dist"]["shasum"].as_str() != Some(&Sha1::digest(&bytes).to_string()) {
                return Err(format!("wrong bytes: {path}"));
            }
            archives.insert(path.to_owned(), Sha256::digest(&bytes));
        }
    }
    Ok(archives)
}

/// Names, sizes and times of all files.
fn tree(folder: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let about = entry.metadata().expect("metadata");
        let path = entry.path();
        // Every cycle is recorded there, whatever it found.
        if path.ends_with("status") {
            continue;
        }
        if about.is_dir() {
            all.extend(tree(&path));
        } else {
            all.insert(format!("{} {} {:?}", path.display(), about.len(), about.modified().ok()));
        }
    }
    all
}

/// Two repositories with changing tags. They are changed in this process because starting git takes longer than a cycle.
struct Upstreams {
    repositories: [Repository; 2],
    content: u64,
}

impl Upstreams {
    fn new(modules: &Path, tool: &Path) -> Self {
        let make = |folder: &Path| {
            let _ = std::fs::remove_dir_all(folder);
            Repository::init(folder).expect("a repository")
        };
        Self { repositories: [make(modules), make(tool)], content: 0 }
    }

    fn tags(repository: &Repository) -> Vec<String> {
        let names = repository.tag_names(None).expect("tags");
        names.iter().filter_map(|name| name.ok().flatten()).map(str::to_owned).collect()
    }

    /// Sets a new, existing or earlier tag to a commit of its own.
    fn tag(&mut self, rng: &mut Rng, moved: bool) {
        let which = rng.usize(0..2);
        let tags = Self::tags(&self.repositories[which]);
        let name = match rng.choice(&tags) {
            Some(name) if moved => name.clone(),
            _ => format!("1.{}.{}", rng.u8(0..4), rng.u8(0..4)),
        };
        self.set(which, &name);
    }

    fn set(&mut self, which: usize, name: &str) {
        self.content += 1;
        let repository = &self.repositories[which];
        let package = ["a", "tool"][which];
        let manifest = format!(r#"{{"name": "acme/{package}", "version": "{name}"}}"#);
        let code = format!("<?php // {}", self.content);
        let mut folder = repository.treebuilder(None).expect("a tree");
        for (file, text) in [("composer.json", &manifest), ("code.php", &code)] {
            let blob = repository.blob(text.as_bytes()).expect("a blob");
            folder.insert(file, blob, 0o100_644).expect("an entry");
        }
        let mut tree = folder.write().expect("a tree");
        // The modules are two folders deep.
        for above in if which == 0 { &["a", "app"][..] } else { &[] } {
            let mut builder = repository.treebuilder(None).expect("a tree");
            builder.insert(above, tree, 0o040_000).expect("an entry");
            tree = builder.write().expect("a tree");
        }
        let tree = repository.find_tree(tree).expect("a tree");
        let person =
            Signature::new("a", "a@b", &Time::new(1_700_000_000 + self.content as i64, 0)).expect("a name");
        let commit = repository.commit(None, &person, &person, "m", &tree, &[]).expect("a commit");
        repository.reference(&format!("refs/tags/{name}"), commit, true, "").expect("a tag");
    }

    fn delete(&mut self, rng: &mut Rng) {
        let repository = &self.repositories[rng.usize(0..2)];
        if let Some(name) = rng.choice(Self::tags(repository)) {
            repository.tag_delete(&name).expect("a tag");
        }
    }

    /// Every tag gets another commit.
    fn rewrite(&mut self, rng: &mut Rng) {
        let which = rng.usize(0..2);
        for name in Self::tags(&self.repositories[which]) {
            self.set(which, &name);
        }
    }

    fn empty(&mut self) {
        for repository in &self.repositories {
            for name in Self::tags(repository) {
                repository.tag_delete(&name).expect("a tag");
            }
        }
    }
}
