//! What a running mirror counts, as Prometheus text.
//!
//! The server counts requests and connections; what is known of the repositories and of the scrub is told whole, again
//! and again; the process and the volume are looked at when the figures are asked for. Labels come from closed sets and
//! from the configuration, never from requests, so that no client can make the text grow.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGauge, Registry, TextEncoder};

use super::http_metrics::{HttpMetrics, RequestOutcome};
use super::register::gauges;
use super::repository_metrics::{Mirror, seconds};
use crate::status::MetricValues;
use crate::store::ScrubState;

/// The form of [`Metrics::encode`].
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All figures of this process; clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<All>);

struct All {
    registry: Registry,
    http: HttpMetrics,
    mirror: Mirror,
    /// Held while figures are replaced or read, so that nobody reads half of them.
    told: Mutex<Vec<(String, MetricValues)>>,
    volume: PathBuf,
}

impl Metrics {
    /// MetricValues that are all zero; `volume` is where free space is measured.
    ///
    /// # Errors
    /// None that depends on anything but this file.
    pub fn new(volume: &Path) -> Result<Self> {
        let to = Registry::new();
        let http = HttpMetrics::new(&to).context("failed to register a metric")?;
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

    /// Counts one response.
    pub fn count_request(&self, outcome: &RequestOutcome) {
        self.0.http.count_request(outcome);
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
    pub fn tell(&self, repositories: Vec<(String, MetricValues)>) {
        *self.0.told.lock().unwrap_or_else(PoisonError::into_inner) = repositories;
    }

    /// Whether the configuration on disk cannot be used, and an older one runs.
    pub fn configuration_refused(&self, is: bool) {
        self.0.mirror.configuration_refused.set(f64::from(u8::from(is)));
    }

    /// Replaces what is known of the scrub.
    pub fn scrubbed(&self, state: ScrubState) {
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
