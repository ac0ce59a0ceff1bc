//! Compares archives with the ledger, and counts what the scrub of a running mirror found.

use std::collections::BTreeMap;
use std::io;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::durable_fs;
use super::repository::RepositoryStore;
use crate::ledger::Release;

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is missing, or its bytes are not the published ones.
    #[error("{0}")]
    Damaged(String),
    /// It could not be read, which says nothing about its bytes.
    #[error("{0}")]
    Unreadable(String),
}

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
        *self.0.lock()
    }

    pub fn count(&self, damaged: bool) {
        let mut state = self.0.lock();
        state.checked += 1;
        state.damaged += u64::from(damaged);
    }

    pub fn end_pass(&self) {
        let mut state = self.0.lock();
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
    pub fn check_archive(&self, release: &Release) -> Result<(), ArchiveError> {
        let path = self.archive(release);
        let damaged = |what: String| Err(ArchiveError::Damaged(format!("`{}` is {what}", path.display())));
        let size = match std::fs::metadata(&path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return damaged("missing".to_owned()),
            Err(error) => {
                let file = path.display();
                let message = format!("failed to read the metadata of `{file}`: {error}");
                return Err(ArchiveError::Unreadable(message));
            }
        };
        if size != release.size {
            return damaged(format!("damaged: it has {size} bytes, not {}", release.size));
        }
        match durable_fs::hash(&path) {
            Ok(found) if found == release.sha256 => Ok(()),
            Ok(found) => damaged(format!("damaged: its SHA-256 is {found}, not {}", release.sha256)),
            Err(error) => Err(ArchiveError::Unreadable(format!("{error:#}"))),
        }
    }
}
