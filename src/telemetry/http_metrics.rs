//! Metrics of requests and connections.

use std::time::Duration;

use hyper::StatusCode;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};

use super::register::{add, counters};

/// In seconds: from a response out of memory to one that waits for a failing disk.
const LATENCIES: [f64; 12] =
    [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// One answered request.
#[derive(Clone, Copy, Debug)]
pub struct RequestOutcome {
    pub labels: RequestLabels,
    /// Length of the body.
    pub bytes: u64,
    /// From the head of the request to the head of its response.
    pub duration: Duration,
}

/// The labels that requests are counted by.
#[derive(Clone, Copy, Debug)]
pub struct RequestLabels {
    pub route: &'static str,
    pub status: StatusCode,
    pub encoding: &'static str,
}

pub(super) struct HttpMetrics {
    requests: IntCounterVec,
    body_bytes: IntCounterVec,
    durations: HistogramVec,
    pub(super) sent: IntCounter,
    pub(super) received: IntCounter,
    pub(super) open: IntGauge,
    pub(super) accepted: IntCounter,
    pub(super) refused: IntCounterVec,
}

impl HttpMetrics {
    pub(super) fn new(to: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| add(to, IntCounter::new(name, help));
        let durations = HistogramOpts::new(
            "mirror_http_request_duration_seconds",
            "From the head of a request to the head of its answer.",
        );
        Ok(Self {
            requests: counters(
                to,
                "mirror_http_requests_total",
                "Answered requests.",
                &["encoding", "route", "status"],
            )?,
            body_bytes: counters(
                to,
                "mirror_http_response_body_bytes_total",
                "Lengths of the bodies of answers.",
                &["route"],
            )?,
            durations: add(to, HistogramVec::new(durations.buckets(LATENCIES.to_vec()), &["route"]))?,
            sent: counter("mirror_http_sent_bytes_total", "Bytes sent on connections that are closed.")?,
            received: counter(
                "mirror_http_received_bytes_total",
                "Bytes received on connections that are closed.",
            )?,
            open: add(to, IntGauge::new("mirror_http_connections", "Open connections."))?,
            accepted: counter("mirror_http_connections_total", "Accepted connections.")?,
            refused: counters(
                to,
                "mirror_http_refused_connections_total",
                "Connections that were turned away because of a limit.",
                &["limit"],
            )?,
        })
    }

    pub(super) fn count_request(&self, outcome: &RequestOutcome) {
        let RequestLabels { route, status, encoding } = outcome.labels;
        let labels = [encoding, route, status.as_str()];
        self.requests.with_label_values(&labels).inc();
        self.body_bytes.with_label_values(&[route]).inc_by(outcome.bytes);
        let durations: Histogram = self.durations.with_label_values(&[route]);
        durations.observe(outcome.duration.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn requests_are_counted_by_route_status_and_encoding() {
        let registry = Registry::new();
        let metrics = HttpMetrics::new(&registry).unwrap();
        for (route, status, encoding, bytes, microseconds) in [
            ("archive", StatusCode::OK, "zstd", 5, 50),
            ("archive", StatusCode::OK, "zstd", 6, 51),
            ("archive", StatusCode::PARTIAL_CONTENT, "identity", 8, 6_000_000),
            ("metadata", StatusCode::NOT_MODIFIED, "identity", 0, 1),
        ] {
            metrics.count_request(&RequestOutcome {
                labels: RequestLabels { route, status, encoding },
                bytes,
                duration: Duration::from_micros(microseconds),
            });
        }
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            r#"mirror_http_requests_total{encoding="zstd",route="archive",status="200"} 2"#,
            r#"mirror_http_requests_total{encoding="identity",route="archive",status="206"} 1"#,
            r#"mirror_http_requests_total{encoding="identity",route="metadata",status="304"} 1"#,
            r#"mirror_http_response_body_bytes_total{route="archive"} 19"#,
            r#"mirror_http_response_body_bytes_total{route="metadata"} 0"#,
            r#"mirror_http_request_duration_seconds_bucket{route="archive",le="0.00005"} 1"#,
            r#"mirror_http_request_duration_seconds_bucket{route="archive",le="0.0001"} 2"#,
            r#"mirror_http_request_duration_seconds_bucket{route="archive",le="5"} 2"#,
            r#"mirror_http_request_duration_seconds_bucket{route="archive",le="+Inf"} 3"#,
            r#"mirror_http_request_duration_seconds_count{route="archive"} 3"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
