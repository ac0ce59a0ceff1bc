//! Counting the answers of a connection: most are of the kind of the one before, so that its counters are kept at hand.
//!
//! Looking them up locks tables that all threads share, which costs more than the counting.

use std::ptr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

/// What a request was about, for counting.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    pub kind: AnswerKind,
    /// Of the body.
    pub bytes: u64,
    /// From the head of the request to the head of its answer.
    pub took: Duration,
}

/// What answers are counted apart by.
#[derive(Clone, Copy, Debug)]
pub struct AnswerKind {
    pub route: &'static str,
    /// The code.
    pub status: u16,
    pub encoding: &'static str,
}

impl AnswerKind {
    /// Whether it is surely the same: equal words at another place are looked up again.
    fn is(self, other: Self) -> bool {
        self.status == other.status
            && ptr::eq(self.route, other.route)
            && ptr::eq(self.encoding, other.encoding)
    }
}

/// Counts the answers of one connection, each at once and for everybody.
pub struct Tally {
    requests: IntCounterVec,
    bytes: IntCounterVec,
    latency: HistogramVec,
    last: Mutex<Option<(AnswerKind, Counters)>>,
}

struct Counters {
    requests: IntCounter,
    bytes: IntCounter,
    latency: Histogram,
}

impl Counters {
    fn count(&self, answered: &Answered) {
        self.requests.inc();
        if answered.bytes > 0 {
            self.bytes.inc_by(answered.bytes);
        }
        self.latency.observe(answered.took.as_secs_f64());
    }
}

impl Tally {
    pub(super) fn new(requests: IntCounterVec, bytes: IntCounterVec, latency: HistogramVec) -> Self {
        Self {
            requests,
            bytes,
            latency,
            last: Mutex::default(),
        }
    }

    /// Counts one answer.
    pub fn count(&self, answered: Answered) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((kind, counters)) if kind.is(answered.kind) => counters.count(&answered),
            _ => {
                let counters = self.counters(answered.kind);
                counters.count(&answered);
                *last = Some((answered.kind, counters));
            }
        }
    }

    fn counters(&self, kind: AnswerKind) -> Counters {
        let labels = [kind.route, &kind.status.to_string(), kind.encoding];
        Counters {
            requests: self.requests.with_label_values(&labels),
            bytes: self.bytes.with_label_values(&[kind.route]),
            latency: self.latency.with_label_values(&[kind.route]),
        }
    }
}
