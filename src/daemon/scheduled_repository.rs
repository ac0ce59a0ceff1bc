//! A repository as the scheduler sees it: its state on the volume, and when its next cycle begins.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::repair_queue::damaged_archives;
use crate::app::Repository;
use crate::cycle::Report;
use crate::status::NextRun;
use crate::store::RepositoryStore;

/// Archives that are repaired after one cycle. The next cycle then follows at once.
const REPAIRS_PER_CYCLE: usize = 100;

/// A repository and its next cycle.
pub(super) struct ScheduledRepository<'a> {
    pub(super) repository: &'a Repository,
    pub(super) store: &'a RepositoryStore,
    /// When the next cycle begins.
    pub(super) at: Timestamp,
    pub(super) is_running: bool,
    /// The shortest pause before another cycle that was requested while this one runs.
    pub(super) requested: Option<Duration>,
    /// Failures in a row.
    pub(super) failures: u32,
    pub(super) last_end: Option<Timestamp>,
    /// Whether a file of the snapshot was found damaged since the last cycle.
    pub(super) is_snapshot_damaged: bool,
    /// Damaged archives after the last cycle. The repair of one may complete the repository.
    pub(super) damaged: Vec<PathBuf>,
    /// Whether it is to be published for another URL before anything else.
    pub(super) is_moving: bool,
    /// Whether a new configuration is served only when this repository is published for it.
    pub(super) is_awaited: bool,
}

impl<'a> ScheduledRepository<'a> {
    pub(super) fn new(repository: &'a Repository, store: &'a RepositoryStore) -> Self {
        Self {
            repository,
            store,
            at: Timestamp::MAX,
            is_running: false,
            requested: None,
            failures: 0,
            last_end: None,
            is_snapshot_damaged: false,
            damaged: damaged_archives(store).collect(),
            is_moving: false,
            is_awaited: false,
        }
    }

    /// Whether it has a snapshot, served or not.
    pub(super) fn is_published(&self) -> bool {
        self.store.newest_snapshot().is_ok_and(|newest| newest.is_some())
    }

    /// Whether the snapshot is for another URL.
    pub(super) fn is_moved(&self) -> bool {
        let base_url = self.repository.base_url.to_string();
        let newest = self.store.newest_snapshot();
        newest.is_ok_and(|newest| newest.is_some_and(|newest| newest.manifest.base_url != base_url))
    }

    /// Whether the snapshot is damaged, does not withdraw what it should, or was made for another configuration that changed
    /// while nothing ran.
    pub(super) fn is_outdated(&self) -> bool {
        let Self { repository, store, .. } = self;
        store.latest_snapshot().ok().flatten().is_some_and(|snapshot| {
            !snapshot.is_intact
                || store.follows_withdrawals(&snapshot).is_ok_and(|follows| !follows)
                || snapshot.manifest.base_url != repository.base_url.to_string()
                || !Report::from_snapshot(&snapshot).covers(&repository.recipe, &repository.follow)
        })
    }

    /// When the schedule of the configuration has the next cycle.
    pub(super) fn regular(&self) -> Timestamp {
        let next = self.repository.schedule.next_after(Timestamp::now());
        next.map_or(Timestamp::MAX, |time| time.timestamp())
    }

    /// Makes the cycle due `pause` after the last one, unless it is due earlier.
    pub(super) fn bring_forward(&mut self, pause: Duration) {
        if self.is_running {
            self.requested = Some(self.requested.map_or(pause, |other| other.min(pause)));
            return;
        }
        let at = self.last_end.map_or(Timestamp::MIN, |end| end + pause);
        self.at = self.at.min(at);
    }

    /// Notes that a cycle has ended, and that the next one begins at `next`, unless one was requested meanwhile.
    pub(super) fn end_cycle(&mut self, next: Timestamp) {
        self.at = next;
        self.last_end = Some(Timestamp::now());
        self.is_running = false;
        if let Some(pause) = self.requested.take() {
            self.bring_forward(pause);
        }
    }

    /// Reads which archives the last cycle found damaged.
    pub(super) fn read_damaged(&mut self) {
        self.damaged = damaged_archives(self.store).take(REPAIRS_PER_CYCLE).collect();
    }

    /// Logs when the next cycle begins.
    pub(super) fn log_waiting(&self) {
        let regular = self.regular();
        let is_set = |time: &Timestamp| *time < Timestamp::MAX;
        let next = NextRun { at: Some(self.at).filter(is_set), regular: Some(regular).filter(is_set) };
        tracing::info!(
            repository = self.repository.name,
            next = %self.at,
            %regular,
            "waiting for the next cycle: {}",
            next.describe(self.failures > 0, in_whole_seconds(Timestamp::now()))
        );
    }
}

/// Everything that tells a time tells whole seconds.
pub(super) fn in_whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
