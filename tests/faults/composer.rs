//! A mirror that takes packages from a Composer repository like Packagist, which is behind a failing network, sends something else
//! than it has released, or whose mirror is killed meanwhile. Nothing wrong is published, nothing published is lost, the source
//! that fails is named, and the next cycle without the fault publishes everything. The seed determines all but the moments of
//! kills.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use mirror::package::zip_writer::{EntryType, ZipWriter};
use mirror::util::digest::{Sha1, Sha256};
use serde_json::{Value, json};

use crate::Figures;
use crate::fixture::{Fixture, Verdict, told};
use crate::liveness::BOUND;
use crate::property::shelf;
use crate::proxy::{self, Fault, Proxy};
use crate::support::file_server::{Answer, FileServer, Request};
use crate::workers;

/// After so many faults a worker begins with a new mirror, since cycles of many versions take longer.
const FAULTS_PER_MIRROR: usize = 20;

/// In microseconds, longer than most cycles take.
const CYCLE: u64 = 300_000;

/// What a cycle asks for that finds a version of each package: packages.json, the feed of changes, files and archives.
const REQUESTS: usize = 2 + 2 * PACKAGES.len();

/// What a busy server answers, and the login to a network, beside what breaks any transfer.
const PAGES: [proxy::Kind; 3] = [proxy::Kind::Page(429), proxy::Kind::Page(503), proxy::Kind::Page(302)];

/// Each with whether the repository lists checksums of its archives, as Packagist does not for those of GitHub.
const PACKAGES: [(&str, bool); 3] = [("acme/a", true), ("acme/b", true), ("acme/hub", false)];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Network(Fault),
    Lie(Lie),
    Killed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// One byte of each archive is another.
    OtherBytes,
    /// Archives with a checksum are other archives.
    OtherArchives,
    LongerArchives,
    ShorterArchives,
    /// JSON ends too early.
    TornMetadata,
    /// A page of a login for everything.
    Page,
    /// Files of packages are not there, empty, or those before the last release, with their date.
    Gone,
    Empty,
    Stale,
    /// Published versions are listed with other archives, which are there.
    ChangedVersions,
}

const LIES: [Lie; 10] = [
    Lie::OtherBytes,
    Lie::OtherArchives,
    Lie::LongerArchives,
    Lie::ShorterArchives,
    Lie::TornMetadata,
    Lie::Page,
    Lie::Gone,
    Lie::Empty,
    Lie::Stale,
    Lie::ChangedVersions,
];

impl Lie {
    /// Whether the new versions are not listed, so that nobody can know of them.
    fn hides_versions(self) -> bool {
        matches!(self, Self::Gone | Self::Empty | Self::Stale)
    }
}

pub fn faults(binary: &Path, most: usize) -> Verdict<Figures> {
    let prepare = || Ok((Mirror::start(binary)?, 0));
    workers::each(&workers::seeds(most), 2, prepare, |(mirror, faults), seed, figures| {
        if *faults == FAULTS_PER_MIRROR {
            *mirror = Mirror::start(binary)?;
            *faults = 0;
        }
        *faults += 1;
        let mut rng = Rng::with_seed(*seed);
        let kind = match rng.u8(0..10) {
            0..=4 => {
                let kinds = [&proxy::KINDS[..], &PAGES[..]].concat();
                Kind::Network(Fault::new(&mut rng, &kinds, REQUESTS))
            }
            5..=8 => Kind::Lie(LIES[rng.usize(0..LIES.len())]),
            _ => Kind::Killed,
        };
        inject(mirror, &mut rng, kind, figures)
            .map_err(|why| workers::with_seed(*seed, &format!("{kind:?}: {why}")))
    })
}

fn inject(mirror: &mut Mirror, rng: &mut Rng, kind: Kind, figures: &mut Figures) -> Verdict {
    mirror.release();
    match kind {
        Kind::Network(fault) => {
            mirror.proxy.set(Some(fault));
            let end = mirror.cycle()?;
            let spoiled = mirror.proxy.set(None);
            figures.faults += usize::from(spoiled > 0);
            // What a proxy says of a file may be the repository's own word.
            let is_hidden = fault.kind == proxy::Kind::Page(404);
            mirror.judge(&end, is_hidden, figures)?;
        }
        Kind::Lie(lie) => {
            let told = mirror.lie(lie);
            let end = mirror.cycle()?;
            mirror.upstream.answer(|_, _| None);
            let has_lied = told.load(Ordering::Relaxed) > 0;
            figures.faults += usize::from(has_lied);
            figures.count("lies", usize::from(has_lied));
            if lie == Lie::ChangedVersions
                && end.code == Some(0)
                && !end.log.contains("has another archive now")
            {
                return Err(format!("unreported: the changed versions are not named\n{}", end.log));
            }
            mirror.judge(&end, lie.hides_versions(), figures)?;
        }
        Kind::Killed => {
            for _ in 0..rng.usize(1..4) {
                mirror.killed_cycle(rng, figures)?;
            }
        }
    }
    mirror.require_complete()
}

/// A mirror, and the repository that it takes packages from, behind a proxy.
struct Mirror {
    fixture: Fixture,
    upstream: FileServer,
    proxy: Proxy,
    /// What was released: the entry in the metadata by package and version, and the archives by their path in the mirror.
    listed: BTreeMap<&'static str, Vec<Value>>,
    archives: BTreeMap<String, Sha256>,
    /// The archives that are published.
    known: BTreeMap<String, Sha256>,
    releases: i64,
}

/// How a cycle ended.
struct End {
    code: Option<i32>,
    log: String,
}

impl Mirror {
    fn start(binary: &Path) -> Verdict<Self> {
        let (fixture, upstream) = (Fixture::new(binary), FileServer::start());
        let proxy = Proxy::start(upstream.port);
        let root = json!({
            "packages": [],
            "metadata-url": "/p2/%package%.json",
            "metadata-changes-url": "/changes.json",
            "available-packages": PACKAGES.map(|(name, _)| name),
        });
        upstream.write("packages.json", root.to_string());
        fixture.write(
            "recipe.yaml",
            &format!(
                "composer:\n  - {{name: others, url: 'http://127.0.0.1:{}/', packages: {{'acme/*': '*'}}}}\n",
                proxy.port
            ),
        );
        let (data, port) = (fixture.data().display(), fixture.port);
        fixture.write(
            "mirror.yaml",
            &format!(
                "data: '{data}'\nserve: {{listen: ['127.0.0.1:{port}'], notice: 0s, drain: 1s, compression: none}}\nrepositories:\n  - {{name: acme, url: 'http://127.0.0.1:{port}/mirror/', recipe: ./recipe.yaml}}\ngit: {{connect_timeout: 2s, timeout: 2s, total_timeout: 9s}}\n"
            ),
        );
        let mut mirror = Self {
            fixture,
            upstream,
            proxy,
            listed: BTreeMap::new(),
            archives: BTreeMap::new(),
            known: BTreeMap::new(),
            releases: 0,
        };
        mirror.release();
        mirror.require_complete()?;
        Ok(mirror)
    }

    /// Releases a version of each package.
    fn release(&mut self) {
        self.releases += 1;
        let version = format!("1.{}.0", self.releases);
        for (name, has_checksum) in PACKAGES {
            let path = format!("dist/{name}-{version}.zip");
            let bytes = archive(name, &version, "released");
            self.upstream.write(&path, &bytes);
            let shasum = if has_checksum { Sha1::digest(&bytes).to_string() } else { String::new() };
            let entry = json!({
                "name": name,
                "version": version,
                "time": "2025-02-03T04:05:06+00:00",
                "dist": {"type": "zip", "url": format!("/{path}"), "shasum": shasum, "reference": format!("ref-{version}")},
            });
            self.listed.entry(name).or_default().push(entry);
            self.archives.insert(format!("packages/{name}-{version}.zip"), Sha256::digest(&bytes));
        }
        let actions = PACKAGES.map(|(name, _)| {
            let file = format!("p2/{name}.json");
            self.upstream.write(&file, json!({"packages": {name: self.listed[name]}}).to_string());
            json!({"type": "update", "package": name, "time": date(&self.upstream.path(&file))})
        });
        let feed = json!({"timestamp": 15_900_000_000_000 + self.releases, "actions": actions});
        self.upstream.write("changes.json", feed.to_string());
    }

    /// Lies from now on; counts how often.
    fn lie(&self, lie: Lie) -> Arc<AtomicUsize> {
        let told = Arc::new(AtomicUsize::new(0));
        let (counter, newest) = (told.clone(), format!("1.{}.0", self.releases));
        self.upstream.answer(move |request, file| {
            let answer = lied(lie, request, file, &newest);
            counter.fetch_add(usize::from(answer.is_some()), Ordering::Relaxed);
            answer
        });
        told
    }

    fn cycle(&self) -> Verdict<End> {
        let began = Instant::now();
        let output = self.fixture.mirror("build").output().expect("mirror starts");
        if began.elapsed() > BOUND {
            return Err(format!("stuck: the cycle took {:?}: {}", began.elapsed(), told(&output)));
        }
        Ok(End { code: output.status.code(), log: String::from_utf8_lossy(&output.stderr).into_owned() })
    }

    /// Kills a cycle at a random moment.
    fn killed_cycle(&mut self, rng: &mut Rng, figures: &mut Figures) -> Verdict {
        let mut mirror = self.fixture.mirror("build");
        let mut child = mirror.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("mirror starts");
        std::thread::sleep(Duration::from_micros(rng.u64(0..CYCLE)));
        let was_running = child.try_wait().expect("a child").is_none();
        child.kill().expect("killed");
        let _ = child.wait();
        figures.faults += usize::from(was_running);
        figures.count("kills", usize::from(was_running));
        self.require_intact().map_err(|why| format!("after a kill: {why}"))
    }

    /// The cycle with the fault has withstood it, or has named the source. New versions may be missing if they were hidden.
    fn judge(&mut self, end: &End, is_hidden: bool, figures: &mut Figures) -> Verdict {
        self.require_intact()?;
        let wrong = |what: &str| Err(format!("{what}; exit code {:?}\n{}", end.code, end.log));
        let is_complete = self.archives.keys().all(|path| self.known.contains_key(path));
        match end.code {
            Some(0) if !is_complete && !is_hidden => wrong("unreported: a version is not taken"),
            Some(0) => {
                figures.count("withstood", 1);
                Ok(())
            }
            Some(1) if self.is_named() && end.log.contains("others") => {
                figures.count("named", 1);
                Ok(())
            }
            Some(1) => wrong("unreported: the failing source is not named"),
            _ => wrong("the cycle failed as a whole"),
        }
    }

    /// Whether the report of the last cycle has a failure of the source.
    fn is_named(&self) -> bool {
        let report = std::fs::read(self.fixture.data().join("acme/current/report.json")).unwrap_or_default();
        let report: Value = serde_json::from_slice(&report).unwrap_or_default();
        let source = &report["sources"]["others"];
        source["error"].is_string() || source["failed"].as_array().is_some_and(|failed| !failed.is_empty())
    }

    /// What holds at any time: each archive is what was released, and what was published still is.
    fn require_intact(&mut self) -> Verdict {
        let now = shelf(&self.fixture.data().join("acme"))?;
        for (path, sha256) in &self.known {
            match now.get(path) {
                Some(now) if now == sha256 => {}
                Some(_) => return Err(format!("changed: {path}")),
                None => return Err(format!("lost: {path}")),
            }
        }
        for (path, sha256) in &now {
            if self.archives.get(path) != Some(sha256) {
                return Err(format!("wrong bytes: {path} is not what was released"));
            }
        }
        self.known.extend(now);
        Ok(())
    }

    /// A cycle without a fault publishes everything.
    fn require_complete(&mut self) -> Verdict {
        let End { code, log } = self.cycle()?;
        self.require_intact()?;
        if code != Some(0) {
            return Err(format!("the cycle without a fault did not complete: exit code {code:?}\n{log}"));
        }
        match self.archives.keys().find(|path| !self.known.contains_key(*path)) {
            Some(path) => Err(format!("lost: the cycle without a fault has not published {path}\n{log}")),
            None => Ok(()),
        }
    }
}

/// When a file was changed, in seconds since 1970.
fn date(file: &Path) -> u64 {
    let modified = file.metadata().and_then(|metadata| metadata.modified()).expect("a date");
    modified.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// An archive as GitHub makes it: in one folder, without a version in its manifest.
fn archive(name: &str, version: &str, text: &str) -> Vec<u8> {
    let mut zip = ZipWriter::new(Vec::new());
    let manifest = json!({"name": name, "license": "MIT"}).to_string();
    for (file, text) in
        [("composer.json", manifest), ("code.php", format!("<?php // {version} {text}\n").repeat(60))]
    {
        zip.add(&format!("acme-1a2b/{file}"), EntryType::File, text.as_bytes()).expect("an entry");
    }
    zip.finish().expect("an archive")
}

/// The answer to a request, if it is a lie.
fn lied(lie: Lie, request: &Request, file: &Answer, newest: &str) -> Option<Answer> {
    let path = request.path.split('?').next().unwrap_or_default();
    let (is_archive, is_package) = (path.starts_with("/dist/"), path.starts_with("/p2/"));
    let mut answer = file.clone();
    match lie {
        Lie::Page => {
            answer = Answer::new(200, "<!DOCTYPE html>\n<title>Welcome</title>\n");
        }
        Lie::OtherBytes if is_archive => {
            let middle = answer.body.len() / 2;
            answer.body[middle] ^= 1;
        }
        Lie::OtherArchives if is_archive && !path.contains("hub") => {
            let name = path.trim_start_matches("/dist/").split("-1.").next().unwrap_or_default();
            answer.body = archive(name, newest, "something else");
        }
        Lie::LongerArchives if is_archive => answer.body.extend(b"more"),
        Lie::ShorterArchives if is_archive => answer.body.truncate(file.body.len() / 2),
        Lie::TornMetadata if is_package && file.status == 200 => answer.body.truncate(file.body.len() - 20),
        Lie::Gone if is_package => answer = Answer::new(404, "<h1>Not found</h1>"),
        Lie::Empty if is_package => answer = Answer::new(200, r#"{"packages": {}}"#),
        Lie::Stale if is_package && file.status == 200 => {
            answer.body =
                changed(&file.body, |versions| versions.retain(|version| version["version"] != newest));
            let before = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
            answer.headers = vec![("Last-Modified".to_owned(), httpdate::fmt_http_date(before))];
        }
        Lie::ChangedVersions if is_package && file.status == 200 => {
            answer.body = changed(&file.body, |versions| {
                for version in versions.iter_mut().filter(|version| version["version"] != newest) {
                    let bytes = archive(version["name"].as_str().unwrap_or_default(), "0", "changed");
                    if version["dist"]["shasum"] != "" {
                        version["dist"]["shasum"] = Sha1::digest(&bytes).to_string().into();
                    }
                    version["dist"]["reference"] = "moved".into();
                }
            });
        }
        Lie::ChangedVersions if is_archive && !path.contains(newest) => {
            let name = path.trim_start_matches("/dist/").split("-1.").next().unwrap_or_default();
            answer.body = archive(name, "0", "changed");
        }
        _ => return None,
    }
    Some(answer)
}

/// The file of a package with other versions.
fn changed(file: &[u8], change: impl Fn(&mut Vec<Value>)) -> Vec<u8> {
    let mut listed: Value = serde_json::from_slice(file).expect("JSON");
    let packages = listed["packages"].as_object_mut().into_iter().flat_map(|packages| packages.values_mut());
    packages.filter_map(Value::as_array_mut).for_each(change);
    listed.to_string().into_bytes()
}
