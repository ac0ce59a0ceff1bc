//! The damaged archives, and when each is repaired: at once, then at growing intervals.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::backoff::{LOCKED_RETRY_DELAY, retry_delay};
use crate::store::RepositoryStore;

/// The longest delay between two attempts. Each attempt fetches from git.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(600);

/// Attempts by file.
pub(super) struct RepairQueue(BTreeMap<PathBuf, Attempt>);

struct Attempt {
    at: Instant,
    failures: u32,
}

impl RepairQueue {
    /// The archives that are recorded as damaged.
    pub(super) fn from_history(stores: &[RepositoryStore]) -> Self {
        let files = stores.iter().flat_map(damaged_archives);
        Self(files.map(|file| (file, Attempt::now())).collect())
    }

    /// A file that is already queued keeps its time.
    pub(super) fn add(&mut self, file: PathBuf) {
        self.0.entry(file).or_insert_with(Attempt::now);
    }

    /// The archives of a repository whose repair is due.
    pub(super) fn due(&self, store: &RepositoryStore) -> BTreeSet<PathBuf> {
        let now = Instant::now();
        let due = self.0.iter().filter(|(file, attempt)| attempt.at <= now && file.starts_with(store.root()));
        due.map(|(file, _)| file.clone()).collect()
    }

    /// Tries `files` again soon, because another instance has locked the volume.
    pub(super) fn postpone(&mut self, files: &BTreeSet<PathBuf>) {
        let at = Instant::now() + LOCKED_RETRY_DELAY;
        let attempts = self.0.iter_mut().filter(|(file, _)| files.contains(*file));
        attempts.for_each(|(_, attempt)| attempt.at = at);
    }

    /// Records which of the tried `files` are still `damaged`, and why. Returns the repaired ones.
    pub(super) fn finish(
        &mut self,
        store: &RepositoryStore,
        mut files: BTreeSet<PathBuf>,
        damaged: &BTreeMap<PathBuf, String>,
    ) -> BTreeSet<PathBuf> {
        for file in &files {
            match self.0.get_mut(file) {
                Some(attempt) if damaged.contains_key(file) => attempt.fail(),
                _ => drop(self.0.remove(file)),
            }
        }
        record(store, &files, damaged);
        files.retain(|file| !damaged.contains_key(file));
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
fn record(store: &RepositoryStore, files: &BTreeSet<PathBuf>, still: &BTreeMap<PathBuf, String>) {
    let mut damaged = store.run_history().damaged;
    damaged.retain(|path, _| !files.contains(&store.root().join(path)));
    damaged.extend(still.iter().filter_map(|(file, message)| {
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
