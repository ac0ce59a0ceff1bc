//! The jobs that run at the same time: at most one for a repository, each in a process that a thread watches over.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::Scope;
use std::time::Duration;

use anyhow::{anyhow, bail};

use super::cycle_process;
use super::cycle_progress::CycleProgress;
use super::spawn;
use crate::app::cycle_job::{Job, JobEnd, JobResult, Work};
use crate::app::cycle_runner::record_failed_run;
use crate::app::{App, memory};
use crate::cycle::Cancelled;
use crate::store::{RepositoryStore, VolumeLockError};
use crate::util::cancel::CancelFlag;
use crate::util::clock::now;

/// How often ended jobs are looked for while some run, and how often a scheduler that waits looks at everything else.
const POLLS: (Duration, u32) = (Duration::from_millis(100), 10);

/// What the threads of the jobs share.
#[derive(Clone, Copy)]
pub(super) struct JobContext<'a> {
    pub(super) app: &'a App,
    pub(super) stores: &'a [RepositoryStore],
    pub(super) progress: &'a CycleProgress,
    pub(super) stop: &'a CancelFlag,
}

pub(super) struct Jobs<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    context: JobContext<'scope>,
    running: BTreeSet<usize>,
    most: NonZeroUsize,
    /// The memory limit of each process.
    memory: Option<u64>,
    sender: Sender<EndedJob>,
    ended: Receiver<EndedJob>,
}

/// A job that has ended.
pub(super) struct EndedJob {
    /// The index of its repository.
    pub(super) repository: usize,
    pub(super) work: Work,
    /// The archives that a repair did not make whole, and why; or why nothing was done.
    pub(super) result: anyhow::Result<BTreeMap<PathBuf, String>>,
}

impl<'scope, 'env> Jobs<'scope, 'env> {
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>, context: JobContext<'scope>) -> Self {
        let (config, available) = (&context.app.config, memory::available());
        let repositories = NonZeroUsize::new(context.stores.len()).unwrap_or(NonZeroUsize::MIN);
        let most = config.build.parallel_repositories(available).min(repositories);
        let (sender, ended) = mpsc::channel();
        let memory = config.limits.cycle_memory(available, most);
        Self { scope, context, running: BTreeSet::new(), most, memory, sender, ended }
    }

    pub(super) fn is_running(&self, repository: usize) -> bool {
        self.running.contains(&repository)
    }

    /// Whether another job may start for this repository.
    pub(super) fn has_room_for(&self, repository: usize) -> bool {
        self.running.len() < self.most.get() && !self.is_running(repository)
    }

    pub(super) fn start(&mut self, volume_id: &str, repository: usize, work: Work) {
        let JobContext { app, stop, .. } = self.context;
        let name = &app.repositories[repository].name;
        let job = Job::new(app, volume_id, name, self.memory, work);
        let (context, sender) = (self.context, self.sender.clone());
        self.running.insert(repository);
        spawn(self.scope, stop, move || {
            let result = run(context, repository, &job);
            let _ = sender.send(EndedJob { repository, work: job.work, result });
        });
    }

    /// Waits for the next job that ends, for a second at most.
    pub(super) fn wait(&mut self) -> Option<EndedJob> {
        let ((pause, polls), stop) = (POLLS, self.context.stop);
        if self.running.is_empty() {
            stop.wait(pause * polls);
            return None;
        }
        for _ in 0..polls {
            if let Ok(ended) = self.ended.try_recv() {
                self.running.remove(&ended.repository);
                return Some(ended);
            }
            stop.wait(pause);
            if stop.is_set() {
                break;
            }
        }
        None
    }
}

/// Runs a job, and records a failed cycle that its process could not record.
fn run(context: JobContext<'_>, repository: usize, job: &Job) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let JobContext { app, stores, progress, stop } = context;
    let (store, began) = (&stores[repository], now());
    let on_progress = |now| progress.update(&job.repository, now);
    let unrecorded = match cycle_process::run(job, app.config.limits.cycle_deadline, &on_progress, stop) {
        Ok(JobEnd { result, unwritten }) => {
            if let Some(history) = unwritten {
                let _ = store.record_history(&history);
            }
            match result {
                JobResult::Done(damaged) => return Ok(damaged),
                JobResult::Interrupted => bail!(Cancelled),
                JobResult::Locked(folder) => bail!(VolumeLockError::Held(folder)),
                JobResult::Failed(error) => bail!(error),
                JobResult::NotStarted(error) => anyhow!(error),
            }
        }
        Err(error) if error.is::<Cancelled>() => return Err(error),
        Err(error) => error.context(match job.work {
            Work::Cycle => "the cycle was aborted",
            Work::Repair(_) => "the repair was aborted",
        }),
    };
    if matches!(job.work, Work::Cycle) {
        record_failed_run(store, began, &unrecorded);
    }
    Err(unrecorded)
}
