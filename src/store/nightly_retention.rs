//! The end of nightly versions: once no metadata names one any more, its archive goes in two steps.
//!
//! Each snapshot says since when which nightly releases are unnamed. One that was unnamed for longer than the grace time
//! when a snapshot was made is *withdrawn* by it: servers of that snapshot answer it no more. The archive is removed when
//! every snapshot that is still on the volume has it withdrawn, so that no server, and no rollback, can ask for it.
//! The line of the ledger stays: its name and version are never free again.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::snapshot::Snapshot;
use super::{RepositoryStore, staging};
use crate::ledger::{Release, ReleaseKind};

/// A nightly release that the snapshot's metadata does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiredRelease {
    /// When the first snapshot without it was made.
    pub since: Timestamp,
    /// Its archive is not served any more.
    pub withdrawn: bool,
}

/// By the number of the release's line in the ledger.
pub type ExpiredReleases = BTreeMap<u64, ExpiredRelease>;

impl RepositoryStore {
    /// What the snapshot after `previous` says of nightly releases, if its metadata names those with these numbers.
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
            (number, ExpiredRelease { since, withdrawn })
        };
        self.ledger(|ledger| {
            let nightly = ledger.releases().iter().filter(|r| r.kind == ReleaseKind::Dev);
            let unnamed = nightly.filter(|r| !named.contains(&r.number));
            unnamed.map(|r| state(r.number)).collect()
        })
    }

    /// The releases whose archives are there for everybody: all but those that the newest snapshot has withdrawn.
    ///
    /// # Errors
    /// Of looking for the newest snapshot.
    pub fn served_releases(&self) -> anyhow::Result<Vec<Release>> {
        let newest = self.latest_snapshot()?;
        let stands = |r: &&Release| newest.as_ref().is_none_or(|s| !s.manifest.withdraws(r.number));
        Ok(self.ledger(|ledger| ledger.releases().iter().filter(stands).cloned().collect()))
    }

    /// Removes the archives that every snapshot has withdrawn; answers how many there were.
    pub(super) fn remove_withdrawn(&self) -> anyhow::Result<usize> {
        let Some(newest) = self.newest_snapshot()? else {
            return Ok(0);
        };
        let mut gone: HashSet<u64> = newest.manifest.expired.keys().copied().collect();
        gone.retain(|number| newest.manifest.withdraws(*number));
        for number in self.snapshot_numbers()? {
            if gone.is_empty() {
                return Ok(0);
            }
            // One that cannot be read might still name anything.
            match self.load(number) {
                Ok(snapshot) => gone.retain(|number| snapshot.manifest.withdraws(*number)),
                Err(error) => {
                    tracing::warn!("no archive is removed: {error:#}");
                    return Ok(0);
                }
            }
        }
        let (gone, stay): (Vec<_>, Vec<_>) = self.ledger(|ledger| {
            let nightly = ledger
                .releases()
                .iter()
                .filter(|r| r.kind == ReleaseKind::Dev)
                .cloned();
            nightly.partition(|r| gone.contains(&r.number))
        });
        // A version that went back to what it was has the file of that state.
        let needed: HashSet<_> = stay.iter().map(Release::path).collect();
        let mut removed = 0;
        for release in gone.into_iter().filter(|r| !needed.contains(&r.path())) {
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
