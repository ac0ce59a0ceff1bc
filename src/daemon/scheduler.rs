//! The scheduler: which repository's cycle or repair is due. Jobs of different repositories run at the same time if the
//! configuration lets them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;

use super::backoff::{LOCKED_RETRY_DELAY, push_debounce, retry_delay};
use super::cycle_progress::CycleProgress;
use super::jobs::{EndedJob, JobContext, Jobs};
use super::repair_queue::RepairQueue;
use super::scheduled_repository::{ScheduledRepository, in_whole_seconds};
use super::snapshot_follower::SnapshotFollower;
use super::tasks::Tasks;
use crate::app::App;
use crate::app::cycle_job::Work;
use crate::app::repair::all_impossible;
use crate::cycle::{Cancelled, Report};
use crate::store::VolumeLockError;
use crate::util::cancel::CancelFlag;

/// The shortest delay after a cycle that could not reach a source, while there is something to serve.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(600);

/// Runs cycles under one configuration.
pub(super) struct Scheduler<'a> {
    pub(super) app: &'a App,
    /// `None` if this process does not build.
    pub(super) volume_id: Option<&'a str>,
    pub(super) follower: SnapshotFollower<'a>,
    /// Receives a message when another snapshot is served.
    pub(super) site_changed: &'a Sender<()>,
    pub(super) progress: &'a CycleProgress,
    pub(super) stop: &'a CancelFlag,
}

impl<'a> Scheduler<'a> {
    /// Runs the cycles that are due until the process stops. `all` makes every cycle due at first.
    pub(super) fn run(mut self, all: bool) {
        let mut repositories = self.repositories(all);
        if !is_any_awaited(&repositories) {
            self.follow();
        }
        self.schedule_first(&mut repositories, all);
        let mut repairs = RepairQueue::from_history(self.follower.stores);
        let mut last_poll = Timestamp::now();
        let context = JobContext {
            app: self.app,
            stores: self.follower.stores,
            progress: self.progress,
            stop: self.stop,
        };
        thread::scope(|scope| {
            let mut jobs = Jobs::new(Tasks { scope, stop: self.stop }, context);
            while !self.stop.is_set() {
                let now = Timestamp::now();
                if now < last_poll {
                    self.on_clock_set_back(&mut repositories);
                }
                last_poll = now;
                self.schedule_requested(&mut repositories);
                if self.has_arrived(&mut repositories) {
                    self.follow();
                }
                self.start_moves(&repositories, &mut jobs);
                if !repositories.iter().any(|repository| repository.is_moving) {
                    self.start_due(&mut repositories, &mut jobs);
                }
                if !is_any_awaited(&repositories) {
                    if self.follower.poll() {
                        self.notify_site_changed();
                    }
                    self.take_damaged(&mut repairs, &mut repositories);
                    self.start_repairs(&repairs, &repositories, &mut jobs);
                }
                if let Some(ended) = jobs.wait(|| self.follower.published.has_requested_cycles()) {
                    self.on_end(ended, &mut repairs, &mut repositories);
                }
            }
        });
    }

    /// Snapshots contain the base URL. Those for another one are made for the configured one first, which no upstream can delay.
    /// A new configuration is served once that is done, and once what takes the place of another repository is there.
    fn repositories(&self, all: bool) -> Vec<ScheduledRepository<'a>> {
        let stores: &'a [_] = self.follower.stores;
        let repositories = self.app.repositories.iter().zip(stores).map(|(repository, store)| {
            let mut new = ScheduledRepository::new(repository, store);
            if self.volume_id.is_some() {
                new.is_moving = new.is_moved();
                new.is_awaited = all && self.is_awaited(&new);
            }
            new
        });
        repositories.collect()
    }

    /// A repository is built at once if it is unpublished, was published for another URL or other sources, or if its last cycle
    /// was interrupted; else on schedule.
    fn schedule_first(&self, repositories: &mut [ScheduledRepository<'_>], all: bool) {
        for (i, repository) in repositories.iter_mut().enumerate() {
            let was_interrupted = repository.store.run_history().running.is_some();
            let is_due = all || was_interrupted || !self.follower.serves(i) || repository.is_outdated();
            repository.at = if is_due { Timestamp::MIN } else { repository.regular() };
            if self.volume_id.is_some() {
                self.show_next(repository);
                if !is_due {
                    repository.log_waiting();
                }
            }
        }
    }

    /// Whether it is to be published for another URL, or another repository is served at the URL of one without a snapshot.
    fn is_awaited(&self, repository: &ScheduledRepository<'_>) -> bool {
        let base_path = repository.repository.base_url.path();
        repository.is_moved() || !repository.is_published() && self.follower.published.serves(base_path)
    }

    /// Whether nothing is awaited any more, for the first time.
    fn has_arrived(&self, repositories: &mut [ScheduledRepository<'_>]) -> bool {
        let was_any_awaited = is_any_awaited(repositories);
        for repository in repositories.iter_mut().filter(|repository| repository.is_awaited) {
            repository.is_awaited = self.is_awaited(repository);
        }
        was_any_awaited && !is_any_awaited(repositories)
    }

    fn start_moves(&self, repositories: &[ScheduledRepository<'_>], jobs: &mut Jobs<'_, '_>) {
        let Some(volume_id) = self.volume_id else { return };
        for (i, repository) in repositories.iter().enumerate() {
            if repository.is_moving && jobs.has_room_for(i) {
                jobs.start(volume_id, i, true, Work::Move);
            }
        }
    }

    /// Recomputes times that would now be too far in the future.
    fn on_clock_set_back(&self, repositories: &mut [ScheduledRepository<'_>]) {
        if self.volume_id.is_none() {
            return;
        }
        for repository in repositories {
            repository.at = repository.at.min(repository.regular());
            repository.last_end = None;
            self.show_next(repository);
        }
    }

    /// Brings forward the cycles that webhooks requested.
    fn schedule_requested(&self, repositories: &mut [ScheduledRepository<'_>]) {
        let requested = self.follower.published.take_requested_cycles();
        for repository in repositories {
            if requested.contains(&repository.repository.name) {
                repository.bring_forward(push_debounce(!repository.repository.follow.is_empty()));
                self.show_next(repository);
            }
        }
    }

    fn show_next(&self, repository: &ScheduledRepository<'_>) {
        if !repository.is_running {
            self.progress.set_waiting(&repository.repository.name, repository.at);
        }
    }

    /// Starts the cycles that are due, as many as may run at once.
    fn start_due(&self, repositories: &mut [ScheduledRepository<'_>], jobs: &mut Jobs<'_, '_>) {
        let Some(volume_id) = self.volume_id else { return };
        for (i, repository) in repositories.iter_mut().enumerate() {
            if repository.at <= Timestamp::now() && jobs.has_room_for(i) {
                repository.is_running = true;
                self.progress.set_running(&repository.repository.name);
                let is_intact = !std::mem::take(&mut repository.is_snapshot_damaged);
                jobs.start(volume_id, i, is_intact, Work::Cycle);
            }
        }
    }

    fn on_end(
        &mut self,
        EndedJob { repository: i, work, result }: EndedJob,
        repairs: &mut RepairQueue,
        repositories: &mut [ScheduledRepository<'_>],
    ) {
        match work {
            Work::Move => {
                repositories[i].is_moving = false;
                // The next cycle does what could not be done.
                if let Some(error) = result.err().filter(|error| !error.is::<Cancelled>()) {
                    let repository = &repositories[i].repository.name;
                    tracing::warn!(repository, "not published for its new URL yet: {error:#}");
                }
                let was_awaited = std::mem::take(&mut repositories[i].is_awaited);
                if was_awaited && !is_any_awaited(repositories) {
                    self.follow();
                }
            }
            Work::Cycle => {
                repositories[i].is_awaited = false;
                if !is_any_awaited(repositories) {
                    self.follow();
                }
                self.on_cycle_end(i, result.map(drop), &mut repositories[i]);
            }
            Work::Repair(files) => on_repair_end(files, result, repairs, &mut repositories[i]),
            Work::Compress | Work::Upload { .. } => {}
        }
    }

    fn on_cycle_end(&self, i: usize, result: anyhow::Result<()>, repository: &mut ScheduledRepository<'_>) {
        if result.as_ref().is_err_and(anyhow::Error::is::<Cancelled>) {
            return;
        }
        repository.read_damaged();
        for file in &repository.damaged {
            self.follower.published.report_damaged(file);
        }
        let store = repository.store;
        let report =
            result.and_then(|()| Ok(Report::last(store.latest_snapshot()?.as_ref(), &store.run_history())));
        let next = self.next_run(i, report, repository);
        repository.end_cycle(next);
        self.show_next(repository);
        repository.log_waiting();
    }

    /// When the next cycle begins after one with this result. A failed fetch is retried before the next scheduled run.
    fn next_run(
        &self,
        i: usize,
        result: anyhow::Result<Report>,
        repository: &mut ScheduledRepository<'_>,
    ) -> Timestamp {
        let name = &repository.repository.name;
        let is_published = repository.is_published();
        let report = match result {
            Ok(report) => Some(report),
            Err(error) if is_locked(&error) => {
                // The other instance publishes.
                if !self.follower.serves(i) {
                    return Timestamp::now() + LOCKED_RETRY_DELAY;
                }
                tracing::info!(repository = name, "{error:#}");
                None
            }
            Err(error) => {
                tracing::error!(repository = name, "{error:#}");
                None
            }
        };
        let has_failed_as_a_whole = report.is_none();
        // A single package that failed fails again until upstream or the recipe changes.
        let is_done = report.is_some_and(|report| match is_published {
            true => report.sources.values().all(|source| source.error.is_none()),
            false => report.is_complete(),
        });
        if is_done {
            repository.failures = 0;
            return repository.regular();
        }
        repository.failures += 1;
        let delay = retry_delay(repository.failures);
        // Clients can wait longer if something is published.
        let delay = match is_published && !has_failed_as_a_whole {
            true => delay.max(MIN_RETRY_DELAY),
            false => delay,
        };
        repository.regular().min(in_whole_seconds(Timestamp::now() + delay))
    }

    fn follow(&mut self) {
        if self.follower.follow() {
            self.notify_site_changed();
        }
    }

    fn notify_site_changed(&self) {
        // A process that does not build has no receiver.
        let _ = self.site_changed.send(());
    }

    /// Takes the files that the server found damaged.
    fn take_damaged(&self, repairs: &mut RepairQueue, repositories: &mut [ScheduledRepository<'_>]) {
        let damaged = self.follower.published.take_damaged();
        if self.volume_id.is_none() {
            return;
        }
        for file in damaged {
            if self.remove_variant(&file) {
                continue;
            }
            let is_of =
                |owner: &&mut ScheduledRepository<'_>| file.starts_with(owner.store.root().join("snapshots"));
            match repositories.iter_mut().find(is_of) {
                // The next cycle renders the metadata again.
                Some(owner) => {
                    owner.is_snapshot_damaged = true;
                    owner.bring_forward(MIN_RETRY_DELAY);
                }
                None => repairs.add(file),
            }
        }
    }

    fn start_repairs(
        &self,
        repairs: &RepairQueue,
        repositories: &[ScheduledRepository<'_>],
        jobs: &mut Jobs<'_, '_>,
    ) {
        let Some(volume_id) = self.volume_id else { return };
        for (i, repository) in repositories.iter().enumerate() {
            // A cycle that is due comes first.
            if repository.at > Timestamp::now() && jobs.has_room_for(i) {
                let files = repairs.due(repository.store);
                if !files.is_empty() {
                    jobs.start(volume_id, i, true, Work::Repair(files));
                }
            }
        }
    }

    /// Removes a damaged variant, so that it is made again. Returns whether the file was one.
    fn remove_variant(&self, file: &Path) -> bool {
        let mut stores = self.follower.stores.iter();
        let is_removed = stores.any(|store| {
            store.remove_damaged_variant(file).unwrap_or_else(|error| {
                tracing::warn!("{error:#}");
                false
            })
        });
        if is_removed {
            tracing::warn!(file = %file.display(), "removed a damaged compressed file, it is made again");
            self.notify_site_changed();
        }
        is_removed
    }
}

fn is_any_awaited(repositories: &[ScheduledRepository<'_>]) -> bool {
    repositories.iter().any(|repository| repository.is_awaited)
}

/// Schedules a cycle that may publish what was repaired.
fn on_repair_end(
    files: BTreeSet<PathBuf>,
    result: anyhow::Result<BTreeMap<PathBuf, String>>,
    repairs: &mut RepairQueue,
    repository: &mut ScheduledRepository<'_>,
) {
    let damaged = match result {
        Ok(damaged) => damaged,
        Err(error) if error.is::<Cancelled>() => return,
        Err(error) if is_locked(&error) => return repairs.postpone(&files),
        Err(error) => all_impossible(repository.store, &files, &format!("{error:#}")),
    };
    let repaired = repairs.finish(repository.store, files, &damaged);
    if repository.damaged.iter().any(|file| repaired.contains(file)) {
        repository.damaged.clear();
        repository.at = Timestamp::now();
    }
}

fn is_locked(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(VolumeLockError::Held(_)))
}
