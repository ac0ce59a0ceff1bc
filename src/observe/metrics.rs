//! What a running mirror counts, as Prometheus text.
//!
//! The server counts requests and connections; what is known of the repositories and of the scrub is told whole, again
//! and again; the process and the volume are looked at when the figures are asked for. Labels come from closed sets and
//! from the configuration, never from requests, so that no client can make the text grow.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use super::tally::Tally;
use crate::status::{Figures, STATES};
use crate::store::Scrubbed;

/// The form of [`Metrics::encode`].
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// From an answer out of memory to one that waits for a sick disk; in seconds.
const LATENCIES: [f64; 12] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0,
];

/// A figure of each repository: its name, what it is, and how it is told from what is known now; left out when unknown.
type Of = (&'static str, &'static str, fn(&Figures, Timestamp) -> Option<f64>);

const OF_REPOSITORIES: [Of; 17] = [
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

/// All figures of this process; clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<All>);

struct All {
    registry: Registry,
    http: Http,
    mirror: Mirror,
    /// Held while figures are replaced or read, so that nobody reads half of them.
    told: Mutex<Vec<(String, Figures)>>,
    volume: PathBuf,
}

struct Http {
    requests: IntCounterVec,
    bytes: IntCounterVec,
    latency: HistogramVec,
    sent: IntCounter,
    received: IntCounter,
    open: IntGauge,
    accepted: IntCounter,
    refused: IntCounterVec,
}

/// What is known of the repositories and of the volume.
struct Mirror {
    of_repositories: Vec<GaugeVec>,
    state: GaugeVec,
    outcomes: GaugeVec,
    stages: GaugeVec,
    configuration_refused: Gauge,
    scrub_checked: Gauge,
    scrub_damaged: Gauge,
    scrub_passes: Gauge,
    scrub_finished: Gauge,
    disk_free: Gauge,
    disk_size: Gauge,
}

impl Metrics {
    /// Figures that are all zero; `volume` is where free space is measured.
    ///
    /// # Errors
    /// None that depends on anything but this file.
    pub fn new(volume: &Path) -> Result<Self> {
        let to = Registry::new();
        let http = Http::new(&to).context("failed to register a metric")?;
        let mirror = Mirror::new(&to).context("failed to register a metric")?;
        let version = gauges(
            &to,
            "mirror_build_info",
            "The program; its version is the label.",
            &["version"],
        )?;
        version.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        to.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self(Arc::new(All {
            registry: to,
            http,
            mirror,
            told: Mutex::default(),
            volume: volume.to_owned(),
        })))
    }

    /// What counts the answers of one connection.
    pub fn tally(&self) -> Tally {
        let http = &self.0.http;
        Tally::new(http.requests.clone(), http.bytes.clone(), http.latency.clone())
    }

    /// Counts a connection as open until what is answered is dropped.
    pub fn connection_opened(&self) -> Open {
        self.0.http.open.inc();
        self.0.http.accepted.inc();
        Open(self.0.http.open.clone())
    }

    /// A connection has moved so many bytes.
    pub fn connection_moved(&self, sent: u64, received: u64) {
        self.0.http.sent.inc_by(sent);
        self.0.http.received.inc_by(received);
    }

    /// A connection was turned away because of `limit`.
    pub fn connection_refused(&self, limit: &'static str) {
        self.0.http.refused.with_label_values(&[limit]).inc();
    }

    /// Replaces what is known of the repositories, each with its name.
    pub fn tell(&self, repositories: Vec<(String, Figures)>) {
        *self.0.told.lock().unwrap_or_else(PoisonError::into_inner) = repositories;
    }

    /// Whether the configuration on disk cannot be used, and an older one runs.
    pub fn configuration_refused(&self, is: bool) {
        self.0.mirror.configuration_refused.set(f64::from(u8::from(is)));
    }

    /// Replaces what is known of the scrub.
    pub fn scrubbed(&self, state: Scrubbed) {
        let mirror = &self.0.mirror;
        mirror.scrub_checked.set(state.checked as f64);
        mirror.scrub_damaged.set(state.damaged as f64);
        mirror.scrub_passes.set(state.passes as f64);
        mirror.scrub_finished.set(state.finished.map_or(0.0, seconds));
    }

    /// All figures as text, as they are now.
    ///
    /// # Errors
    /// Of formatting.
    pub fn encode(&self) -> Result<String> {
        let (told, mirror) = (
            self.0.told.lock().unwrap_or_else(PoisonError::into_inner),
            &self.0.mirror,
        );
        mirror.set(&told, Timestamp::now());
        if let Ok(volume) = rustix::fs::statvfs(&self.0.volume) {
            let bytes = |blocks: u64| (blocks * volume.f_frsize) as f64;
            mirror.disk_free.set(bytes(volume.f_bavail));
            mirror.disk_size.set(bytes(volume.f_blocks));
        }
        Ok(TextEncoder::new().encode_to_string(&self.0.registry.gather())?)
    }
}

/// An open connection.
pub struct Open(IntGauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Http {
    fn new(to: &Registry) -> prometheus::Result<Self> {
        let latency = HistogramOpts::new(
            "mirror_http_request_duration_seconds",
            "From the head of a request to the head of its answer.",
        );
        Ok(Self {
            requests: counters(
                to,
                "mirror_http_requests_total",
                "Answered requests.",
                &["route", "status", "encoding"],
            )?,
            bytes: counters(
                to,
                "mirror_http_response_body_bytes_total",
                "Lengths of the bodies of answers.",
                &["route"],
            )?,
            latency: add(
                to,
                HistogramVec::new(latency.buckets(LATENCIES.to_vec()), &["route"]),
            )?,
            sent: add(
                to,
                IntCounter::new(
                    "mirror_http_sent_bytes_total",
                    "Bytes sent on connections that are closed.",
                ),
            )?,
            received: add(
                to,
                IntCounter::new(
                    "mirror_http_received_bytes_total",
                    "Bytes received on connections that are closed.",
                ),
            )?,
            open: add(to, IntGauge::new("mirror_http_connections", "Open connections."))?,
            accepted: add(
                to,
                IntCounter::new("mirror_http_connections_total", "Accepted connections."),
            )?,
            refused: counters(
                to,
                "mirror_http_refused_connections_total",
                "Connections that were turned away because of a limit.",
                &["limit"],
            )?,
        })
    }
}

impl Mirror {
    fn new(to: &Registry) -> prometheus::Result<Self> {
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

    fn set(&self, repositories: &[(String, Figures)], now: Timestamp) {
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

fn add<C: Collector + Clone + 'static>(to: &Registry, made: prometheus::Result<C>) -> prometheus::Result<C> {
    let made = made?;
    to.register(Box::new(made.clone()))?;
    Ok(made)
}

fn gauge(to: &Registry, name: &str, help: &str) -> prometheus::Result<Gauge> {
    add(to, Gauge::new(name, help))
}

fn gauges(to: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
    add(to, GaugeVec::new(Opts::new(name, help), labels))
}

fn counters(to: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    add(to, IntCounterVec::new(Opts::new(name, help), labels))
}

fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1e3
}
