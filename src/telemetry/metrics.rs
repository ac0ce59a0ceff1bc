//! The metrics of this process, as Prometheus text.
//!
//! The server counts requests and connections. The values of the repositories and of the scrub are replaced as a whole; the
//! process and the volume are measured at each scrape. Labels come from closed sets and from the configuration, never from
//! requests, so that no client can make the text grow.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use parking_lot::Mutex;
use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGauge, Registry, TextEncoder};

use super::http_metrics::{HttpMetrics, RequestOutcome};
use super::register::gauges;
use super::repository_metrics::{RepositoryMetrics, seconds};
use crate::status::MetricValues;
use crate::store::ScrubState;

/// The media type of [`Metrics::encode`].
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of this process. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<All>);

struct All {
    registry: Registry,
    http: HttpMetrics,
    repositories: RepositoryMetrics,
    /// Held while values are replaced or scraped, so that a scrape sees all of one state.
    values: Mutex<Vec<(String, MetricValues)>>,
    volume: PathBuf,
}

impl Metrics {
    /// `volume` is the folder whose free space is measured.
    pub fn new(volume: &Path) -> Result<Self> {
        let to = Registry::new();
        let http = HttpMetrics::new(&to).context("failed to register a metric")?;
        let repositories = RepositoryMetrics::new(&to).context("failed to register a metric")?;
        let version =
            gauges(&to, "mirror_build_info", "The program; its version is the label.", &["version"])?;
        version.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        to.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self(Arc::new(All {
            registry: to,
            http,
            repositories,
            values: Mutex::default(),
            volume: volume.to_owned(),
        })))
    }

    /// Counts one response.
    pub fn count_request(&self, outcome: &RequestOutcome) {
        self.0.http.count_request(outcome);
    }

    /// Counts a connection as open until the returned guard is dropped.
    pub fn connection_opened(&self) -> Open {
        self.0.http.open.inc();
        self.0.http.accepted.inc();
        Open(self.0.http.open.clone())
    }

    /// Adds the bytes that a connection transferred.
    pub fn connection_moved(&self, sent: u64, received: u64) {
        self.0.http.sent.inc_by(sent);
        self.0.http.received.inc_by(received);
    }

    /// Counts a connection that was rejected because of `limit`.
    pub fn connection_refused(&self, limit: &'static str) {
        self.0.http.refused.with_label_values(&[limit]).inc();
    }

    /// Replaces the values of all repositories, each with its name.
    pub fn set_repositories(&self, values: Vec<(String, MetricValues)>) {
        *self.0.values.lock() = values;
    }

    /// Whether the configuration on disk was rejected and an older one is used.
    pub fn set_configuration_rejected(&self, is_rejected: bool) {
        let gauge = &self.0.repositories.configuration_rejected;
        gauge.set(f64::from(u8::from(is_rejected)));
    }

    /// When the certificate that is in use ends.
    pub fn set_certificate_end(&self, end: Timestamp) {
        self.0.repositories.certificate_end.set(seconds(end));
    }

    pub fn set_scrub(&self, state: ScrubState) {
        let scrub = &self.0.repositories.scrub;
        scrub.checked.set(state.checked as f64);
        scrub.damaged.set(state.damaged as f64);
        scrub.passes.set(state.passes as f64);
        scrub.finished.set(state.finished.map_or(0.0, seconds));
    }

    /// The current metrics as text.
    pub fn encode(&self) -> Result<String> {
        let values = self.0.values.lock();
        let repositories = &self.0.repositories;
        repositories.set(&values, Timestamp::now());
        if let Ok(volume) = rustix::fs::statvfs(&self.0.volume) {
            let bytes = |blocks: u64| (blocks * volume.f_frsize) as f64;
            repositories.disk_free.set(bytes(volume.f_bavail));
            repositories.disk_size.set(bytes(volume.f_blocks));
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
