//! The scheduler: which repository's cycle or repair is due. Jobs of different repositories run at the same time if the
//! configuration lets them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;

use super::backoff::{push_debounce, retry_delay};
use super::cycle_progress::CycleProgress;
use super::jobs::{EndedJob, JobContext, Jobs};
use super::repair_queue::{RepairQueue, damaged_archives};
use super::scheduled_cycle::{ScheduledCycle, in_whole_seconds, next_scheduled};
use super::snapshot_follower::SnapshotFollower;
use super::tasks::Tasks;
use crate::app::cycle_job::Work;
use crate::app::repair::all_impossible;
use crate::app::{App, Repository};
use crate::cycle::{Cancelled, Report};
use crate::store::VolumeLockError;
use crate::util::cancel::CancelFlag;

/// Archives that are repaired after one cycle. The next cycle then follows at once.
const REPAIRS_PER_CYCLE: usize = 100;

/// The shortest delay after a cycle that could not reach a source, while there is something to serve.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(600);

/// The delay of a first cycle while another instance has locked the volume.
const LOCKED_RETRY_DELAY: Duration = Duration::from_secs(10);

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

impl Scheduler<'_> {
    /// Runs the cycles that are due until the process stops. `all` makes every cycle due at first.
    pub(super) fn run(mut self, all: bool) {
        // Snapshots contain the base URL. Those for another one are made for the configured one first, which no upstream can
        // delay. A new configuration is served once that is done, and once what takes the place of another repository is there.
        let repositories = || (0..self.app.repositories.len()).filter(|_| self.volume_id.is_some());
        let mut moving: BTreeSet<_> = repositories().filter(|i| self.is_moved(*i)).collect();
        let mut awaited: BTreeSet<_> = repositories().filter(|i| all && self.is_awaited(*i)).collect();
        if awaited.is_empty() {
            self.follow();
        }
        let mut queue = self.queue(all);
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
                    self.on_clock_set_back(&mut queue);
                }
                last_poll = now;
                self.schedule_requested(&mut queue);
                if self.has_arrived(&mut awaited) {
                    self.follow();
                }
                self.start_moves(&moving, &mut jobs);
                if moving.is_empty() {
                    self.start_due(&mut queue, &mut jobs);
                }
                if awaited.is_empty() {
                    if self.follower.poll() {
                        self.notify_site_changed();
                    }
                    self.take_damaged(&mut repairs, &mut queue);
                    self.start_repairs(&repairs, &queue, &mut jobs);
                }
                match jobs.wait(|| self.follower.published.has_requested_cycles()) {
                    Some(EndedJob { repository: i, work: Work::Move, result }) => {
                        moving.remove(&i);
                        self.on_move_end(i, result.map(drop));
                        if awaited.remove(&i) && awaited.is_empty() {
                            self.follow();
                        }
                    }
                    Some(EndedJob { repository: i, work: Work::Cycle, result }) => {
                        awaited.remove(&i);
                        if awaited.is_empty() {
                            self.follow();
                        }
                        self.on_cycle_end(i, result.map(drop), &mut queue[i]);
                    }
                    Some(EndedJob { repository: i, work: Work::Repair(files), result }) => {
                        self.on_repair_end(i, files, result, &mut repairs, &mut queue[i]);
                    }
                    Some(EndedJob { work: Work::Compress, .. }) | None => {}
                }
            }
        });
    }

    /// A repository is built at once if it is unpublished, was published for another URL or other sources, or if its last cycle
    /// was interrupted; else on schedule.
    fn queue(&self, all: bool) -> Vec<ScheduledCycle> {
        let mut queue = Vec::new();
        for (i, repository) in self.app.repositories.iter().enumerate() {
            let store = &self.follower.stores[i];
            let was_interrupted = store.run_history().running.is_some();
            let is_due = all || was_interrupted || !self.follower.serves(i) || self.is_outdated(i);
            let at = match is_due {
                true => Timestamp::MIN,
                false => next_scheduled(repository),
            };
            if self.volume_id.is_some() {
                self.progress.set_waiting(&repository.name, at);
            }
            queue.push(ScheduledCycle {
                at,
                is_running: false,
                requested: None,
                failures: 0,
                last_end: None,
                is_snapshot_damaged: false,
                damaged: damaged_archives(store).collect(),
            });
        }
        queue
    }

    /// Whether the snapshot is for another URL.
    fn is_moved(&self, i: usize) -> bool {
        let base_url = self.app.repositories[i].base_url.to_string();
        let newest = self.follower.stores[i].newest_snapshot();
        newest.is_ok_and(|newest| newest.is_some_and(|newest| newest.manifest.base_url != base_url))
    }

    /// The same, or another repository is served at the URL of one without a snapshot.
    fn is_awaited(&self, i: usize) -> bool {
        let is_published = matches!(self.follower.stores[i].newest_snapshot(), Ok(Some(_)));
        let base_path = self.app.repositories[i].base_url.path();
        self.is_moved(i) || !is_published && self.follower.published.serves(base_path)
    }

    /// Whether nothing is awaited any more, for the first time.
    fn has_arrived(&self, awaited: &mut BTreeSet<usize>) -> bool {
        let count = awaited.len();
        awaited.retain(|i| self.is_awaited(*i));
        count > 0 && awaited.is_empty()
    }

    fn start_moves(&self, moving: &BTreeSet<usize>, jobs: &mut Jobs<'_, '_>) {
        let Some(volume_id) = self.volume_id else { return };
        for &i in moving {
            if jobs.has_room_for(i) {
                jobs.start(volume_id, i, true, Work::Move);
            }
        }
    }

    /// The next cycle does what could not be done.
    fn on_move_end(&self, i: usize, result: anyhow::Result<()>) {
        let repository = &self.app.repositories[i].name;
        match result {
            Err(error) if !error.is::<Cancelled>() => {
                tracing::warn!(repository, "not published for its new URL yet: {error:#}");
            }
            _ => {}
        }
    }

    /// Whether the snapshot is damaged, does not withdraw what it should, or was made for another configuration that changed while
    /// nothing ran.
    fn is_outdated(&self, i: usize) -> bool {
        let (repository, store) = (&self.app.repositories[i], &self.follower.stores[i]);
        store.latest_snapshot().ok().flatten().is_some_and(|snapshot| {
            !snapshot.is_intact
                || store.follows_withdrawals(&snapshot).is_ok_and(|follows| !follows)
                || snapshot.manifest.base_url != repository.base_url.to_string()
                || !Report::from_snapshot(&snapshot).covers(&repository.recipe, &repository.follow)
        })
    }

    /// Recomputes times that would now be too far in the future.
    fn on_clock_set_back(&self, queue: &mut [ScheduledCycle]) {
        if self.volume_id.is_none() {
            return;
        }
        for (repository, cycle) in self.app.repositories.iter().zip(queue) {
            cycle.at = cycle.at.min(next_scheduled(repository));
            cycle.last_end = None;
            self.show_next(repository, cycle);
        }
    }

    /// Brings forward the cycles that webhooks requested.
    fn schedule_requested(&self, queue: &mut [ScheduledCycle]) {
        let requested = self.follower.published.take_requested_cycles();
        for (repository, cycle) in self.app.repositories.iter().zip(queue) {
            if requested.contains(&repository.name) {
                cycle.bring_forward(push_debounce(!repository.follow.is_empty()));
                self.show_next(repository, cycle);
            }
        }
    }

    fn show_next(&self, repository: &Repository, cycle: &ScheduledCycle) {
        if !cycle.is_running {
            self.progress.set_waiting(&repository.name, cycle.at);
        }
    }

    /// Starts the cycles that are due, as many as may run at once.
    fn start_due(&self, queue: &mut [ScheduledCycle], jobs: &mut Jobs<'_, '_>) {
        let Some(volume_id) = self.volume_id else { return };
        for (i, (repository, cycle)) in self.app.repositories.iter().zip(queue).enumerate() {
            if cycle.at <= Timestamp::now() && jobs.has_room_for(i) {
                cycle.is_running = true;
                self.progress.set_running(&repository.name);
                jobs.start(volume_id, i, !std::mem::take(&mut cycle.is_snapshot_damaged), Work::Cycle);
            }
        }
    }

    fn on_cycle_end(&self, i: usize, result: anyhow::Result<()>, cycle: &mut ScheduledCycle) {
        if result.as_ref().is_err_and(anyhow::Error::is::<Cancelled>) {
            return;
        }
        let (repository, store) = (&self.app.repositories[i], &self.follower.stores[i]);
        cycle.damaged = damaged_archives(store).take(REPAIRS_PER_CYCLE).collect();
        for file in &cycle.damaged {
            self.follower.published.report_damaged(file);
        }
        let report =
            result.and_then(|()| Ok(Report::last(store.latest_snapshot()?.as_ref(), &store.run_history())));
        cycle.at = self.next_run(i, report, &mut cycle.failures);
        cycle.last_end = Some(Timestamp::now());
        cycle.is_running = false;
        if let Some(pause) = cycle.requested.take() {
            cycle.bring_forward(pause);
        }
        self.show_next(repository, cycle);
        cycle.log_waiting(repository);
    }

    /// When the next cycle begins after one with this result. A failed fetch is retried before the next scheduled run.
    fn next_run(&self, i: usize, result: anyhow::Result<Report>, failures: &mut u32) -> Timestamp {
        let repository = &self.app.repositories[i];
        let name = &repository.name;
        let is_published = self.follower.is_published(i);
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
        let scheduled = next_scheduled(repository);
        if is_done {
            *failures = 0;
            return scheduled;
        }
        *failures += 1;
        let delay = retry_delay(*failures);
        // Clients can wait longer if something is published.
        let delay = match is_published && !has_failed_as_a_whole {
            true => delay.max(MIN_RETRY_DELAY),
            false => delay,
        };
        scheduled.min(in_whole_seconds(Timestamp::now() + delay))
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
    fn take_damaged(&self, repairs: &mut RepairQueue, queue: &mut [ScheduledCycle]) {
        let damaged = self.follower.published.take_damaged();
        if self.volume_id.is_none() {
            return;
        }
        for file in damaged {
            if self.remove_variant(&file) {
                continue;
            }
            match self.snapshot_owner(&file) {
                // The next cycle renders the metadata again.
                Some(i) => {
                    queue[i].is_snapshot_damaged = true;
                    queue[i].bring_forward(MIN_RETRY_DELAY);
                }
                None => repairs.add(file),
            }
        }
    }

    fn start_repairs(&self, repairs: &RepairQueue, queue: &[ScheduledCycle], jobs: &mut Jobs<'_, '_>) {
        let Some(volume_id) = self.volume_id else { return };
        for (i, store) in self.follower.stores.iter().enumerate() {
            // A cycle that is due comes first.
            if queue[i].at > Timestamp::now() && jobs.has_room_for(i) {
                let files = repairs.due(store);
                if !files.is_empty() {
                    jobs.start(volume_id, i, true, Work::Repair(files));
                }
            }
        }
    }

    /// Schedules a cycle that may publish what was repaired.
    fn on_repair_end(
        &self,
        i: usize,
        files: BTreeSet<PathBuf>,
        result: anyhow::Result<BTreeMap<PathBuf, String>>,
        repairs: &mut RepairQueue,
        cycle: &mut ScheduledCycle,
    ) {
        let store = &self.follower.stores[i];
        let damaged = match result {
            Ok(damaged) => damaged,
            Err(error) if error.is::<Cancelled>() => return,
            Err(error) if is_locked(&error) => return repairs.postpone(&files),
            Err(error) => all_impossible(store, &files, &format!("{error:#}")),
        };
        let repaired = repairs.finish(store, files, &damaged);
        if cycle.damaged.iter().any(|file| repaired.contains(file)) {
            cycle.damaged.clear();
            cycle.at = Timestamp::now();
        }
    }

    /// The repository whose snapshot the file belongs to.
    fn snapshot_owner(&self, file: &Path) -> Option<usize> {
        let stores = self.follower.stores.iter();
        let mut snapshots = stores.map(|store| store.root().join("snapshots"));
        snapshots.position(|folder| file.starts_with(folder))
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

fn is_locked(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(VolumeLockError::Held(_)))
}
