//! Compares archives with the ledger, and counts what the scrub of a running mirror found.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;

use super::durable_fs;
use super::repository::RepositoryStore;
use crate::ledger::Release;

/// The results of a server's scrub.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScrubState {
    /// Archives read since the start.
    pub checked: u64,
    /// Damaged archives found since the start.
    pub damaged: u64,
    /// How often all archives were read.
    pub passes: u64,
    /// When the last pass ended.
    pub finished: Option<Timestamp>,
}

/// A shared [`ScrubState`].
#[derive(Debug, Default)]
pub struct Scrub(Mutex<ScrubState>);

impl Scrub {
    pub fn state(&self) -> ScrubState {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn count(&self, damaged: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.checked += 1;
        state.damaged += u64::from(damaged);
    }

    pub fn end_pass(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.passes += 1;
        state.finished = Some(Timestamp::now());
    }
}

impl RepositoryStore {
    /// Served archives that are missing or have the wrong size, by path, with the remedy. Reads no contents.
    pub fn missing_archives(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let is_complete = |release: &Release| {
            std::fs::metadata(self.archive(release)).is_ok_and(|found| found.len() == release.size)
        };
        let mut missing = self.served_releases()?;
        missing.retain(|release| !is_complete(release));
        let reason = "is missing or cut short; `mirror verify --repair` builds it again";
        Ok(missing.iter().map(|release| (release.path(), reason.to_owned())).collect())
    }

    /// Compares an archive with its line of the ledger.
    pub fn check_archive(&self, release: &Release) -> anyhow::Result<()> {
        let path = self.archive(release);
        let found = std::fs::metadata(&path);
        if let Err(error) = &found
            && error.kind() == std::io::ErrorKind::NotFound
        {
            bail!("`{}` is missing", path.display());
        }
        let size =
            found.with_context(|| format!("failed to read the metadata of `{}`", path.display()))?.len();
        ensure!(
            size == release.size,
            "`{}` is damaged: it has {size} bytes, not {}",
            path.display(),
            release.size
        );
        let found = durable_fs::hash(&path)?;
        ensure!(
            found == release.sha256,
            "`{}` is damaged: its SHA-256 is {found}, not {}",
            path.display(),
            release.sha256
        );
        Ok(())
    }
}
