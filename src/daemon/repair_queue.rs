//! Damaged archives, and when the repair of each is tried next: at once, and then more and more seldom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::backoff::retry_after;
use super::repairer::repair;
use crate::app::App;
use crate::store::RepositoryStore;
use crate::util::cancel::CancelFlag;

/// How long after an attempt to repair a file the next one begins at the latest; each fetches from git.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(600);

/// By file.
pub(super) struct RepairQueue(BTreeMap<PathBuf, Repair>);

/// When the repair is tried next, and how many attempts have failed.
struct Repair {
    at: Instant,
    failures: u32,
}

impl RepairQueue {
    /// Of what was damaged when the program last ran.
    pub(super) fn from_history(stores: &[RepositoryStore]) -> Self {
        let files = stores.iter().flat_map(damaged);
        Self(files.map(|file| (file, Repair::now())).collect())
    }

    /// A file that is there already keeps its time.
    pub(super) fn add(&mut self, file: PathBuf) {
        self.0.entry(file).or_insert_with(Repair::now);
    }

    /// Makes the attempts that are due, and records what is damaged still; answers the files that are whole again.
    pub(super) fn run(
        &mut self,
        app: &App,
        stores: &[RepositoryStore],
        id: &str,
        stop: &CancelFlag,
    ) -> BTreeSet<PathBuf> {
        let now = Instant::now();
        let due = self.0.iter().filter(|(_, repair)| repair.at <= now);
        let mut due: BTreeSet<PathBuf> = due.map(|(file, _)| file.clone()).collect();
        if due.is_empty() {
            return due;
        }
        let left = repair(app, stores, id, &due, stop);
        if stop.is_set() {
            return BTreeSet::new();
        }
        due.retain(|file| !left.postponed.contains(file));
        for file in &due {
            match self.0.get_mut(file) {
                Some(repair) if left.damaged.contains_key(file) => repair.fail(),
                _ => drop(self.0.remove(file)),
            }
        }
        for store in stores {
            let mut damaged = store.run_history().damaged;
            damaged.retain(|path, _| !due.contains(&store.root().join(path)));
            damaged.extend(left.damaged.iter().filter_map(|(file, because)| {
                let path = file.strip_prefix(store.root()).ok()?;
                Some((path.to_str()?.to_owned(), because.clone()))
            }));
            if let Err(error) = store.record_damaged(damaged) {
                tracing::warn!("the status page will not know of damaged archives: {error:#}");
            }
        }
        due.retain(|file| !left.damaged.contains_key(file));
        due
    }
}

impl Repair {
    fn now() -> Self {
        Self {
            at: Instant::now(),
            failures: 0,
        }
    }

    /// Notes that an attempt has failed; there is always another one.
    fn fail(&mut self) {
        self.failures += 1;
        self.at = Instant::now() + retry_after(self.failures).min(MAX_RETRY_DELAY);
    }
}

/// The archives of a repository that are known to be damaged.
pub(super) fn damaged(store: &RepositoryStore) -> impl Iterator<Item = PathBuf> {
    let damaged = store.run_history().damaged.into_keys();
    damaged.map(|path| store.root().join(path))
}
