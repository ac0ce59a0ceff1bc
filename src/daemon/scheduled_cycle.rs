//! When the next cycle of a repository begins.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::app::Repository;
use crate::status::NextRun;

/// The next cycle of a repository.
pub(super) struct ScheduledCycle {
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
}

impl ScheduledCycle {
    /// Makes the cycle due `pause` after the last one, unless it is due earlier.
    pub(super) fn bring_forward(&mut self, pause: Duration) {
        if self.is_running {
            self.requested = Some(self.requested.map_or(pause, |other| other.min(pause)));
            return;
        }
        let at = self.last_end.map_or(Timestamp::MIN, |end| end + pause);
        self.at = self.at.min(at);
    }

    /// Logs when it begins.
    pub(super) fn log_waiting(&self, repository: &Repository) {
        let regular = next_scheduled(repository);
        let is_set = |time: &Timestamp| *time < Timestamp::MAX;
        let next = NextRun { at: Some(self.at).filter(is_set), regular: Some(regular).filter(is_set) };
        tracing::info!(
            repository = repository.name,
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

pub(super) fn next_scheduled(repository: &Repository) -> Timestamp {
    let next = repository.schedule.next_after(Timestamp::now());
    next.map_or(Timestamp::MAX, |time| time.timestamp())
}
