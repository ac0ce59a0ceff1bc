//! Removes old snapshots in two steps: one that is no longer kept is marked, and removed when the mark is old enough.
//!
//! The time between is for servers that have not switched yet. Snapshots share files by hard links, so removing one never
//! removes another's files. The archives of expired nightly versions are removed after the last snapshot that names them
//! ([`super::nightly_retention`]).

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

use super::repository::RepositoryStore;
use super::staging;

/// A file in the folder of a retired snapshot. Its modification time is when the snapshot was retired.
const MARK: &str = "retired";

/// Which snapshots are kept.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotRetention {
    /// The number of newest snapshots.
    pub snapshots: usize,
    /// How long a retired snapshot stays, and how long a nightly version that is no longer named is served.
    pub grace: Duration,
}

impl RepositoryStore {
    /// Marks and removes snapshots that are no longer kept, then the archives that only they named; returns how many
    /// snapshots were removed. Also points `current` at the snapshot that is served, if that has failed before.
    pub fn apply_retention(&self, retention: SnapshotRetention) -> anyhow::Result<usize> {
        let mut numbers = self.snapshot_numbers()?;
        let newest = self.newest_snapshot()?;
        if let Some(newest) = &newest {
            self.point_current(newest.manifest.number)?;
        }
        let named = newest.iter().flat_map(|s| [Some(s.manifest.number), s.manifest.rollback_to]);
        let named: Vec<_> = named.flatten().collect();
        let kept = numbers.split_off(numbers.len().saturating_sub(retention.snapshots.max(1)));
        let (named, old): (Vec<_>, Vec<_>) = numbers.into_iter().partition(|n| named.contains(n));
        for number in kept.into_iter().chain(named) {
            let mark = self.snapshot_folder(number).join(MARK);
            if mark.exists() {
                staging::remove(&mark)?;
            }
        }
        let mut removed = 0;
        for number in old {
            removed += usize::from(self.retire(number, retention.grace)?);
        }
        self.remove_withdrawn()?;
        Ok(removed)
    }

    fn retire(&self, number: u64, grace: Duration) -> anyhow::Result<bool> {
        let folder = self.snapshot_folder(number);
        let mark = folder.join(MARK);
        let Ok(found) = fs::metadata(&mark) else {
            fs::write(&mark, "").with_context(|| format!("failed to write `{}`", mark.display()))?;
            return Ok(false);
        };
        let since = found
            .modified()
            .with_context(|| format!("failed to read the metadata of `{}`", mark.display()))?;
        if SystemTime::now().duration_since(since).is_ok_and(|age| age >= grace) {
            let temporary = self.staging_path(&format!("retired-{number}"))?;
            fs::rename(&folder, &temporary)
                .with_context(|| format!("failed to move `{}`", folder.display()))?;
            staging::remove(&temporary)?;
            return Ok(true);
        }
        Ok(false)
    }
}
