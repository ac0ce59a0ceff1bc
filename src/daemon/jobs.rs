//! Runs jobs at the same time, at most one for each repository, each in a process with a thread that watches it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use anyhow::{anyhow, bail};
use jiff::Timestamp;

use super::cycle_process;
use super::cycle_progress::CycleProgress;
use super::tasks::Tasks;
use crate::app::cycle_job::{Job, JobEnd, JobResult, Work};
use crate::app::cycle_runner::record_failed_run;
use crate::app::{App, memory};
use crate::cycle::Cancelled;
use crate::store::{RepositoryStore, VolumeLockError};
use crate::util::cancel::CancelFlag;
use crate::util::clock::now;

/// How often the scheduler looks for ended jobs and requested cycles.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// After how many polls it looks at everything else.
const POLLS: u32 = 10;

/// How many jobs run at the same time, and the memory limit of each.
#[derive(Clone, Copy)]
pub(super) struct JobLimits {
    most: NonZeroUsize,
    pub(super) memory: Option<u64>,
}

impl JobLimits {
    pub(super) fn of(app: &App) -> Self {
        let available = memory::available();
        let repositories = NonZeroUsize::new(app.repositories.len()).unwrap_or(NonZeroUsize::MIN);
        let most = app.config.build.parallel_repositories(available).min(repositories);
        Self { most, memory: app.config.limits.cycle_memory(available, most) }
    }
}

/// What the threads of the jobs share.
#[derive(Clone, Copy)]
pub(super) struct JobContext<'a> {
    pub(super) app: &'a App,
    pub(super) stores: &'a [RepositoryStore],
    pub(super) progress: &'a CycleProgress,
    pub(super) stop: &'a CancelFlag,
}

pub(super) struct Jobs<'scope, 'env> {
    tasks: Tasks<'scope, 'env>,
    context: JobContext<'scope>,
    running: BTreeSet<usize>,
    limits: JobLimits,
    sender: Sender<EndedJob>,
    ended: Receiver<EndedJob>,
}

/// A job that has ended.
pub(super) struct EndedJob {
    /// The index of its repository.
    pub(super) repository: usize,
    pub(super) work: Work,
    /// The archives that a repair left damaged, and why; or why the job failed.
    pub(super) result: anyhow::Result<BTreeMap<PathBuf, String>>,
}

impl<'scope, 'env> Jobs<'scope, 'env> {
    pub(super) fn new(tasks: Tasks<'scope, 'env>, context: JobContext<'scope>) -> Self {
        let (sender, ended) = mpsc::channel();
        Self { tasks, context, running: BTreeSet::new(), limits: JobLimits::of(context.app), sender, ended }
    }

    pub(super) fn is_running(&self, repository: usize) -> bool {
        self.running.contains(&repository)
    }

    /// Whether another job may start for this repository.
    pub(super) fn has_room_for(&self, repository: usize) -> bool {
        self.running.len() < self.limits.most.get() && !self.is_running(repository)
    }

    /// `is_intact`: whether the files of the snapshot, which this process has verified, are still intact.
    pub(super) fn start(&mut self, volume_id: &str, repository: usize, is_intact: bool, work: Work) {
        let app = self.context.app;
        let name = &app.repositories[repository].name;
        let (context, sender) = (self.context, self.sender.clone());
        let store = &context.stores[repository];
        let mut job = Job::new(app, volume_id, name, store, self.limits.memory, work.clone());
        job.intact = job.intact.filter(|_| is_intact);
        self.running.insert(repository);
        let started = self.tasks.start(move || {
            let result = run(context, repository, &job);
            let _ = sender.send(EndedJob { repository, work: job.work, result });
        });
        if let Err(error) = started {
            let error = aborted(&work, error.into());
            record(context, repository, &work, now(), &error);
            let _ = self.sender.send(EndedJob { repository, work, result: Err(error) });
        }
    }

    /// Waits for the next job that ends, for a second at most and only until `is_needed`.
    pub(super) fn wait(&mut self, is_needed: impl Fn() -> bool) -> Option<EndedJob> {
        for _ in 0..POLLS {
            if let Ok(ended) = self.ended.recv_timeout(POLL_INTERVAL) {
                self.running.remove(&ended.repository);
                return Some(ended);
            }
            if self.context.stop.is_set() || is_needed() {
                break;
            }
        }
        None
    }
}

/// Runs a job, and records a failed cycle if its process could not.
fn run(context: JobContext<'_>, repository: usize, job: &Job) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let JobContext { app, stores, progress, stop } = context;
    let began = now();
    let on_progress = |now| progress.update(&job.repository, now);
    let error = match cycle_process::run(job, app.config.limits.cycle_deadline, &on_progress, stop) {
        Ok(JobEnd { result, unwritten }) => {
            if let Some(history) = unwritten {
                let _ = stores[repository].record_history(&history);
            }
            match result {
                JobResult::Done(damaged) => return Ok(damaged),
                JobResult::Interrupted => bail!(Cancelled),
                JobResult::Locked(folder) => bail!(VolumeLockError::Held(folder)),
                JobResult::Failed(error) | JobResult::Overtaken(error) => bail!(error),
                JobResult::NotStarted(error) => anyhow!(error),
            }
        }
        Err(error) if error.is::<Cancelled>() => return Err(error),
        Err(error) => aborted(&job.work, error),
    };
    record(context, repository, &job.work, began, &error);
    Err(error)
}

fn aborted(work: &Work, error: anyhow::Error) -> anyhow::Error {
    error.context(match work {
        Work::Cycle => "the cycle was aborted",
        Work::Move => "the move to another URL was aborted",
        Work::Repair(_) => "the repair was aborted",
        Work::Compress => "the compression was aborted",
        Work::Upload { .. } => "the upload was aborted",
    })
}

fn record(context: JobContext<'_>, repository: usize, work: &Work, began: Timestamp, error: &anyhow::Error) {
    if matches!(work, Work::Cycle) {
        record_failed_run(&context.stores[repository], began, error);
    }
}
