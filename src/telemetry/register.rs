//! Creates metrics and registers them.

use prometheus::core::Collector;
use prometheus::{Gauge, GaugeVec, IntCounterVec, Opts, Registry};

pub(super) fn add<C: Collector + Clone + 'static>(
    to: &Registry,
    made: prometheus::Result<C>,
) -> prometheus::Result<C> {
    let made = made?;
    to.register(Box::new(made.clone()))?;
    Ok(made)
}

pub(super) fn gauge(to: &Registry, name: &str, help: &str) -> prometheus::Result<Gauge> {
    add(to, Gauge::new(name, help))
}

pub(super) fn gauges(to: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
    add(to, GaugeVec::new(Opts::new(name, help), labels))
}

pub(super) fn counters(
    to: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    add(to, IntCounterVec::new(Opts::new(name, help), labels))
}
