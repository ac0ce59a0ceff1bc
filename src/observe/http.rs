//! What the server counts of requests and connections.

use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};

use super::register::{add, counters};

/// From an answer out of memory to one that waits for a sick disk; in seconds.
const LATENCIES: [f64; 12] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0,
];

pub(super) struct Http {
    pub(super) requests: IntCounterVec,
    pub(super) bytes: IntCounterVec,
    pub(super) latency: HistogramVec,
    pub(super) sent: IntCounter,
    pub(super) received: IntCounter,
    pub(super) open: IntGauge,
    pub(super) accepted: IntCounter,
    pub(super) refused: IntCounterVec,
}

impl Http {
    pub(super) fn new(to: &Registry) -> prometheus::Result<Self> {
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
