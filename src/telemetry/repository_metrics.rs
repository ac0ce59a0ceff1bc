//! Metrics of the repositories, of the scrub and of the volume.

use jiff::Timestamp;
use prometheus::{Gauge, GaugeVec, Registry};

use super::register::{gauge, gauges};
use crate::status::{MetricValues, STATES};

/// A gauge of each repository: its name, its help text and its value, which is left out if it is not known.
type RepositoryGauge = (&'static str, &'static str, fn(&MetricValues, Timestamp) -> Option<f64>);

const REPOSITORY_GAUGES: [RepositoryGauge; 22] = [
    ("mirror_snapshot_number", "The snapshot that is served.", |f, _| {
        f.snapshot.map(|(number, _)| number as f64)
    }),
    ("mirror_snapshot_timestamp_seconds", "When the snapshot that is served was published.", |f, _| {
        Some(seconds(f.snapshot?.1))
    }),
    ("mirror_snapshot_age_seconds", "The age of the snapshot that is served.", |f, now| {
        Some(seconds(now) - seconds(f.snapshot?.1))
    }),
    ("mirror_packages", "Packages that are served.", |f, _| Some(f.packages as f64)),
    ("mirror_releases", "Package versions that are served.", |f, _| Some(f.releases as f64)),
    ("mirror_failed_sources", "Sources that the last cycle could not read.", |f, _| {
        Some(f.failed_sources as f64)
    }),
    (
        "mirror_damaged_archives",
        "Archives that are known to be damaged or missing and are not repaired.",
        |f, _| Some(f.damaged as f64),
    ),
    (
        "mirror_gaps",
        "Package versions that published metapackages require and no source provides.",
        |f, _| Some(f.gaps as f64),
    ),
    ("mirror_bucket_snapshot_number", "The snapshot that was last published to the bucket.", |f, _| {
        f.bucket.map(|(number, _)| number as f64)
    }),
    (
        "mirror_bucket_checked_timestamp_seconds",
        "When the bucket was last found to have what is published.",
        |f, _| f.bucket.map(|(_, at)| seconds(at)),
    ),
    ("mirror_bucket_failing", "Whether publishing to the bucket fails.", |f, _| {
        f.bucket_failing.map(|failing| f64::from(u8::from(failing)))
    }),
    ("mirror_cycle_running", "Whether a cycle is running.", |f, _| Some(f64::from(u8::from(f.running)))),
    ("mirror_cycle_sources", "Sources that the running cycle fetches.", |f, _| {
        Some(f.progress.as_ref()?.sources.1 as f64)
    }),
    ("mirror_cycle_fetched_sources", "Sources whose fetch has ended in the running cycle.", |f, _| {
        Some(f.progress.as_ref()?.sources.0 as f64)
    }),
    ("mirror_cycle_received_bytes", "Bytes that the running cycle has received from the sources.", |f, _| {
        Some(f.progress.as_ref()?.bytes() as f64)
    }),
    ("mirror_cycle_packages", "Package versions that the running cycle builds, as far as known.", |f, _| {
        Some(f.progress.as_ref()?.packages.1 as f64)
    }),
    ("mirror_cycle_built_packages", "Package versions that the running cycle has built.", |f, _| {
        Some(f.progress.as_ref()?.packages.0 as f64)
    }),
    (
        "mirror_cycle_last_success_timestamp_seconds",
        "When the last cycle without a failure began.",
        |f, _| f.last_success.map(seconds),
    ),
    ("mirror_cycle_last_end_timestamp_seconds", "When the last cycle ended, successful or not.", |f, _| {
        f.last_end.map(seconds)
    }),
    (
        "mirror_cycle_next_timestamp_seconds",
        "When the next cycle is due, after a failure its retry; in the past when it was missed.",
        |f, _| f.next_run.map(seconds),
    ),
    (
        "mirror_cycle_regular_timestamp_seconds",
        "The scheduled time of the next cycle, which a retry is earlier than.",
        |f, _| f.regular_run.map(seconds),
    ),
    ("mirror_cycle_duration_seconds", "How long the last cycle took.", |f, _| {
        f.duration.map(|duration| duration.as_secs_f64())
    }),
];

pub(super) struct RepositoryMetrics {
    gauges: Vec<GaugeVec>,
    state: GaugeVec,
    outcomes: GaugeVec,
    stages: GaugeVec,
    pub(super) configuration_rejected: Gauge,
    pub(super) certificate_end: Gauge,
    pub(super) scrub: ScrubMetrics,
    pub(super) disk_free: Gauge,
    pub(super) disk_size: Gauge,
}

pub(super) struct ScrubMetrics {
    pub(super) checked: Gauge,
    pub(super) damaged: Gauge,
    pub(super) passes: Gauge,
    pub(super) finished: Gauge,
}

impl RepositoryMetrics {
    pub(super) fn new(to: &Registry) -> prometheus::Result<Self> {
        let by_repository = |(name, help, _): &RepositoryGauge| gauges(to, name, help, &["repository"]);
        Ok(Self {
            gauges: REPOSITORY_GAUGES.iter().map(by_repository).collect::<prometheus::Result<_>>()?,
            state: gauges(
                to,
                "mirror_state",
                "1 for the current state of the repository.",
                &["repository", "state"],
            )?,
            outcomes: gauges(
                to,
                "mirror_refs",
                "Tag entries (pairs of a ref and a package) by their outcome in the last cycle; mirror_releases counts versions.",
                &["repository", "outcome"],
            )?,
            stages: gauges(
                to,
                "mirror_cycle_stage_duration_seconds",
                "How long each stage of the last cycle took.",
                &["repository", "stage"],
            )?,
            configuration_rejected: gauge(
                to,
                "mirror_configuration_refused",
                "1 while the configuration on disk is rejected and the previous one is used.",
            )?,
            certificate_end: gauge(
                to,
                "mirror_certificate_end_timestamp_seconds",
                "When the certificate in use ends; 0 without one.",
            )?,
            scrub: ScrubMetrics::new(to)?,
            disk_free: gauge(to, "mirror_disk_free_bytes", "Free space on the data volume.")?,
            disk_size: gauge(to, "mirror_disk_size_bytes", "The size of the data volume.")?,
        })
    }

    /// Replaces the values of all repositories.
    pub(super) fn set(&self, repositories: &[(String, MetricValues)], now: Timestamp) {
        for (gauges, (_, _, value)) in self.gauges.iter().zip(REPOSITORY_GAUGES) {
            gauges.reset();
            for (name, values) in repositories {
                if let Some(value) = value(values, now) {
                    gauges.with_label_values(&[name]).set(value);
                }
            }
        }
        let all = [&self.state, &self.outcomes, &self.stages];
        all.iter().for_each(|gauges| gauges.reset());
        for (name, values) in repositories {
            for state in STATES {
                let is = f64::from(u8::from(values.state == state));
                self.state.with_label_values(&[name.as_str(), &state.to_string()]).set(is);
            }
            for (outcome, count) in values.outcomes {
                self.outcomes.with_label_values(&[name.as_str(), outcome]).set(count as f64);
            }
            for (stage, took) in &values.stages {
                self.stages.with_label_values(&[name.as_str(), stage]).set(took.as_secs_f64());
            }
        }
    }
}

impl ScrubMetrics {
    fn new(to: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            checked: gauge(to, "mirror_scrub_checked_archives", "Archives read again since the start.")?,
            damaged: gauge(to, "mirror_scrub_damaged_archives", "Archives found damaged since the start.")?,
            passes: gauge(to, "mirror_scrub_passes", "How often all archives were read since the start.")?,
            finished: gauge(
                to,
                "mirror_scrub_finished_timestamp_seconds",
                "When all archives were last read; 0 before.",
            )?,
        })
    }
}

pub(super) fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1e3
}
