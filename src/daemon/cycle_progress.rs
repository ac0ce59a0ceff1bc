//! Progress of the running cycles: written by the scheduler, read by the status publisher.

use std::collections::BTreeMap;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::status::RunningCycle;
use crate::util::clock::now;

/// Progress by the name of the repository.
#[derive(Default)]
pub(super) struct CycleProgress(Mutex<BTreeMap<String, RepositoryProgress>>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RepositoryProgress {
    pub(super) running: Option<RunningCycle>,
    /// When the next cycle begins; `None` while one is running.
    pub(super) next: Option<Timestamp>,
}

impl CycleProgress {
    pub(super) fn get(&self, repository: &str) -> RepositoryProgress {
        self.with(repository, |progress| progress.clone())
    }

    pub(super) fn set_running(&self, repository: &str) {
        self.with(repository, |progress| {
            *progress = RepositoryProgress { running: Some(RunningCycle::new(now())), next: None };
        });
    }

    /// Replaces the progress of a running cycle, except for its beginning.
    pub(super) fn update(&self, repository: &str, mut now: RunningCycle) {
        self.with(repository, |progress| {
            if let Some(running) = &mut progress.running {
                now.began = running.began;
                *running = now;
            }
        });
    }

    /// Records that no cycle runs, and that the next one begins at `next`.
    pub(super) fn set_waiting(&self, repository: &str, next: Timestamp) {
        self.with(repository, |progress| {
            *progress = RepositoryProgress {
                running: None,
                // A cycle that is due at once has a time in the past; one that never comes has `MAX`.
                next: (next < Timestamp::MAX).then(|| next.max(Timestamp::now())),
            };
        });
    }

    fn with<T>(&self, repository: &str, access: impl FnOnce(&mut RepositoryProgress) -> T) -> T {
        let mut all = self.0.lock();
        access(all.entry(repository.to_owned()).or_default())
    }
}
