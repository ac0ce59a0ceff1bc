//! The damaged archives, and when the repair of each is tried next: at once, then at growing intervals.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::backoff::retry_delay;
use super::repairer::{RepairResult, repair};
use crate::app::App;
use crate::store::RepositoryStore;
use crate::util::cancel::CancelFlag;

/// The longest delay between two attempts. Each attempt fetches from git.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(600);

/// Attempts by file.
pub(super) struct RepairQueue(BTreeMap<PathBuf, Attempt>);

struct Attempt {
    at: Instant,
    failures: u32,
}

impl RepairQueue {
    /// The archives that were damaged when the program last ran.
    pub(super) fn from_history(stores: &[RepositoryStore]) -> Self {
        let files = stores.iter().flat_map(damaged_archives);
        Self(files.map(|file| (file, Attempt::now())).collect())
    }

    /// A file that is already queued keeps its time.
    pub(super) fn add(&mut self, file: PathBuf) {
        self.0.entry(file).or_insert_with(Attempt::now);
    }

    /// Tries the repairs that are due and records what is still damaged. Returns the repaired files.
    pub(super) fn run(
        &mut self,
        app: &App,
        stores: &[RepositoryStore],
        volume_id: &str,
        stop: &CancelFlag,
    ) -> BTreeSet<PathBuf> {
        let now = Instant::now();
        let due = self.0.iter().filter(|(_, attempt)| attempt.at <= now);
        let mut files: BTreeSet<PathBuf> = due.map(|(file, _)| file.clone()).collect();
        if files.is_empty() {
            return files;
        }
        let result = repair(app, stores, volume_id, &files, stop);
        if stop.is_set() {
            return BTreeSet::new();
        }
        files.retain(|file| !result.postponed.contains(file));
        for file in &files {
            match self.0.get_mut(file) {
                Some(attempt) if result.damaged.contains_key(file) => attempt.fail(),
                _ => drop(self.0.remove(file)),
            }
        }
        for store in stores {
            record(store, &files, &result);
        }
        files.retain(|file| !result.damaged.contains_key(file));
        files
    }
}

impl Attempt {
    fn now() -> Self {
        Self { at: Instant::now(), failures: 0 }
    }

    fn fail(&mut self) {
        self.failures += 1;
        self.at = Instant::now() + retry_delay(self.failures).min(MAX_RETRY_DELAY);
    }
}

/// Records which of the tried `files` of a repository are still damaged.
fn record(store: &RepositoryStore, files: &BTreeSet<PathBuf>, result: &RepairResult) {
    let mut damaged = store.run_history().damaged;
    damaged.retain(|path, _| !files.contains(&store.root().join(path)));
    damaged.extend(result.damaged.iter().filter_map(|(file, message)| {
        let path = file.strip_prefix(store.root()).ok()?;
        Some((path.to_str()?.to_owned(), message.clone()))
    }));
    if let Err(error) = store.record_damaged(damaged) {
        tracing::warn!("failed to record damaged archives for the status page: {error:#}");
    }
}

/// The archives of a repository that are recorded as damaged.
pub(super) fn damaged_archives(store: &RepositoryStore) -> impl Iterator<Item = PathBuf> {
    let damaged = store.run_history().damaged.into_keys();
    damaged.map(|path| store.root().join(path))
}
