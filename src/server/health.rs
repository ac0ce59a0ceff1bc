//! The endpoints of orchestrators and monitors: `/-/healthz`, `/-/readyz` and `/-/metrics`.

use hyper::{Response, StatusCode};

use super::body::Body;
use super::published::{PublishedSite, Readiness};
use super::responses::{bytes, service_unavailable, text};
use crate::telemetry::{MEDIA_TYPE, Metrics};

/// Where metrics are.
pub(super) const METRICS: &str = "/-/metrics";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthEndpoint {
    /// The process is alive.
    Health,
    /// There is something to serve, and the server is not shutting down.
    Ready,
}

impl HealthEndpoint {
    pub const fn path(self) -> &'static str {
        match self {
            Self::Health => "/-/healthz",
            Self::Ready => "/-/readyz",
        }
    }

    pub(super) fn from_path(path: &str) -> Option<Self> {
        [Self::Health, Self::Ready].into_iter().find(|endpoint| endpoint.path() == path)
    }

    pub(super) fn respond(self, published: &PublishedSite) -> Response<Body> {
        let (status, words) = match (self, published.readiness()) {
            (Self::Health, _) => return text(StatusCode::OK, "ok"),
            (Self::Ready, Readiness::Ready) => (StatusCode::OK, "ready"),
            (Self::Ready, Readiness::Unpublished) => {
                (StatusCode::SERVICE_UNAVAILABLE, "no snapshot is published yet")
            }
            (Self::Ready, Readiness::Draining) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        };
        match published.note() {
            None => text(status, words),
            Some(note) => bytes(status, "text/plain; charset=utf-8", format!("{words}; {note}").into()),
        }
    }
}

pub(super) fn metrics(metrics: &Metrics) -> Response<Body> {
    match metrics.encode() {
        Ok(text) => bytes(StatusCode::OK, MEDIA_TYPE, text.into()),
        Err(error) => {
            tracing::error!("failed to write the metrics: {error:#}");
            service_unavailable("the metrics cannot be written; the log says why")
        }
    }
}
