//! Builds: which repository's cycle is due, and running it. RunHistory run one after the other on the thread of the caller, so
//! that no repository set_waiting for the network of the server, and the clones, memory and disk of one cycle are free for the
//! next.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::time::Duration;

use jiff::Timestamp;

use super::backoff::retry_after;
use super::cycle_progress::CycleProgress;
use super::repair_queue::{RepairQueue, damaged};
use super::snapshot_follower::SnapshotFollower;
use crate::app::{self, App, cycle_runner};
use crate::cycle::{Cancelled, CycleResult, ProgressEvent, Report};
use crate::store::{Volume, VolumeLockError};
use crate::util::cancel::CancelFlag;

/// So many damaged archives are repaired after a cycle, unasked; the others after the next one, which then follows at once.
const REPAIRS_PER_CYCLE: usize = 100;

/// Runs cycles under one configuration.
pub(super) struct Scheduler<'a> {
    pub app: &'a App,
    /// The volume, if it may be built on.
    pub id: Option<&'a str>,
    pub follower: SnapshotFollower<'a>,
    /// Told when another snapshot is served.
    pub changed: Sender<()>,
    /// Told what is done.
    pub running: &'a CycleProgress,
    pub stop: &'a CancelFlag,
}

/// How long after a cycle the next one may begin that a push asks for: one release is many pushes, in many repositories.
const PUSH_DEBOUNCE: Duration = Duration::from_secs(30);

/// How long after a cycle that could not reach a source, but came to its end, the next one begins at the earliest, where there
/// is something to serve meanwhile.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(600);

/// How long a first cycle set_waiting for another instance that has the volume.
const LOCKED_RETRY_DELAY: Duration = Duration::from_secs(10);

/// When the next cycle of a repository begins.
struct ScheduledCycle {
    at: Timestamp,
    /// How many in a row have to be tried again.
    failures: u32,
    /// When the last one ended.
    ended: Option<Timestamp>,
    /// Damaged archives: once one is repaired, there may be something to publish, and all may be well again.
    damaged: Vec<PathBuf>,
}

impl Scheduler<'_> {
    /// Runs the cycles that are due, at first `all`, until the program is to stop.
    pub(super) fn run(mut self, all: bool) {
        // A snapshot spells the URL out that it was made for: what a new configuration says is served once all of it is there.
        let waiting = all && self.id.is_some();
        if !waiting {
            self.follow();
        }
        let mut queue = self.queue(all);
        self.run_due(&mut queue, waiting);
        self.follow();
        let mut repairs = RepairQueue::from_history(self.follower.stores);
        let mut looked = Timestamp::now();
        while !self.stop.is_set() {
            let now = Timestamp::now();
            if now < looked {
                self.on_clock_set_back(&mut queue);
            }
            looked = now;
            self.schedule_requested(&mut queue);
            self.run_due(&mut queue, false);
            if self.follower.poll() {
                self.tell();
            }
            self.mend(&mut repairs, &mut queue);
            self.stop.wait(Duration::from_secs(1));
        }
    }

    /// What has never been published, or for another URL or other sources, or whose last cycle was interrupted, is built at
    /// once, the rest on its schedule.
    fn queue(&self, all: bool) -> Vec<ScheduledCycle> {
        let repositories = self.app.repositories.iter().enumerate();
        let first = |(i, repository): (usize, &app::Repository)| {
            let was_interrupted = self.follower.stores[i].run_history().running.is_some();
            let at = match all || was_interrupted || !self.follower.serves(i) || self.is_outdated(i) {
                true => Timestamp::MIN,
                false => next(repository),
            };
            if self.id.is_some() {
                self.running.set_waiting(&repository.name, at);
            }
            at
        };
        repositories
            .map(first)
            .zip(self.follower.stores)
            .map(|(at, store)| ScheduledCycle {
                at,
                failures: 0,
                ended: None,
                damaged: damaged(store).collect(),
            })
            .collect()
    }

    /// Whether what is published is damaged or was made under another configuration: this one was changed while nothing ran.
    fn is_outdated(&self, i: usize) -> bool {
        let repository = &self.app.repositories[i];
        let newest = self.follower.stores[i].latest_snapshot();
        newest.ok().flatten().is_some_and(|snapshot| {
            let report = Report::from_snapshot(&snapshot);
            !snapshot.is_intact
                || snapshot.manifest.base_url != repository.base_url.to_string()
                || !report.covers(&repository.recipe)
        })
    }

    /// The clock was set back: what was to come after a time that is far ahead now does not wait for it.
    fn on_clock_set_back(&self, queue: &mut [ScheduledCycle]) {
        if self.id.is_none() {
            return;
        }
        for (repository, due) in self.app.repositories.iter().zip(queue) {
            due.at = due.at.min(next(repository));
            due.ended = None;
            self.running.set_waiting(&repository.name, due.at);
        }
    }

    /// Puts the cycles forward that were asked for.
    fn schedule_requested(&self, queue: &mut [ScheduledCycle]) {
        let asked = self.follower.published.take_requested_cycles();
        for (repository, due) in self.app.repositories.iter().zip(queue) {
            if asked.contains(&repository.name) {
                let soon = due.ended.map_or(Timestamp::MIN, |ended| ended + PUSH_DEBOUNCE);
                due.at = due.at.min(soon);
                self.running.set_waiting(&repository.name, due.at);
            }
        }
    }

    /// Runs the cycles that are due, and serves what they publish unless it has to wait for the others.
    fn run_due(&mut self, queue: &mut [ScheduledCycle], waiting: bool) {
        for (i, (repository, due)) in self.app.repositories.iter().zip(queue).enumerate() {
            let Some(id) = self
                .id
                .filter(|_| !self.stop.is_set() && due.at <= Timestamp::now())
            else {
                continue;
            };
            self.running.set_running(&repository.name);
            let result = self.cycle(i, id);
            if result.as_ref().is_err_and(|error| error.is::<Cancelled>()) {
                return;
            }
            if !waiting {
                self.follow();
            }
            due.damaged = damaged(&self.follower.stores[i])
                .take(REPAIRS_PER_CYCLE)
                .collect();
            for file in &due.damaged {
                self.follower.published.report_damaged(file);
            }
            let result = result.map(|finished| finished.report);
            due.at = self.next_run(i, result, &mut due.failures);
            due.ended = Some(Timestamp::now());
            self.running.set_waiting(&repository.name, due.at);
            tracing::info!(repository = repository.name, next = %due.at, "waiting for the next cycle");
        }
    }

    /// When the next cycle begins after one that ended so.
    fn next_run(&self, repository: usize, result: anyhow::Result<Report>, failures: &mut u32) -> Timestamp {
        let published = self.follower.is_published(repository);
        let report = match result {
            // Whoever has the volume publishes.
            Err(error) if is_busy(&error) && !self.follower.serves(repository) => {
                return Timestamp::now() + LOCKED_RETRY_DELAY;
            }
            Err(error) => {
                let name = &self.app.repositories[repository].name;
                match is_busy(&error) {
                    true => tracing::info!(repository = name, "{error:#}"),
                    false => tracing::error!(repository = name, "{error:#}"),
                }
                None
            }
            Ok(report) => Some(report),
        };
        let scheduled = next(&self.app.repositories[repository]);
        // What failed in a single package fails again until upstream or the recipe changes.
        let is_done = |report: Report| match published {
            true => report.sources.values().all(|source| source.error.is_none()),
            false => report.is_complete(),
        };
        let was_given_up = report.is_none();
        if report.is_some_and(is_done) {
            *failures = 0;
            return scheduled;
        }
        *failures += 1;
        let pause = retry_after(*failures);
        // Clients can do with what is published for a while, but not with nothing.
        let pause = match published && !was_given_up {
            true => pause.max(MIN_RETRY_DELAY),
            false => pause,
        };
        scheduled.min(Timestamp::now() + pause)
    }

    fn cycle(&self, repository: usize, id: &str) -> anyhow::Result<CycleResult> {
        let seen = &self.follower.stores[repository];
        let repository = &self.app.repositories[repository];
        let opened = || {
            let volume = Volume::reopen(&self.app.config.data, id)?;
            let store = volume.repository(&repository.name)?;
            Ok((volume, store))
        };
        let (volume, store) = opened().inspect_err(|error: &anyhow::Error| {
            // Who has the volume records its own.
            if !is_busy(error) {
                cycle_runner::record_failed_start(seen, error);
            }
        })?;
        let observer = |step: ProgressEvent<'_>| self.running.step(&repository.name, step);
        cycle_runner::run_cycle(self.app, &volume, repository, &store, &observer, self.stop)
    }

    fn follow(&mut self) {
        if self.follower.follow() {
            self.tell();
        }
    }

    fn tell(&self) {
        // Without a builder nobody listens.
        let _ = self.changed.send(());
    }

    /// Whose snapshot a file is of.
    fn of_snapshot(&self, file: &Path) -> Option<usize> {
        let stores = self.follower.stores.iter();
        let mut snapshots = stores.map(|store| store.root().join("snapshots"));
        snapshots.position(|folder| file.starts_with(folder))
    }

    /// Whether a file was a damaged variant: it is gone, and made anew.
    fn was_variant(&self, file: &Path) -> bool {
        let mut stores = self.follower.stores.iter();
        let is_gone = stores.any(|store| {
            store.remove_damaged_variant(file).unwrap_or_else(|error| {
                tracing::warn!("{error:#}");
                false
            })
        });
        if is_gone {
            tracing::warn!(file = %file.display(), "a damaged variant is made anew");
            self.tell();
        }
        is_gone
    }

    /// Sees to what could not be served; a cycle that may publish what was repaired begins at once.
    fn mend(&self, repairs: &mut RepairQueue, queue: &mut [ScheduledCycle]) {
        let damaged = self.follower.published.take_damaged();
        let Some(id) = self.id else { return };
        for file in damaged {
            if self.was_variant(&file) {
                continue;
            }
            match self.of_snapshot(&file) {
                // The next cycle makes it anew.
                Some(i) => {
                    let due = &mut queue[i];
                    let soon = due.ended.map_or(Timestamp::MIN, |ended| ended + MIN_RETRY_DELAY);
                    due.at = due.at.min(soon);
                }
                None => repairs.add(file),
            }
        }
        let repaired = repairs.run(self.app, self.follower.stores, id, self.stop);
        for waiting in queue {
            if waiting.damaged.iter().any(|file| repaired.contains(file)) {
                waiting.damaged.clear();
                waiting.at = Timestamp::now();
            }
        }
    }
}

/// Whether another instance has the volume.
fn is_busy(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(VolumeLockError::Held(_)))
}

fn next(repository: &app::Repository) -> Timestamp {
    repository
        .schedule
        .next_after(Timestamp::now())
        .map_or(Timestamp::MAX, |time| time.timestamp())
}
