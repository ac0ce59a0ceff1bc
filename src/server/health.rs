//! The answers that an orchestrator and a monitor ask for: is the process alive, may requests be sent here, and how is
//! everything.

use hyper::StatusCode;

use super::published::{PublishedSite, Readiness};
use super::reply::Reply;
use super::responses::{bytes, text, unavailable};
use crate::telemetry::{MEDIA_TYPE, Metrics};

/// Where metrics are.
pub const METRICS: &str = "/-/metrics";

/// A question about the server itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The process is alive.
    Health,
    /// There is something to serve, and the server is not on its way out.
    Ready,
}

impl Probe {
    pub const fn path(self) -> &'static str {
        match self {
            Self::Health => "/-/healthz",
            Self::Ready => "/-/readyz",
        }
    }

    pub(super) fn of(path: &str) -> Option<Self> {
        [Self::Health, Self::Ready]
            .into_iter()
            .find(|probe| probe.path() == path)
    }

    pub(super) fn answer(self, published: &PublishedSite) -> Reply {
        match (self, published.readiness()) {
            (Self::Health, _) => text(StatusCode::OK, "ok"),
            (Self::Ready, Readiness::Ready) => text(StatusCode::OK, "ready"),
            (Self::Ready, Readiness::Unpublished) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "no snapshot is published yet")
            }
            (Self::Ready, Readiness::Draining) => text(StatusCode::SERVICE_UNAVAILABLE, "draining"),
        }
    }
}

/// All figures of this process.
pub(super) fn metrics(metrics: &Metrics) -> Reply {
    match metrics.encode() {
        Ok(text) => bytes(StatusCode::OK, MEDIA_TYPE, text.into()),
        Err(error) => {
            tracing::error!("failed to write the metrics: {error:#}");
            unavailable("the metrics cannot be written")
        }
    }
}
