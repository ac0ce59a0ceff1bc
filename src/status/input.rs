//! What is known of a repository, and what can be derived from it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::next_run::{NextRun, regular_run};
use super::state::{State, state};
use crate::config::Site;
use crate::cycle::{Report, SourceReport};
use crate::ledger::Release;
use crate::metadata::pages;
use crate::net::redacted;
use crate::recipe::Recipe;

use crate::schedule::Schedule;
use crate::store::snapshot::Snapshot;
use crate::store::{BucketFailure, BucketRecord, RunHistory, Space, Withdrawal};

/// Everything that is known of a repository.
pub struct StatusInput<'a> {
    /// Who runs the mirror.
    pub site: &'a Site,
    pub name: &'a str,
    /// Empty for a repository that follows other mirrors.
    pub recipe: &'a Recipe,
    /// Whether it runs without a configuration.
    pub is_trial: bool,
    pub base_url: String,
    pub schedule: &'a Schedule,
    /// The snapshot that is served; `None` before the first publication.
    pub snapshot: Option<&'a Snapshot>,
    /// Why the newest snapshot on the volume cannot be served.
    pub unserved: Option<String>,
    pub report: Report,
    pub history: RunHistory,
    /// What is known of the bucket, if there is one.
    pub bucket: Option<BucketRecord>,
    /// Whether everything was read from the bucket, which then is what fails, instead of the uploads.
    pub is_replica: bool,
    /// The published releases, in the order of their publication.
    pub releases: &'a [Release],
    pub space: Option<Space>,
    /// When this process begins the next cycle; `None` if it does not build, or if a cycle is running.
    pub planned: Option<Timestamp>,
    pub now: Timestamp,
}

/// Something that failed. The name stays the same while the reason changes.
pub(super) struct Failure {
    pub(super) name: String,
    pub(super) line: String,
}

impl StatusInput<'_> {
    /// Whether nothing failed, nothing is damaged, and no rollback is active or waits for the cycle after its end.
    pub fn is_complete(&self) -> bool {
        self.report.is_complete()
            && self.rollback_target().is_none()
            && !self.has_ended_rollback()
            && self.snapshot.is_none_or(|snapshot| snapshot.is_intact)
            && self.unserved.is_none()
            && self.bucket_failure().is_none()
            && self.history.damaged.is_empty()
    }

    /// The text of an error without URLs that may be internal.
    pub(super) fn without_internal_urls(&self, error: &str) -> String {
        let mut urls: Vec<_> = self.recipe.internal_urls().map(redacted).collect();
        // One URL may be a prefix of another.
        urls.sort_by_key(|url| std::cmp::Reverse(url.len()));
        urls.iter().fold(error.to_owned(), |text, url| text.replace(url.as_str(), "(internal URL)"))
    }

    /// A time in the zone of the schedule: `2024-05-06 07:08 UTC`.
    pub(super) fn time(&self, time: Timestamp) -> String {
        pages::instant_in(time, self.schedule.zone())
    }

    /// Whether the last cycle failed, in whole or in part.
    pub(super) fn last_failed(&self) -> bool {
        self.history.last().is_some_and(|run| !run.complete)
    }

    /// Why the bucket does not have what is published.
    pub(super) fn bucket_failure(&self) -> Option<&BucketFailure> {
        self.bucket.as_ref().and_then(|record| record.failure.as_ref())
    }

    /// Everything that failed, the most general first: the cycle, the snapshot, the bucket, archives, sources, packages of single refs.
    pub(super) fn failures(&self) -> Vec<Failure> {
        let cycle = self.history.last().and_then(|run| run.error.clone());
        let cycle = cycle.map(|line| Failure { name: "the cycle".to_owned(), line });
        let snapshot = self.unserved.as_ref().map(|reason| Failure {
            name: "the newest snapshot".to_owned(),
            line: format!("the newest snapshot cannot be served: {reason}"),
        });
        let bucket = self.bucket_failure().map(|failure| Failure {
            name: "the bucket".to_owned(),
            line: match self.is_replica {
                true => format!("the bucket cannot be read: {}", failure.error),
                false => format!("the bucket lacks what is published: {}", failure.error),
            },
        });
        let damaged = self
            .history
            .damaged
            .iter()
            .map(|(path, reason)| Failure { name: path.clone(), line: format!("{path} {reason}") });
        let sources = self.report.sources.iter();
        let sources = sources.flat_map(|(name, source)| source_failures(name, source));
        let whole = cycle.into_iter().chain(snapshot).chain(bucket);
        whole.chain(damaged).chain(sources).collect()
    }

    /// The snapshot whose content an active rollback serves.
    pub(super) fn rollback_target(&self) -> Option<u64> {
        self.snapshot.and_then(|s| s.manifest.rollback_to)
    }

    /// Whether a rollback was ended, and the next cycle is still to publish current metadata.
    pub(super) fn has_ended_rollback(&self) -> bool {
        self.snapshot.is_some_and(|s| s.manifest.rollback_ended)
    }

    /// The versions that the snapshot withdraws.
    pub(super) fn withdrawals(&self) -> &[Withdrawal] {
        self.snapshot.map_or(&[], |snapshot| &snapshot.manifest.withdrawals)
    }

    pub fn state(&self) -> State {
        state(self.snapshot.is_some(), self.is_complete(), &self.history, self.schedule, self.now)
    }

    /// When the last cycle ended, successful or not.
    pub(super) fn checked(&self) -> Option<Timestamp> {
        self.history.last().map(|run| run.ended)
    }

    /// When the metadata that Composer reads last changed.
    pub(super) fn changed(&self) -> Option<Timestamp> {
        let is_metadata = |path: &str| path == "packages.json" || path.starts_with("p2/");
        let files = self.snapshot?.manifest.files.iter();
        let last = files.filter(|(path, _)| is_metadata(path)).map(|(_, file)| file.last_modified).max()?;
        Timestamp::from_second(last).ok()
    }

    /// The next cycle: as planned by this process, else the scheduled run after the last one. It is in the past when it
    /// was missed.
    pub(super) fn next_run(&self) -> NextRun {
        let last = self.history.running.or(self.checked());
        let regular = last.and_then(|last| regular_run(self.schedule, last));
        NextRun { at: self.planned.or(regular), regular }
    }

    /// The sum of a count over all sources.
    pub(super) fn count(&self, count: fn(&SourceReport) -> usize) -> usize {
        self.report.sources.values().map(count).sum()
    }

    pub(super) fn failed_sources(&self) -> usize {
        self.count(|source| usize::from(source.error.is_some()))
    }

    /// The number of published package versions of each source.
    pub(super) fn published_by_source(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for release in self.releases {
            *counts.entry(release.source.as_str()).or_default() += 1;
        }
        counts
    }

    /// The number of published packages.
    pub(super) fn packages(&self) -> usize {
        self.releases.iter().map(|release| &release.name).collect::<BTreeSet<_>>().len()
    }

    /// The most recent releases by commit date, newest first.
    pub(super) fn newest(&self, count: usize) -> impl Iterator<Item = &Release> {
        let mut all: Vec<_> = self.releases.iter().collect();
        all.sort_by_key(|release| std::cmp::Reverse((self.report.committed(release), release.number)));
        all.into_iter().take(count)
    }
}

fn source_failures(name: &str, source: &SourceReport) -> Vec<Failure> {
    let whole = source
        .error
        .as_ref()
        .map(|error| Failure { name: name.to_owned(), line: format!("{name}: {error}") });
    let packages = source.failed.iter().map(|row| {
        let reason = row.outcome.reason().unwrap_or_default();
        // Without the version, because that of a nightly build changes every day.
        let package = row.package.split(' ').next().unwrap_or_default();
        Failure {
            name: format!("{name} {}: {package}", row.tag),
            line: format!("{name} {}: {}: {reason}", row.tag, row.package),
        }
    });
    whole.into_iter().chain(packages).collect()
}
