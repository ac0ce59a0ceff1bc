//! The state of a repository as values for the metrics.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::input::StatusInput;
use super::progress_json::RunningCycle;
use super::state::State;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricValues {
    pub state: State,
    /// The number of the snapshot and when it was published.
    pub snapshot: Option<(u64, Timestamp)>,
    pub packages: usize,
    pub releases: usize,
    /// Tag entries, (ref, package) pairs, by outcome.
    pub outcomes: [(&'static str, usize); 5],
    pub failed_sources: usize,
    pub gaps: usize,
    pub damaged: usize,
    /// The snapshot that the bucket has, and when that was last checked.
    pub bucket: Option<(u64, Timestamp)>,
    /// Whether the bucket lacks what is published; `None` without a bucket.
    pub bucket_failing: Option<bool>,
    pub running: bool,
    /// The running cycle, if it runs in this process.
    pub progress: Option<RunningCycle>,
    pub last_success: Option<Timestamp>,
    pub last_end: Option<Timestamp>,
    pub next_run: Option<Timestamp>,
    /// The scheduled run, which a retry is earlier than.
    pub regular_run: Option<Timestamp>,
    /// How long the last cycle took.
    pub duration: Option<Duration>,
    /// How long each stage of the last cycle took.
    pub stages: Vec<(String, Duration)>,
}

pub fn metric_values(input: &StatusInput<'_>) -> MetricValues {
    let packages: BTreeSet<_> = input.releases.iter().map(|release| &release.name).collect();
    let last = input.history.last();
    let snapshot = input.snapshot.map(|snapshot| &snapshot.manifest);
    MetricValues {
        state: input.state(),
        snapshot: snapshot.map(|manifest| (manifest.number, manifest.time)),
        packages: packages.len(),
        releases: input.releases.len(),
        outcomes: [
            ("published", input.count(|s| s.published)),
            ("excluded", input.count(|s| s.excluded.len())),
            ("failed", input.count(|s| s.failed.len())),
            ("held_back", input.count(|s| s.held_back.len())),
            ("diverged", input.report.diverged().count()),
        ],
        failed_sources: input.failed_sources(),
        gaps: input.report.gaps.len(),
        damaged: input.history.damaged.len(),
        bucket: input
            .bucket
            .as_ref()
            .and_then(|record| record.published.as_ref())
            .map(|published| (published.snapshot, published.at)),
        bucket_failing: input.bucket.as_ref().map(|record| record.failure.is_some()),
        running: input.history.running.is_some(),
        progress: None,
        last_success: input.history.succeeded,
        last_end: input.checked(),
        next_run: input.next_run().at,
        regular_run: input.next_run().regular,
        duration: last.and_then(|run| run.ended.duration_since(run.began).try_into().ok()),
        stages: last.map_or_else(Vec::new, |run| {
            let stages = run.stages.iter();
            stages.map(|(name, ms)| (name.clone(), Duration::from_millis(*ms))).collect()
        }),
    }
}
