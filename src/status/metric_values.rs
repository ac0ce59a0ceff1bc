//! The state of a repository in figures, for metrics.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::{Facts, Progress, State};

/// What metrics say of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
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
    pub progress: Option<Progress>,
    pub last_success: Option<Timestamp>,
    pub last_end: Option<Timestamp>,
    pub next_run: Option<Timestamp>,
    /// Of the last cycle.
    pub duration: Option<Duration>,
    /// The parts of that, by name.
    pub stages: Vec<(String, Duration)>,
}

/// The figures of these facts.
pub fn figures(facts: &Facts<'_>) -> Figures {
    let packages: BTreeSet<_> = facts.releases.iter().map(|release| &release.name).collect();
    let last = facts.cycles.last();
    Figures {
        state: facts.state(),
        snapshot: facts
            .snapshot
            .map(|snapshot| (snapshot.manifest.number, snapshot.manifest.time)),
        packages: packages.len(),
        releases: facts.releases.len(),
        outcomes: [
            ("published", facts.count(|s| s.published)),
            ("excluded", facts.count(|s| s.excluded.len())),
            ("failed", facts.count(|s| s.failed.len())),
            ("diverged", facts.count(|s| s.diverged.len())),
        ],
        failed_sources: facts.count(|s| usize::from(s.error.is_some())),
        gaps: facts.report.gaps.len(),
        damaged: facts.cycles.damaged.len(),
        running: facts.cycles.running.is_some(),
        progress: None,
        last_success: facts.cycles.succeeded,
        last_end: facts.checked(),
        next_run: facts.next_run(),
        duration: last.and_then(|cycle| cycle.ended.duration_since(cycle.began).try_into().ok()),
        stages: last.map_or_else(Vec::new, |cycle| {
            let stages = cycle.stages.iter();
            stages
                .map(|(name, ms)| (name.clone(), Duration::from_millis(*ms)))
                .collect()
        }),
    }
}
