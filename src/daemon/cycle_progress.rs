//! Progress of the running cycles and uploads: written by the scheduler and the bucket publisher, read by the status publisher.

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
    /// Objects that are in the bucket, of all that are being uploaded.
    pub(super) upload: Option<(u64, u64)>,
}

impl CycleProgress {
    pub(super) fn get(&self, repository: &str) -> RepositoryProgress {
        self.with(repository, |progress| progress.clone())
    }

    pub(super) fn set_running(&self, repository: &str) {
        self.with(repository, |progress| {
            (progress.running, progress.next) = (Some(RunningCycle::new(now())), None);
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
            // A cycle that is due at once has a time in the past; one that never comes has `MAX`.
            let next = (next < Timestamp::MAX).then(|| next.max(Timestamp::now()));
            (progress.running, progress.next) = (None, next);
        });
    }

    /// Records how far an upload is; `None` when it has ended.
    pub(super) fn set_upload(&self, repository: &str, objects: Option<(u64, u64)>) {
        self.with(repository, |progress| progress.upload = objects);
    }

    fn with<T>(&self, repository: &str, access: impl FnOnce(&mut RepositoryProgress) -> T) -> T {
        let mut all = self.0.lock();
        access(all.entry(repository.to_owned()).or_default())
    }
}
