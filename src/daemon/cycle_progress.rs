//! What the builder of this process is doing: told by it, asked by whoever tells others.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use crate::cycle::ProgressEvent;
use crate::status::RunningCycle;

/// Of each repository, by name.
#[derive(Default)]
pub(super) struct CycleProgress(Mutex<BTreeMap<String, RepositoryProgress>>);

/// What is done about a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RepositoryProgress {
    /// Of the cycle that runs.
    pub progress: Option<RunningCycle>,
    /// When the next one begins.
    pub next: Option<Timestamp>,
}

impl CycleProgress {
    /// What is done about `repository` now.
    pub(super) fn of(&self, repository: &str) -> RepositoryProgress {
        self.with(repository, |doing| doing.clone())
    }

    pub(super) fn set_running(&self, repository: &str) {
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        self.with(repository, |doing| doing.progress = Some(RunningCycle::new(now)));
    }

    pub(super) fn step(&self, repository: &str, step: ProgressEvent<'_>) {
        self.with(repository, |doing| {
            if let Some(progress) = &mut doing.progress {
                progress.update(step);
            }
        });
    }

    /// No cycle runs; the next one begins at `next`.
    pub(super) fn set_waiting(&self, repository: &str, next: Timestamp) {
        self.with(repository, |doing| {
            *doing = RepositoryProgress {
                progress: None,
                // The time of what is due at once is in the past, and of what never comes without end.
                next: (next < Timestamp::MAX).then(|| next.max(Timestamp::now())),
            };
        });
    }

    fn with<T>(&self, repository: &str, change: impl FnOnce(&mut RepositoryProgress) -> T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(repository.to_owned()).or_default())
    }
}
