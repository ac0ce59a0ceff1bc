//! What the server counts of requests and connections.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

use super::register::{add, counters};
use super::tally::Answers;

pub(super) struct Http {
    pub(super) answers: Answers,
    pub(super) sent: IntCounter,
    pub(super) received: IntCounter,
    pub(super) open: IntGauge,
    pub(super) accepted: IntCounter,
    pub(super) refused: IntCounterVec,
}

impl Http {
    pub(super) fn new(to: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            answers: add(to, Answers::new())?,
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
