//! Removes nightly versions that the metadata no longer names, in two steps.
//!
//! Each snapshot records since when it does not name a nightly release. If that is longer than the grace time when a
//! snapshot is created, the release is *withdrawn* by it: servers of that snapshot no longer serve it. The archive is
//! removed when every snapshot on the volume has withdrawn it, so that no server and no rollback needs it. The ledger
//! line stays: name and version are never reused.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use super::repository::RepositoryStore;
use super::snapshot::{ExpiredRelease, ExpiredReleases, Snapshot};
use super::staging;
use crate::ledger::{Release, ReleaseKind};

impl RepositoryStore {
    /// The nightly releases that the snapshot after `previous` does not name; `named` are the numbers of those it does.
    pub fn expired_releases(
        &self,
        previous: Option<&Snapshot>,
        named: &HashSet<u64>,
        grace: Duration,
    ) -> ExpiredReleases {
        let now = Timestamp::now();
        let known = previous.map(|snapshot| &snapshot.manifest.expired);
        let state = |number: u64| {
            let before = known.and_then(|known| known.get(&number));
            let since = before.map_or(now, |before| before.since);
            let withdrawn = before.is_some_and(|before| {
                before.withdrawn || now.duration_since(since).unsigned_abs() >= grace && now >= since
            });
            (number, ExpiredRelease { since, withdrawn, absent: false })
        };
        self.ledger(|ledger| {
            let nightly = ledger.releases().iter().filter(|r| r.kind == ReleaseKind::Dev);
            let unnamed = nightly.filter(|r| !named.contains(&r.number));
            unnamed.map(|r| state(r.number)).collect()
        })
    }

    /// The releases whose archives are served: all except those that the newest snapshot has withdrawn, and those that never
    /// were here: absent ones, and versions that were withdrawn before they were followed.
    pub fn served_releases(&self) -> anyhow::Result<Vec<Release>> {
        let (newest, absent) = (self.latest_snapshot()?, self.absent_entries()?);
        let is_gone = |r: &Release, s: &Snapshot| {
            s.manifest.withdrawal(&r.name, &r.version).is_some() && !self.archive(r).exists()
        };
        let is_served = |r: &&Release| {
            newest.as_ref().is_none_or(|s| !s.manifest.withdraws(r.number) && !is_gone(r, s))
                && !absent.contains_key(&r.number)
        };
        Ok(self.ledger(|ledger| ledger.with_renditions().filter(is_served).cloned().collect()))
    }

    /// The package versions that a snapshot publishes at this base URL: all of its ledger lines but expired nightly and withdrawn
    /// versions.
    pub fn published_releases(&self, snapshot: Option<&Snapshot>, base_url: &str) -> Vec<Release> {
        let Some(manifest) = snapshot.map(|snapshot| &snapshot.manifest) else {
            return Vec::new();
        };
        self.ledger(|ledger| manifest.published_releases(ledger, base_url))
    }

    /// Removes the archives that every snapshot has withdrawn; returns how many.
    pub(super) fn remove_withdrawn(&self) -> anyhow::Result<usize> {
        let Some(newest) = self.newest_snapshot()? else {
            return Ok(0);
        };
        let mut removable: HashSet<u64> = newest.manifest.expired.keys().copied().collect();
        removable.retain(|number| newest.manifest.withdraws(*number));
        for number in self.snapshot_numbers()? {
            if removable.is_empty() {
                return Ok(0);
            }
            // An unreadable snapshot might still name any of them.
            match self.load(number) {
                Ok(snapshot) => removable.retain(|number| snapshot.manifest.withdraws(*number)),
                Err(error) => {
                    tracing::warn!("keeping the archives of expired nightly versions: {error:#}");
                    return Ok(0);
                }
            }
        }
        let (removable, stay): (Vec<_>, Vec<_>) = self.ledger(|ledger| {
            let nightly = ledger.with_renditions().filter(|r| r.kind == ReleaseKind::Dev).cloned();
            nightly.partition(|r| removable.contains(&r.number))
        });
        // A version that returned to an earlier state shares that state's file.
        let needed: HashSet<_> = stay.iter().map(Release::path).collect();
        let mut removed = 0;
        for release in removable.into_iter().filter(|r| !needed.contains(&r.path())) {
            let archive = self.archive(&release);
            if archive.exists() {
                tracing::info!(
                    package = release.name,
                    version = release.version,
                    "removing the archive of an expired nightly version"
                );
                staging::remove(&archive)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}
