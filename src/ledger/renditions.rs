//! Renditions: what a mirror that follows another one makes of bound releases for its own base URL.
//!
//! The follower's ledger is the origin's, line for line, so what the follower renders itself is recorded beside it, in
//! `bound.jsonl`: one line for each archive, chained like the ledger and as final. A rendition has the number of the line
//! that it was rendered from; in everything that is published it takes that line's place.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerError, Release, ReleaseKind};
use crate::util::digest::{Sha1, Sha256};

/// A line of `bound.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    /// 1 for the first line.
    number: u64,
    /// The SHA-256 of the previous line without its newline; zeros for the first.
    previous: Sha256,
    /// The number of the ledger's line that it was rendered from.
    line: u64,
    /// For people, as in that line.
    name: String,
    version: String,
    file: String,
    /// The base URL that it was rendered for.
    bound: String,
    sha1: Sha1,
    sha256: Sha256,
    size: u64,
    time: Timestamp,
}

/// The renditions of a ledger.
#[derive(Debug, Clone, Default)]
pub(super) struct Renditions {
    /// By the number of the line that they were rendered from.
    by_line: HashMap<u64, Vec<Release>>,
    len: u64,
    head: Option<Sha256>,
}

impl Renditions {
    fn head(&self) -> Sha256 {
        self.head.unwrap_or(Sha256([0; 32]))
    }
}

impl Ledger {
    /// Adds the renditions in `text`, the lines after those that are known. Stops at a torn last line and at one whose release
    /// this ledger does not have yet, which a newer process has written; returns the length of what it read.
    pub fn add_renditions(&mut self, text: &[u8]) -> Result<usize, LedgerError> {
        let mut read = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let Some(text) = line.strip_suffix(b"\n") else {
                break;
            };
            let number = self.renditions.len + 1;
            let parsed: Line = serde_json::from_slice(text).map_err(|e| LedgerError::Line(number, e))?;
            if parsed.number != number {
                return Err(LedgerError::Number(number, parsed.number));
            }
            if parsed.previous != self.renditions.head() {
                return Err(LedgerError::Chain(number));
            }
            let Some(original) = self.release(parsed.line) else {
                break;
            };
            let rendition = Release {
                file: Some(parsed.file),
                bound: Some(parsed.bound),
                sha1: parsed.sha1,
                sha256: parsed.sha256,
                size: parsed.size,
                time: parsed.time,
                ..original.clone()
            };
            self.renditions.by_line.entry(parsed.line).or_default().push(rendition);
            self.renditions.len = number;
            self.renditions.head = Some(Sha256::digest(text));
            read += line.len();
        }
        Ok(read)
    }

    /// The lines to append for new renditions, each with the number of the release that it was rendered from.
    pub fn rendition_lines(&self, new: &[Release]) -> serde_json::Result<Vec<u8>> {
        let (mut number, mut previous, mut lines) = (self.renditions.len, self.renditions.head(), Vec::new());
        for release in new {
            number += 1;
            let line = serde_json::to_vec(&Line {
                number,
                previous,
                line: release.number,
                name: release.name.clone(),
                version: release.version.clone(),
                file: release.path(),
                bound: release.bound.clone().unwrap_or_default(),
                sha1: release.sha1,
                sha256: release.sha256,
                size: release.size,
                time: release.time,
            })?;
            previous = Sha256::digest(&line);
            lines.extend(line);
            lines.push(b'\n');
        }
        Ok(lines)
    }

    /// Forgets all renditions, to read them again.
    pub fn clear_renditions(&mut self) {
        self.renditions = Renditions::default();
    }

    /// The number of renditions.
    pub fn rendition_count(&self) -> u64 {
        self.renditions.len
    }

    /// The rendition of a release for this base URL.
    pub(super) fn rendition<'l>(&'l self, release: &Release, base_url: &str) -> Option<&'l Release> {
        let renditions = self.renditions.by_line.get(&release.number)?;
        renditions.iter().find(|rendition| rendition.is_for(base_url))
    }

    /// The release with this number as it is bound: the line itself, or a rendition of it.
    pub fn archive_of(&self, number: u64, bound: Option<&str>) -> Option<&Release> {
        let release = self.release(number)?;
        let renditions = self.renditions_of(release).iter();
        std::iter::once(release).chain(renditions).find(|release| release.bound.as_deref() == bound)
    }

    /// The renditions of a release for any base URL.
    pub(super) fn renditions_of(&self, release: &Release) -> &[Release] {
        self.renditions.by_line.get(&release.number).map(Vec::as_slice).unwrap_or_default()
    }

    /// All releases, and after each its renditions: everything that has an archive.
    pub fn with_renditions(&self) -> impl Iterator<Item = &Release> {
        self.releases.iter().flat_map(|release| std::iter::once(release).chain(self.renditions_of(release)))
    }

    /// The releases, each as a repository with this base URL publishes it; without those for other base URLs that were not
    /// rendered for this one.
    pub fn for_url<'a>(&'a self, base_url: &'a str) -> impl DoubleEndedIterator<Item = &'a Release> {
        self.releases.iter().filter_map(move |release| match release.is_for(base_url) {
            true => Some(release),
            false => self.rendition(release, base_url),
        })
    }

    /// The last release of each name and version that is bound to other base URLs only, and not rendered for this one. A
    /// nightly version is rendered in each of its states.
    pub fn unrendered<'a>(&'a self, base_url: &'a str) -> impl Iterator<Item = &'a Release> {
        let bound = self.releases.iter().filter(|release| !release.is_for(base_url));
        let last = bound.filter(|release| self.find(&release.name, &release.version) == Some(*release));
        last.filter(move |release| match release.kind {
            ReleaseKind::Package => self.find_for(&release.name, &release.version, base_url).is_none(),
            ReleaseKind::Alias | ReleaseKind::Dev => self.rendition(release, base_url).is_none(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::release;
    use super::*;

    fn bound(version: &str, url: &str) -> Release {
        let file = Some(format!("packages/a/b-{version}-{url}.zip"));
        Release { bound: Some(url.to_owned()), file, ..release(version) }
    }

    #[test]
    fn rendition_takes_the_place_of_its_line() {
        let mut ledger = Ledger::default();
        ledger.append(ledger.prepare(vec![release("1"), bound("2", "origin"), release("3")]).unwrap());
        let head = ledger.head();
        let unrendered: Vec<_> = ledger.unrendered("own").map(|r| r.number).collect();
        assert_eq!(unrendered, [2]);
        let rendition = Release { number: 2, ..bound("2", "own") };
        let lines = ledger.rendition_lines(std::slice::from_ref(&rendition)).unwrap();
        assert_eq!(ledger.add_renditions(&lines).unwrap(), lines.len());
        assert_eq!((ledger.len(), ledger.head(), ledger.rendition_count()), (3, head, 1));
        let files = |url| ledger.published(url).map(Release::path).collect::<Vec<_>>();
        let [first, third] = ["packages/a/b-1.zip", "packages/a/b-3.zip"];
        assert_eq!(files("own"), [first, "packages/a/b-2-own.zip", third]);
        assert_eq!(files("origin"), [first, "packages/a/b-2-origin.zip", third]);
        assert_eq!(files("other"), [first, third]);
        assert_eq!(ledger.find_for("a/b", "2", "own").unwrap().number, 2);
        assert_eq!(ledger.unrendered("own").count(), 0);
        assert_eq!(ledger.archives(|_| true).count(), 4);
    }

    #[test]
    fn renditions_are_chained_and_wait_for_their_line() {
        let mut ledger = Ledger::default();
        ledger.append(ledger.prepare(vec![bound("1", "origin")]).unwrap());
        let before = ledger.clone();
        ledger.append(ledger.prepare(vec![bound("2", "origin")]).unwrap());
        let rendered =
            [Release { number: 1, ..bound("1", "own") }, Release { number: 2, ..bound("2", "own") }];
        let lines = ledger.rendition_lines(&rendered).unwrap();
        let first = lines.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        assert_eq!(before.clone().add_renditions(&lines).unwrap(), first);
        assert_eq!(ledger.clone().add_renditions(&lines[..lines.len() - 1]).unwrap(), first);
        assert!(matches!(ledger.clone().add_renditions(&lines[first..]), Err(LedgerError::Number(1, 2))));
        let altered = String::from_utf8(lines).unwrap().replacen("own.zip", "owe.zip", 1);
        assert!(matches!(ledger.add_renditions(altered.as_bytes()), Err(LedgerError::Chain(2))));
    }
}
