//! The state of a repository in figures, for metrics.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::{RunningCycle, State, StatusInput};

/// What metrics say of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricValues {
    pub state: State,
    /// Its number, and when it was published.
    pub snapshot: Option<(u64, Timestamp)>,
    pub packages: usize,
    pub releases: usize,
    /// (ref, package) pairs by outcome.
    pub outcomes: [(&'static str, usize); 4],
    pub failed_sources: usize,
    pub gaps: usize,
    pub damaged: usize,
    pub running: bool,
    /// Of the running cycle, where this process runs it.
    pub progress: Option<RunningCycle>,
    pub last_success: Option<Timestamp>,
    pub last_end: Option<Timestamp>,
    pub next_run: Option<Timestamp>,
    /// Of the last cycle.
    pub duration: Option<Duration>,
    /// The parts of that, by name.
    pub stages: Vec<(String, Duration)>,
}

/// The figures of these input.
pub fn metric_values(input: &StatusInput<'_>) -> MetricValues {
    let packages: BTreeSet<_> = input.releases.iter().map(|release| &release.name).collect();
    let last = input.cycles.last();
    MetricValues {
        state: input.state(),
        snapshot: input
            .snapshot
            .map(|snapshot| (snapshot.manifest.number, snapshot.manifest.time)),
        packages: packages.len(),
        releases: input.releases.len(),
        outcomes: [
            ("published", input.count(|s| s.published)),
            ("excluded", input.count(|s| s.excluded.len())),
            ("failed", input.count(|s| s.failed.len())),
            ("diverged", input.count(|s| s.diverged.len())),
        ],
        failed_sources: input.count(|s| usize::from(s.error.is_some())),
        gaps: input.report.gaps.len(),
        damaged: input.cycles.damaged.len(),
        running: input.cycles.running.is_some(),
        progress: None,
        last_success: input.cycles.succeeded,
        last_end: input.checked(),
        next_run: input.next_run(),
        duration: last.and_then(|cycle| cycle.ended.duration_since(cycle.began).try_into().ok()),
        stages: last.map_or_else(Vec::new, |cycle| {
            let stages = cycle.stages.iter();
            stages
                .map(|(name, ms)| (name.clone(), Duration::from_millis(*ms)))
                .collect()
        }),
    }
}
