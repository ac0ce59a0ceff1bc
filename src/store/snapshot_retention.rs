//! Removing old snapshots, in two steps: one that is no longer kept is marked, and goes when the mark is old enough.
//!
//! The time between is for servers that have not switched yet. Files that a kept snapshot has are its own names for the
//! same bytes, so that removing another folder never takes one away. The ledger is never collected; the archives of
//! expired nightly versions go when the last snapshot that could name them has gone ([`super::nightly_retention`]).

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

use super::{RepositoryStore, staging};

/// The name of the mark in a snapshot's folder; its modification time says since when.
const MARK: &str = "retired";

/// Which snapshots stay.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// So many of the newest.
    pub snapshots: usize,
    /// How long one that is no longer kept stays, and how long a nightly version that is no longer named is served.
    pub grace: Duration,
}

impl RepositoryStore {
    /// Marks and removes snapshots that are no longer kept, then what only they could name; answers how many snapshots
    /// are removed. `current` points at the one that is served then, whatever kept it from that before.
    ///
    /// # Errors
    /// Of the file system.
    pub fn apply_retention(&self, retention: Retention) -> anyhow::Result<usize> {
        let mut numbers = self.snapshot_numbers()?;
        let newest = self.newest_snapshot()?;
        if let Some(newest) = &newest {
            self.point_current(newest.manifest.number)?;
        }
        let named = newest
            .iter()
            .flat_map(|s| [Some(s.manifest.number), s.manifest.rollback_to]);
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
            .with_context(|| format!("failed to look at `{}`", mark.display()))?;
        if SystemTime::now()
            .duration_since(since)
            .is_ok_and(|age| age >= grace)
        {
            let aside = self.staging_path(&format!("retired-{number}"))?;
            fs::rename(&folder, &aside)
                .with_context(|| format!("failed to move `{}` away", folder.display()))?;
            staging::remove(&aside)?;
            return Ok(true);
        }
        Ok(false)
    }
}
