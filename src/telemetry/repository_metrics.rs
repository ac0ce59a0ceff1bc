//! What is known of the repositories, of the work of this process and of the volume.

use jiff::Timestamp;
use prometheus::{Gauge, GaugeVec, Registry};

use super::register::{gauge, gauges};
use crate::status::{MetricValues, STATES};

/// A figure of each repository: its name, what it is, and how it is told from what is known now; left out when unknown.
type Of = (
    &'static str,
    &'static str,
    fn(&MetricValues, Timestamp) -> Option<f64>,
);

const OF_REPOSITORIES: [Of; 18] = [
    (
        "mirror_snapshot_number",
        "The snapshot that is served.",
        |f, _| f.snapshot.map(|(number, _)| number as f64),
    ),
    (
        "mirror_snapshot_timestamp_seconds",
        "When the snapshot that is served was published.",
        |f, _| Some(seconds(f.snapshot?.1)),
    ),
    (
        "mirror_snapshot_age_seconds",
        "For how long the snapshot that is served has been published.",
        |f, now| Some(seconds(now) - seconds(f.snapshot?.1)),
    ),
    ("mirror_packages", "Packages that are served.", |f, _| {
        Some(f.packages as f64)
    }),
    ("mirror_releases", "Package versions that are served.", |f, _| {
        Some(f.releases as f64)
    }),
    (
        "mirror_failed_sources",
        "Sources of which the last cycle got nothing.",
        |f, _| Some(f.failed_sources as f64),
    ),
    (
        "mirror_damaged_archives",
        "Archives that are damaged or missing now, as far as is known, and are not repaired.",
        |f, _| Some(f.damaged as f64),
    ),
    (
        "mirror_gaps",
        "Package versions that published metapackages need and nobody provides.",
        |f, _| Some(f.gaps as f64),
    ),
    ("mirror_cycle_running", "Whether a cycle is running.", |f, _| {
        Some(f64::from(u8::from(f.running)))
    }),
    (
        "mirror_cycle_sources",
        "Sources that the running cycle fetches.",
        |f, _| Some(f.progress.as_ref()?.sources.1 as f64),
    ),
    (
        "mirror_cycle_fetched_sources",
        "Sources that the running cycle is done with fetching.",
        |f, _| Some(f.progress.as_ref()?.sources.0 as f64),
    ),
    (
        "mirror_cycle_received_bytes",
        "What the running cycle has received from the sources.",
        |f, _| Some(f.progress.as_ref()?.bytes() as f64),
    ),
    (
        "mirror_cycle_packages",
        "Package versions that the running cycle builds, as far as is known.",
        |f, _| Some(f.progress.as_ref()?.packages.1 as f64),
    ),
    (
        "mirror_cycle_built_packages",
        "Package versions that the running cycle has built.",
        |f, _| Some(f.progress.as_ref()?.packages.0 as f64),
    ),
    (
        "mirror_cycle_last_success_timestamp_seconds",
        "When the last cycle began in which nothing failed.",
        |f, _| f.last_success.map(seconds),
    ),
    (
        "mirror_cycle_last_end_timestamp_seconds",
        "When the last cycle ended, whatever came of it.",
        |f, _| f.last_end.map(seconds),
    ),
    (
        "mirror_cycle_next_timestamp_seconds",
        "When the next cycle is due; in the past when it was missed.",
        |f, _| f.next_run.map(seconds),
    ),
    (
        "mirror_cycle_duration_seconds",
        "How long the last cycle took.",
        |f, _| f.duration.map(|duration| duration.as_secs_f64()),
    ),
];

/// What is known of the repositories and of the volume.
pub(super) struct Mirror {
    pub(super) of_repositories: Vec<GaugeVec>,
    pub(super) state: GaugeVec,
    pub(super) outcomes: GaugeVec,
    pub(super) stages: GaugeVec,
    pub(super) configuration_refused: Gauge,
    pub(super) scrub_checked: Gauge,
    pub(super) scrub_damaged: Gauge,
    pub(super) scrub_passes: Gauge,
    pub(super) scrub_finished: Gauge,
    pub(super) disk_free: Gauge,
    pub(super) disk_size: Gauge,
}

impl Mirror {
    pub(super) fn new(to: &Registry) -> prometheus::Result<Self> {
        let of_repositories = OF_REPOSITORIES
            .iter()
            .map(|(name, help, _)| gauges(to, name, help, &["repository"]));
        Ok(Self {
            of_repositories: of_repositories.collect::<prometheus::Result<_>>()?,
            state: gauges(
                to,
                "mirror_state",
                "1 for the state that a repository is in.",
                &["repository", "state"],
            )?,
            outcomes: gauges(
                to,
                "mirror_refs",
                "Pairs of a ref and a package by what became of them in the last cycle.",
                &["repository", "outcome"],
            )?,
            stages: gauges(
                to,
                "mirror_cycle_stage_duration_seconds",
                "How long each stage of the last cycle took.",
                &["repository", "stage"],
            )?,
            configuration_refused: gauge(
                to,
                "mirror_configuration_refused",
                "1 while the configuration on disk cannot be used and the one before it runs.",
            )?,
            scrub_checked: gauge(
                to,
                "mirror_scrub_checked_archives",
                "Archives read again since the start.",
            )?,
            scrub_damaged: gauge(
                to,
                "mirror_scrub_damaged_archives",
                "Archives found damaged since the start.",
            )?,
            scrub_passes: gauge(
                to,
                "mirror_scrub_passes",
                "How often all archives were read since the start.",
            )?,
            scrub_finished: gauge(
                to,
                "mirror_scrub_finished_timestamp_seconds",
                "When all archives were last read; 0 before.",
            )?,
            disk_free: gauge(
                to,
                "mirror_disk_free_bytes",
                "What can still be written to the data volume.",
            )?,
            disk_size: gauge(to, "mirror_disk_size_bytes", "The size of the data volume.")?,
        })
    }

    /// Replaces what is said of the repositories.
    pub(super) fn set(&self, repositories: &[(String, MetricValues)], now: Timestamp) {
        for (gauges, (_, _, of)) in self.of_repositories.iter().zip(OF_REPOSITORIES) {
            gauges.reset();
            for (name, figures) in repositories {
                if let Some(value) = of(figures, now) {
                    gauges.with_label_values(&[name]).set(value);
                }
            }
        }
        let all = [&self.state, &self.outcomes, &self.stages];
        all.iter().for_each(|gauges| gauges.reset());
        for (name, figures) in repositories {
            for state in STATES {
                let is = f64::from(u8::from(figures.state == state));
                self.state
                    .with_label_values(&[name.as_str(), &state.to_string()])
                    .set(is);
            }
            for (outcome, count) in figures.outcomes {
                self.outcomes
                    .with_label_values(&[name.as_str(), outcome])
                    .set(count as f64);
            }
            for (stage, took) in &figures.stages {
                self.stages
                    .with_label_values(&[name.as_str(), stage])
                    .set(took.as_secs_f64());
            }
        }
    }
}

pub(super) fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1e3
}
