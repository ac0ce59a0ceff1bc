//! Counting answers, each at once and for everybody.
//!
//! Every thread counts at the same places, by additions that others see, which cost more than others. So an answer is two of them,
//! three with a body: the sums are taken when somebody asks for the figures. And most answers of a connection are of the kind
//! of the one before, so that its places are kept at hand.

use std::collections::HashMap;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// From an answer out of memory to one that waits for a sick disk; in nanoseconds.
const LATENCIES: [u64; 12] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
];

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// The answers of all connections. Clones share them.
#[derive(Clone)]
pub(super) struct Answers(Arc<All>);

struct All {
    requests: Desc,
    bytes: Desc,
    latency: Desc,
    kinds: Mutex<Vec<(AnswerKind, Arc<Counted>)>>,
}

/// Of one kind.
#[derive(Default)]
struct Counted {
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
    /// How many took no longer than each of [`LATENCIES`] but longer than the one before, and how many took longer than all.
    latencies: [AtomicU64; LATENCIES.len() + 1],
}

impl Counted {
    fn count(&self, answered: &Answered) {
        let took = u64::try_from(answered.took.as_nanos()).unwrap_or(u64::MAX);
        let class = LATENCIES.iter().position(|most| took <= *most);
        self.latencies[class.unwrap_or(LATENCIES.len())].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(took, Ordering::Relaxed);
        if answered.bytes > 0 {
            self.bytes.fetch_add(answered.bytes, Ordering::Relaxed);
        }
    }

    fn requests(&self) -> u64 {
        self.latencies.iter().map(|of| of.load(Ordering::Relaxed)).sum()
    }
}

/// Counts the answers of one connection.
pub struct Tally {
    answers: Answers,
    last: Option<(AnswerKind, Arc<Counted>)>,
}

impl Tally {
    pub(super) fn new(answers: Answers) -> Self {
        Self { answers, last: None }
    }

    /// Counts one answer.
    pub fn count(&mut self, answered: Answered) {
        let counted = match &mut self.last {
            Some((kind, counted)) if kind.is(answered.kind) => counted,
            last => &mut last.insert((answered.kind, self.answers.of(answered.kind))).1,
        };
        counted.count(&answered);
    }
}

impl Answers {
    pub(super) fn new() -> prometheus::Result<Self> {
        let desc = |name: &str, help: &str, labels: &[&str]| {
            let labels = labels.iter().map(ToString::to_string);
            Desc::new(name.to_owned(), help.to_owned(), labels.collect(), HashMap::new())
        };
        Ok(Self(Arc::new(All {
            requests: desc(
                "mirror_http_requests_total",
                "Answered requests.",
                &["encoding", "route", "status"],
            )?,
            bytes: desc(
                "mirror_http_response_body_bytes_total",
                "Lengths of the bodies of answers.",
                &["route"],
            )?,
            latency: desc(
                "mirror_http_request_duration_seconds",
                "From the head of a request to the head of its answer.",
                &["route"],
            )?,
            kinds: Mutex::default(),
        })))
    }

    fn of(&self, kind: AnswerKind) -> Arc<Counted> {
        let mut kinds = self.0.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counted)) = kinds.iter().find(|(known, _)| *known == kind) {
            return Arc::clone(counted);
        }
        let counted = Arc::new(Counted::default());
        kinds.push((kind, Arc::clone(&counted)));
        counted
    }
}

impl Collector for Answers {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.requests, &self.0.bytes, &self.0.latency]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let kinds = self.0.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = kinds.iter().map(|(kind, counted)| {
            let status = kind.status.to_string();
            let labels = [kind.encoding, kind.route, &status];
            counter(metric(&self.0.requests, &labels), counted.requests())
        });
        let mut routes: Vec<_> = kinds.iter().map(|(kind, _)| kind.route).collect();
        routes.sort_unstable();
        routes.dedup();
        let (mut bytes, mut latency) = (Vec::new(), Vec::new());
        for route in routes {
            let of_route = || {
                kinds
                    .iter()
                    .filter(|(kind, _)| kind.route == route)
                    .map(|(_, c)| &**c)
            };
            let sum = of_route()
                .map(|counted| counted.bytes.load(Ordering::Relaxed))
                .sum();
            bytes.push(counter(metric(&self.0.bytes, &[route]), sum));
            let mut one = metric(&self.0.latency, &[route]);
            one.set_histogram(histogram(of_route));
            latency.push(one);
        }
        vec![
            family(&self.0.requests, MetricType::COUNTER, requests.collect()),
            family(&self.0.bytes, MetricType::COUNTER, bytes),
            family(&self.0.latency, MetricType::HISTOGRAM, latency),
        ]
    }
}

fn metric(desc: &Desc, values: &[&str]) -> Metric {
    let labels = desc.variable_labels.iter().zip(values).map(|(name, value)| {
        let mut label = LabelPair::default();
        label.set_name(name.clone());
        label.set_value((*value).to_owned());
        label
    });
    Metric::from_label(labels.collect())
}

fn counter(mut of: Metric, value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    of.set_counter(counter);
    of
}

fn histogram<'c, C: Iterator<Item = &'c Counted>>(of: impl Fn() -> C) -> Histogram {
    let at = |class: usize| {
        of().map(move |counted| counted.latencies[class].load(Ordering::Relaxed))
            .sum::<u64>()
    };
    let mut count = 0;
    let buckets = LATENCIES.iter().enumerate().map(|(class, most)| {
        count += at(class);
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(seconds(*most));
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(count + at(LATENCIES.len()));
    let sum = of()
        .map(|counted| counted.nanoseconds.load(Ordering::Relaxed))
        .sum();
    histogram.set_sample_sum(seconds(sum));
    histogram
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

fn family(of: &Desc, of_type: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(of.fq_name.clone());
    family.set_help(of.help.clone());
    family.set_field_type(of_type);
    family.set_metric(metrics);
    family
}

#[cfg(test)]
mod tests {
    use prometheus::{Registry, TextEncoder};

    use super::*;

    #[test]
    fn figures_are_sums_of_what_was_counted() {
        let (registry, answers) = (Registry::new(), Answers::new().unwrap());
        registry.register(Box::new(answers.clone())).unwrap();
        let mut tallies = [Tally::new(answers.clone()), Tally::new(answers)];
        for (tally, route, status, encoding, bytes, took) in [
            (0, "archive", 200, "zstd", 5, 50_000),
            (0, "archive", 200, "zstd", 6, 50_001),
            (1, "archive", 200, "zstd", 7, 6_000_000_000),
            (1, "archive", 206, "identity", 1, 49_999),
            (0, "metadata", 304, "identity", 0, 1),
        ] {
            let kind = AnswerKind {
                route,
                status,
                encoding,
            };
            let took = Duration::from_nanos(took);
            tallies[tally].count(Answered { kind, bytes, took });
        }
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        for line in [
            r#"mirror_http_requests_total{encoding="zstd",route="archive",status="200"} 3"#,
            r#"mirror_http_requests_total{encoding="identity",route="archive",status="206"} 1"#,
            r#"mirror_http_requests_total{encoding="identity",route="metadata",status="304"} 1"#,
            r#"mirror_http_response_body_bytes_total{route="archive"} 19"#,
            r#"mirror_http_response_body_bytes_total{route="metadata"} 0"#,
            r#"mirror_http_request_duration_seconds_bucket{route="archive",le="0.00005"} 2"#,
            r#"mirror_http_request_duration_seconds_bucket{route="archive",le="0.0001"} 3"#,
            r#"mirror_http_request_duration_seconds_bucket{route="archive",le="5"} 3"#,
            r#"mirror_http_request_duration_seconds_bucket{route="archive",le="+Inf"} 4"#,
            r#"mirror_http_request_duration_seconds_sum{route="archive"} 6.00015"#,
            r#"mirror_http_request_duration_seconds_count{route="archive"} 4"#,
        ] {
            assert!(lines.contains(&line), "{line}\n{text}");
        }
        assert_eq!(lines.len(), 3 + 2 + 2 * 15, "{text}");
    }
}
