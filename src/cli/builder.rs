//! Builds: which repository's cycle is due, and running it. Cycles run one after the other on the thread of the caller, so
//! that no repository waits for the network of the server, and the clones, memory and disk of one cycle are free for the
//! next.

use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::time::Duration;

use jiff::Timestamp;

use super::commands;
use super::follower::Follower;
use super::repairs::{Repairs, damaged};
use super::running::Running;
use super::setup::{self, Setup};
use crate::cycle::{Cancelled, CycleResult, ProgressEvent, Report};
use crate::schedule::retry_after;
use crate::store::{Unavailable, Volume};
use crate::util::cancel::CancelFlag;

/// So many damaged archives are repaired after a cycle, unasked; the others after the next one, which then follows at once.
const AT_ONCE: usize = 100;

/// Runs cycles under one configuration.
pub(super) struct Builder<'a> {
    pub setup: &'a Setup,
    /// The volume, if it may be built on.
    pub id: Option<&'a str>,
    pub follower: Follower<'a>,
    /// Told when another snapshot is served.
    pub changed: Sender<()>,
    /// Told what is done.
    pub running: &'a Running,
    pub stop: &'a CancelFlag,
}

/// How long after a cycle the next one may begin that a push asks for: one release is many pushes, in many repositories.
const CALM: Duration = Duration::from_secs(30);

/// How long after a cycle that could not reach a source, but came to its end, the next one begins at the earliest, where there
/// is something to serve meanwhile.
const LATER: Duration = Duration::from_secs(600);

/// How long a first cycle waits for another instance that has the volume.
const BUSY: Duration = Duration::from_secs(10);

/// When the next cycle of a repository begins.
struct Due {
    at: Timestamp,
    /// How many in a row have to be tried again.
    failures: u32,
    /// When the last one ended.
    ended: Option<Timestamp>,
    /// Damaged archives: once one is repaired, there may be something to publish, and all may be well again.
    damaged: Vec<PathBuf>,
}

impl Builder<'_> {
    /// Runs the cycles that are due, at first `all`, until the program is to stop.
    pub(super) fn run(mut self, all: bool) {
        // A snapshot spells the URL out that it was made for: what a new configuration says is served once all of it is there.
        let waiting = all && self.id.is_some();
        if !waiting {
            self.follow();
        }
        let mut agenda = self.agenda(all);
        self.run_due(&mut agenda, waiting);
        self.follow();
        let mut repairs = Repairs::known(self.follower.stores);
        let mut looked = Timestamp::now();
        while !self.stop.is_set() {
            let now = Timestamp::now();
            if now < looked {
                self.heed_clock(&mut agenda);
            }
            looked = now;
            self.heed_pushes(&mut agenda);
            self.run_due(&mut agenda, false);
            if self.follower.keep_up() {
                self.tell();
            }
            self.mend(&mut repairs, &mut agenda);
            self.stop.wait(Duration::from_secs(1));
        }
    }

    /// What has never been published, or for another URL or other sources, or whose last cycle was interrupted, is built at
    /// once, the rest on its schedule.
    fn agenda(&self, all: bool) -> Vec<Due> {
        let repositories = self.setup.repositories.iter().enumerate();
        let first = |(i, repository): (usize, &setup::Repository)| {
            let was_interrupted = self.follower.stores[i].cycles().running.is_some();
            let at = match all || was_interrupted || !self.follower.serves(i) || self.is_outdated(i) {
                true => Timestamp::MIN,
                false => next(repository),
            };
            if self.id.is_some() {
                self.running.waits(&repository.name, at);
            }
            at
        };
        repositories
            .map(first)
            .zip(self.follower.stores)
            .map(|(at, store)| Due {
                at,
                failures: 0,
                ended: None,
                damaged: damaged(store).collect(),
            })
            .collect()
    }

    /// Whether what is published is damaged or was made under another configuration: this one was changed while nothing ran.
    fn is_outdated(&self, i: usize) -> bool {
        let repository = &self.setup.repositories[i];
        let newest = self.follower.stores[i].latest_snapshot();
        newest.ok().flatten().is_some_and(|snapshot| {
            let report = Report::from_snapshot(&snapshot);
            !snapshot.is_whole
                || snapshot.manifest.base_url != repository.base_url.to_string()
                || !report.is_of(&repository.recipe)
        })
    }

    /// The clock was set back: what was to come after a time that is far ahead now does not wait for it.
    fn heed_clock(&self, agenda: &mut [Due]) {
        if self.id.is_none() {
            return;
        }
        for (repository, due) in self.setup.repositories.iter().zip(agenda) {
            due.at = due.at.min(next(repository));
            due.ended = None;
            self.running.waits(&repository.name, due.at);
        }
    }

    /// Puts the cycles forward that were asked for.
    fn heed_pushes(&self, agenda: &mut [Due]) {
        let asked = self.follower.published.take_requested_cycles();
        for (repository, due) in self.setup.repositories.iter().zip(agenda) {
            if asked.contains(&repository.name) {
                let soon = due.ended.map_or(Timestamp::MIN, |ended| ended + CALM);
                due.at = due.at.min(soon);
                self.running.waits(&repository.name, due.at);
            }
        }
    }

    /// Runs the cycles that are due, and serves what they publish unless it has to wait for the others.
    fn run_due(&mut self, agenda: &mut [Due], waiting: bool) {
        for (i, (repository, due)) in self.setup.repositories.iter().zip(agenda).enumerate() {
            let Some(id) = self
                .id
                .filter(|_| !self.stop.is_set() && due.at <= Timestamp::now())
            else {
                continue;
            };
            self.running.began(&repository.name);
            let result = self.cycle(i, id);
            if result.as_ref().is_err_and(|error| error.is::<Cancelled>()) {
                return;
            }
            if !waiting {
                self.follow();
            }
            due.damaged = damaged(&self.follower.stores[i]).take(AT_ONCE).collect();
            for file in &due.damaged {
                self.follower.published.report_damaged(file);
            }
            let result = result.map(|finished| finished.report);
            due.at = self.due_after(i, result, &mut due.failures);
            due.ended = Some(Timestamp::now());
            self.running.waits(&repository.name, due.at);
            tracing::info!(repository = repository.name, next = %due.at, "waiting for the next cycle");
        }
    }

    /// When the next cycle begins after one that ended so.
    fn due_after(&self, repository: usize, result: anyhow::Result<Report>, failures: &mut u32) -> Timestamp {
        let published = self.follower.is_published(repository);
        let report = match result {
            // Whoever has the volume publishes.
            Err(error) if is_busy(&error) && !self.follower.serves(repository) => {
                return Timestamp::now() + BUSY;
            }
            Err(error) => {
                let name = &self.setup.repositories[repository].name;
                match is_busy(&error) {
                    true => tracing::info!(repository = name, "{error:#}"),
                    false => tracing::error!(repository = name, "{error:#}"),
                }
                None
            }
            Ok(report) => Some(report),
        };
        let scheduled = next(&self.setup.repositories[repository]);
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
            true => pause.max(LATER),
            false => pause,
        };
        scheduled.min(Timestamp::now() + pause)
    }

    fn cycle(&self, repository: usize, id: &str) -> anyhow::Result<CycleResult> {
        let seen = &self.follower.stores[repository];
        let repository = &self.setup.repositories[repository];
        let opened = || {
            let volume = Volume::open_again(&self.setup.config.data, id)?;
            let store = volume.repository(&repository.name)?;
            Ok((volume, store))
        };
        let (volume, store) = opened().inspect_err(|error: &anyhow::Error| {
            // Who has the volume records its own.
            if !is_busy(error) {
                commands::not_begun(seen, error);
            }
        })?;
        let observer = |step: ProgressEvent<'_>| self.running.step(&repository.name, step);
        commands::run_cycle(self.setup, &volume, repository, &store, &observer, self.stop)
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
            store.discard_variant(file).unwrap_or_else(|error| {
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
    fn mend(&self, repairs: &mut Repairs, agenda: &mut [Due]) {
        let damaged = self.follower.published.take_damaged();
        let Some(id) = self.id else { return };
        for file in damaged {
            if self.was_variant(&file) {
                continue;
            }
            match self.of_snapshot(&file) {
                // The next cycle makes it anew.
                Some(i) => {
                    let due = &mut agenda[i];
                    let soon = due.ended.map_or(Timestamp::MIN, |ended| ended + LATER);
                    due.at = due.at.min(soon);
                }
                None => repairs.add(file),
            }
        }
        let repaired = repairs.run(self.setup, self.follower.stores, id, self.stop);
        for waiting in agenda {
            if waiting.damaged.iter().any(|file| repaired.contains(file)) {
                waiting.damaged.clear();
                waiting.at = Timestamp::now();
            }
        }
    }
}

/// Whether another instance has the volume.
fn is_busy(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Unavailable::Busy(_)))
}

fn next(repository: &setup::Repository) -> Timestamp {
    repository
        .schedule
        .next_after(Timestamp::now())
        .map_or(Timestamp::MAX, |time| time.timestamp())
}
