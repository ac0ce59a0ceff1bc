//! The ledger: the append-only record of all releases of one repository, one JSON line each.
//!
//! A line holds its number and the SHA-256 of the previous line, so a lost, changed or reordered line is detected. This file
//! owns the format and the chain; the store writes it durably. A written line is never changed: what it names stays
//! published.

mod fork;
mod renditions;
mod upstream;

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::fork::Conflict;
use self::renditions::Renditions;
pub use self::upstream::Upstream;
use crate::util::digest::{Sha1, Sha256};

/// What a line of the ledger publishes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseKind {
    /// A package, which is permanent.
    #[default]
    Package,
    /// An alias, a metapackage that only requires another package. A later line may replace it.
    Alias,
    /// A nightly version. A later line may replace it.
    Dev,
}

impl ReleaseKind {
    fn is_package(&self) -> bool {
        *self == Self::Package
    }
}

/// One published package version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// 1 for the first line.
    pub number: u64,
    /// The SHA-256 of the previous line without its newline; zeros for the first.
    pub previous: Sha256,
    pub name: String,
    pub version: String,
    #[serde(default, skip_serializing_if = "ReleaseKind::is_package")]
    pub kind: ReleaseKind,
    /// The path of the archive if it is not `packages/<name>-<version>.zip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The public base URL in its bytes; a mirror with another base URL builds its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<String>,
    pub sha1: Sha1,
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
    pub source: String,
    #[serde(rename = "ref")]
    pub tag: String,
    pub commit: String,
    pub tree: String,
    /// The commit's committer time.
    pub committed: Timestamp,
    /// When it was published; the `Last-Modified` of its archive.
    pub time: Timestamp,
    /// Where the archive comes from, if it was taken as it is from a Composer repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Box<Upstream>>,
}

impl Release {
    /// `vendor/name version`.
    pub fn package(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// The path of the archive, relative to the repository's base URL and to its folder on the volume.
    pub fn path(&self) -> String {
        self.file.clone().unwrap_or_else(|| format!("packages/{}-{}.zip", self.name, self.version))
    }

    /// Whether it may be published although `before` has the same name and version: for another base URL, or as a newer state
    /// of an alias or a nightly version.
    fn may_follow(&self, before: &Self) -> bool {
        let another_url = before.bound.is_some() && before.bound != self.bound;
        let moves = self.kind != ReleaseKind::Package && before.kind == self.kind;
        another_url || moves
    }

    /// Whether a repository with this base URL publishes it.
    pub fn is_for(&self, base_url: &str) -> bool {
        self.bound.as_deref().is_none_or(|bound| bound == base_url)
    }
}

/// Why a ledger is invalid.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("line {0} is not a release: {1}")]
    Line(u64, serde_json::Error),
    #[error("line {0} has number {1}")]
    Number(u64, u64),
    #[error("line {0} does not follow line {before}: its hash of the previous line differs", before = .0 - 1)]
    Chain(u64),
    #[error("line {0} publishes {1} a second time")]
    Twice(u64, String),
    #[error("line {0} has no end")]
    Torn(u64),
}

/// Why releases cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum DuplicateRelease {
    #[error("{0} is already in the ledger: a name and version is published only once")]
    Twice(String),
    #[error(transparent)]
    Serialize(#[from] serde_json::Error),
}

/// Numbered and chained releases, to be appended once their lines are durable.
#[derive(Debug)]
pub struct PreparedReleases {
    releases: Vec<(Release, Sha256)>,
    /// The lines to append, each with its newline.
    pub lines: Vec<u8>,
}

/// Where the first lines of the text of a ledger end; `None` if it has fewer.
pub fn end_of_lines(text: &[u8], lines: u64) -> Option<usize> {
    let Some(last) = usize::try_from(lines).ok()?.checked_sub(1) else { return Some(0) };
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.map(|(end, _)| end + 1).nth(last)
}

/// All releases of a repository, in the order of their publication.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    releases: Vec<Release>,
    /// The SHA-256 of each line.
    hashes: Vec<Sha256>,
    /// The index of the last release of each name and version, by [`key`].
    by_version: HashMap<Box<str>, usize>,
    /// For each release, the index of the previous one with the same name and version.
    before: Vec<Option<usize>>,
    renditions: Renditions,
}

impl Ledger {
    /// Parses a ledger and checks its chain. A torn last line, without a newline, is ignored; also returns the length of the
    /// complete lines, so that the writer can truncate the rest.
    pub fn parse(text: &[u8]) -> Result<(Self, usize), LedgerError> {
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        let mut ledger = Self {
            releases: Vec::with_capacity(lines),
            hashes: Vec::with_capacity(lines),
            by_version: HashMap::with_capacity(lines),
            before: Vec::with_capacity(lines),
            renditions: Renditions::default(),
        };
        let read = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        ledger.add_lines(&text[..read])?;
        Ok((ledger, read))
    }

    /// Adds the lines that follow the last one. On an error, those before the broken one are added.
    pub fn add_lines(&mut self, text: &[u8]) -> Result<(), LedgerError> {
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let number = self.len() + 1;
            let line = line.strip_suffix(b"\n").ok_or(LedgerError::Torn(number))?;
            let release: Release = serde_json::from_slice(line).map_err(|e| LedgerError::Line(number, e))?;
            if release.number != number {
                return Err(LedgerError::Number(number, release.number));
            }
            if release.previous != self.head() {
                return Err(LedgerError::Chain(number));
            }
            let before = self.find(&release.name, &release.version);
            if before.is_some_and(|before| !release.may_follow(before)) {
                return Err(LedgerError::Twice(number, release.package()));
            }
            self.add(release, Sha256::digest(line));
        }
        Ok(())
    }

    /// Numbers and chains releases, and serializes their lines.
    ///
    /// Fails if the ledger, or an earlier one of these releases, has the same name and version.
    pub fn prepare(&self, releases: Vec<Release>) -> Result<PreparedReleases, DuplicateRelease> {
        let mut entries = PreparedReleases { releases: Vec::new(), lines: Vec::new() };
        let (mut number, mut head) = (self.len(), self.head());
        let mut new = HashMap::new();
        for mut release in releases {
            let key = (release.name.clone(), release.version.clone());
            let in_batch = new.get(&key).map(|i: &usize| &entries.releases[*i].0);
            let is_allowed = in_batch
                .into_iter()
                .chain(self.all_of(&release.name, &release.version))
                .all(|before| release.may_follow(before));
            if !is_allowed {
                return Err(DuplicateRelease::Twice(release.package()));
            }
            number += 1;
            release.number = number;
            release.previous = head;
            let line = serde_json::to_vec(&release)?;
            head = Sha256::digest(&line);
            entries.lines.extend(line);
            entries.lines.push(b'\n');
            new.insert(key, entries.releases.len());
            entries.releases.push((release, head));
        }
        Ok(entries)
    }

    /// Appends releases that were prepared from this ledger.
    pub fn append(&mut self, entries: PreparedReleases) {
        for (release, hash) in entries.releases {
            self.add(release, hash);
        }
    }

    fn add(&mut self, release: Release, hash: Sha256) {
        let key = key(&release.name, &release.version);
        self.before.push(self.by_version.insert(key, self.releases.len()));
        self.releases.push(release);
        self.hashes.push(hash);
    }

    /// Whether `text` ends with this ledger's last line.
    pub fn is_end_of(&self, text: &[u8]) -> bool {
        let Some(last) = self.hashes.last() else {
            return text.is_empty();
        };
        let Some(text) = text.strip_suffix(b"\n") else {
            return false;
        };
        let start = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |i| i + 1);
        Sha256::digest(&text[start..]) == *last
    }

    /// The last release of a name and version.
    pub fn find(&self, name: &str, version: &str) -> Option<&Release> {
        self.all_of(name, version).next()
    }

    /// The last release of a name and version that a repository with this base URL publishes.
    pub fn find_for<'l>(&'l self, name: &str, version: &str, base_url: &str) -> Option<&'l Release> {
        self.all_of(name, version).find_map(|release| match release.is_for(base_url) {
            true => Some(release),
            false => self.rendition(release, base_url),
        })
    }

    /// All releases of a name and version, the latest first.
    fn all_of<'l>(&'l self, name: &str, version: &str) -> impl Iterator<Item = &'l Release> + use<'l> {
        let last = self.by_version.get(&key(name, version));
        std::iter::successors(last.copied(), |index| self.before[*index]).map(|index| &self.releases[index])
    }

    pub fn releases(&self) -> &[Release] {
        &self.releases
    }

    /// The releases that a repository with this base URL publishes: the last matching one of each name and version.
    pub fn published<'a>(&'a self, base_url: &'a str) -> impl Iterator<Item = &'a Release> {
        self.published_of(base_url, |_| true)
    }

    /// The same of those for which `is_listed` holds.
    pub fn published_of<'a>(
        &'a self,
        base_url: &'a str,
        is_listed: impl Fn(&Release) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Release> {
        let mut last = HashMap::new();
        for release in self.for_url(base_url).filter(|release| is_listed(release)) {
            last.insert((&release.name, &release.version), release.number);
        }
        let is_last = move |r: &&Release| last.get(&(&r.name, &r.version)) == Some(&r.number);
        self.for_url(base_url).filter(is_last)
    }

    /// The archives of the releases for which `is_served` holds, each once, with the time of the first line that names it.
    /// Several lines name the same archive if a nightly version returns to an earlier state.
    pub fn archives<'a>(
        &'a self,
        is_served: impl Fn(&Release) -> bool + 'a,
    ) -> impl Iterator<Item = (&'a Release, Timestamp)> {
        let mut first = HashMap::new();
        for release in self.with_renditions() {
            if let Some(file) = &release.file {
                first.entry(file).or_insert(release.time);
            }
        }
        let mut seen = HashSet::new();
        let is_first =
            move |r: &&'a Release| is_served(r) && r.file.as_ref().is_none_or(|file| seen.insert(file));
        let time = move |r: &Release| r.file.as_ref().and_then(|file| first.get(file).copied());
        let archives = self.with_renditions().filter(is_first);
        archives.map(move |release| (release, time(release).unwrap_or(release.time)))
    }

    /// The number of lines.
    pub fn len(&self) -> u64 {
        self.releases.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.releases.is_empty()
    }

    /// The SHA-256 of the last line; zeros for an empty ledger.
    pub fn head(&self) -> Sha256 {
        self.head_at(self.len()).unwrap_or(Sha256([0; 32]))
    }

    /// The release with this number.
    pub fn release(&self, number: u64) -> Option<&Release> {
        self.releases.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    /// The publication time of the line with this number; `None` if there is no such line.
    pub fn time_at(&self, number: u64) -> Option<Timestamp> {
        self.release(number).map(|release| release.time)
    }

    /// The SHA-256 of the line with this number; zeros for 0, `None` if there is no such line.
    pub fn head_at(&self, number: u64) -> Option<Sha256> {
        match usize::try_from(number).ok()?.checked_sub(1) {
            None => Some(Sha256([0; 32])),
            Some(index) => self.hashes.get(index).copied(),
        }
    }
}

/// Names have no space.
fn key(name: &str, version: &str) -> Box<str> {
    format!("{name} {version}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn release(version: &str) -> Release {
        Release {
            number: 0,
            previous: Sha256([9; 32]),
            name: "a/b".into(),
            version: version.into(),
            kind: ReleaseKind::Package,
            file: None,
            bound: None,
            sha1: Sha1::digest(b"x"),
            sha256: Sha256::digest(b"x"),
            size: 1,
            source: "s".into(),
            tag: version.into(),
            commit: "c".into(),
            tree: "t".into(),
            committed: Timestamp::UNIX_EPOCH,
            time: Timestamp::UNIX_EPOCH,
            upstream: None,
        }
    }

    fn text(versions: &[&str]) -> Vec<u8> {
        let releases = versions.iter().map(|v| release(v)).collect();
        Ledger::default().prepare(releases).unwrap().lines
    }

    #[test]
    fn version_is_published_once() {
        let mut ledger = Ledger::default();
        ledger.append(ledger.prepare(vec![release("1"), release("2")]).unwrap());
        for twice in [vec![release("2")], vec![release("3"), release("3")]] {
            assert!(matches!(ledger.prepare(twice), Err(DuplicateRelease::Twice(_))));
        }
        let mut bytes = text(&["1", "2"]);
        assert!(ledger.is_end_of(&bytes));
        let more = ledger.prepare(vec![release("3")]).unwrap();
        bytes.extend(&more.lines);
        assert!(!ledger.is_end_of(&bytes));
        ledger.append(more);
        assert!(ledger.is_end_of(&bytes) && Ledger::parse(&bytes).unwrap().0.head() == ledger.head());
        assert_eq!(ledger.head_at(0), Some(Sha256([0; 32])));
        assert_eq!((ledger.head_at(3), ledger.head_at(4)), (Some(ledger.head()), None));
    }

    /// A mirror that returns to an earlier base URL uses its earlier release. Older ledgers, with a second line, are still
    /// valid.
    #[test]
    fn bound_version_is_published_once_per_base_url() {
        let bound = |url: &str| Release {
            bound: Some(url.to_owned()),
            file: Some(format!("packages/a/b-1-{url}.zip")),
            time: Timestamp::now(),
            ..release("1")
        };
        let mut ledger = Ledger::default();
        ledger.append(ledger.prepare(vec![bound("one"), bound("two")]).unwrap());
        assert_eq!(ledger.find("a/b", "1").unwrap().number, 2);
        let number = |url| ledger.find_for("a/b", "1", url).map(|release| release.number);
        assert_eq!((number("one"), number("two"), number("three")), (Some(1), Some(2), None));
        assert!(matches!(ledger.prepare(vec![bound("one")]), Err(DuplicateRelease::Twice(_))));
        let mut third = bound("one");
        (third.number, third.previous) = (3, ledger.head());
        let mut text = ledger.releases().iter().fold(Vec::new(), |mut text, release| {
            serde_json::to_writer(&mut text, release).unwrap();
            text.push(b'\n');
            text
        });
        serde_json::to_writer(&mut text, &third).unwrap();
        text.push(b'\n');
        let older = Ledger::parse(&text).unwrap().0;
        let archives: Vec<_> = older.archives(|r| r.number > 1).map(|(r, time)| (r.number, time)).collect();
        let first = older.releases()[0].time;
        assert_eq!(archives, [(2, older.releases()[1].time), (3, first)]);
        assert_eq!(older.archives(|_| true).count(), 2);
    }

    #[test]
    fn torn_last_line_is_ignored() {
        let mut bytes = text(&["1", "2"]);
        let whole = bytes.len();
        bytes.extend(b"{\"number\":3,");
        let (ledger, read) = Ledger::parse(&bytes).unwrap();
        assert_eq!((ledger.len(), read), (2, whole));
        assert_eq!(ledger.find("a/b", "2").unwrap().number, 2);
        assert_eq!(ledger.find("a/b", "2").unwrap().path(), "packages/a/b-2.zip");
    }

    #[test]
    fn changed_lost_or_reordered_line_is_detected() {
        let bytes = String::from_utf8(text(&["1", "2", "3"])).unwrap();
        let lines: Vec<_> = bytes.split_inclusive('\n').collect();
        let changed = bytes.replacen("\"size\":1", "\"size\":2", 1);
        assert!(matches!(Ledger::parse(changed.as_bytes()), Err(LedgerError::Chain(2))));
        let lost = [lines[0], lines[2]].concat();
        assert!(matches!(Ledger::parse(lost.as_bytes()), Err(LedgerError::Number(2, 3))));
        let cut = lines[1..].concat();
        assert!(matches!(Ledger::parse(cut.as_bytes()), Err(LedgerError::Number(1, 2))));
    }
}
