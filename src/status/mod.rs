//! What is said of a repository's state, to people and to monitors: input in, bytes out. Pure.
//!
//! [`StatusInput`] is everything that is known; [`document`] is `mirror.json`, [`page`] the status page, [`figures`] what metrics
//! say, [`overview`] the page of a host with several repositories, and this file the verdict and the small text files. Nothing here is part of a snapshot: it changes when a cycle ends with nothing new, too.

mod alerts;
mod charts;
mod host_index;
mod metric_values;
mod mirror_json;
mod progress_json;
mod status_page;

use std::fmt;

use jiff::{Timestamp, ToSpan as _};

use crate::cycle::{Report, SourceReport};
use crate::ledger::Release;
use crate::package::plan::Outcome;
use crate::schedule::Schedule;
use crate::store::snapshot::Snapshot;
use crate::store::{RunHistory, Space};

pub use alerts::{AlertState, notification, plural};
pub use host_index::{IndexEntry, host_index};
pub use metric_values::{MetricValues, metric_values};
pub use mirror_json::{SCHEMA, mirror_json};
pub use progress_json::{RunningCycle, progress_json};
pub use status_page::status_page;

/// How far behind its second missed run a mirror may be before it is called stale.
const GRACE_HOURS: i64 = 1;

/// Everything that is known of a repository.
pub struct StatusInput<'a> {
    /// Who runs the mirror.
    pub operator: Option<&'a str>,
    pub contact: Option<&'a str>,
    pub name: &'a str,
    pub base_url: &'a str,
    pub schedule: &'a Schedule,
    /// What is served; `None` before the first publication.
    pub snapshot: Option<&'a Snapshot>,
    /// Why what is newest on the volume is not.
    pub unserved: Option<&'a str>,
    pub report: &'a Report,
    pub cycles: &'a RunHistory,
    /// The published releases, in the order of their publication.
    pub releases: &'a [Release],
    pub space: Option<Space>,
    pub now: Timestamp,
}

/// How a mirror is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Checked as scheduled, and everything is there.
    Fresh,
    /// Checked as scheduled, but something failed or is held back.
    Incomplete,
    /// No check has succeeded for so long that runs were missed.
    Stale,
    /// It is not known when a check last succeeded.
    Unknown,
    /// Nothing is published.
    Empty,
}

/// All of them.
pub const STATES: [State; 5] = [
    State::Fresh,
    State::Incomplete,
    State::Stale,
    State::Unknown,
    State::Empty,
];

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fresh => "fresh",
            Self::Incomplete => "incomplete",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
            Self::Empty => "empty",
        })
    }
}

/// How a repository with these cycles is at `now`.
pub fn state(
    published: bool,
    complete: bool,
    cycles: &RunHistory,
    schedule: &Schedule,
    now: Timestamp,
) -> State {
    if !published {
        return State::Empty;
    }
    // A mirror with one broken source is incomplete, and not stale, for as long as its cycles run.
    let checked = cycles.runs.iter().rev().find(|cycle| cycle.error.is_none());
    let checked = checked.map(|cycle| cycle.began).or(cycles.succeeded);
    // What a clock that was ahead has written tells nothing; those of two machines differ a little.
    let is_past = |checked: &Timestamp| checked.duration_since(now).as_hours() < GRACE_HOURS;
    let Some(checked) = checked.filter(is_past) else {
        return State::Unknown;
    };
    let last_failed = cycles.last().is_some_and(|cycle| !cycle.complete);
    match stale_from(schedule, checked) {
        Some(from) if from <= now => State::Stale,
        _ if !complete || last_failed => State::Incomplete,
        _ => State::Fresh,
    }
}

/// When a mirror that was last checked at `checked` becomes stale: an hour after its second missed run.
fn stale_from(schedule: &Schedule, checked: Timestamp) -> Option<Timestamp> {
    let second = schedule.next_after(schedule.next_after(checked)?.timestamp())?;
    second.timestamp().checked_add(GRACE_HOURS.hours()).ok()
}

impl StatusInput<'_> {
    /// Nothing failed, nothing is held back, and nothing is damaged.
    pub fn is_complete(&self) -> bool {
        let is_whole = self.snapshot.is_none_or(|snapshot| snapshot.is_whole);
        let is_whole = is_whole && self.unserved.is_none() && self.cycles.damaged.is_empty();
        self.report.is_complete() && self.rollback_target().is_none() && is_whole
    }

    /// Whether the last cycle did not do all that it should.
    fn last_failed(&self) -> bool {
        self.cycles.last().is_some_and(|cycle| !cycle.complete)
    }

    /// What failed: why the last cycle was given up, a snapshot that cannot be served, damaged archives, whole sources, and packages of single refs. Each has a name,
    /// which stays while the reason changes, and a line.
    fn failures(&self) -> Vec<(String, String)> {
        let given_up = self.cycles.last().and_then(|cycle| cycle.error.clone());
        let given_up = given_up.map(|error| ("the cycle".to_owned(), error));
        let unserved = self.unserved.map(|because| {
            let line = format!("what is newest cannot be served: {because}");
            ("the newest snapshot".to_owned(), line)
        });
        let damaged = self.cycles.damaged.iter();
        let damaged = damaged.map(|(path, because)| (path.clone(), format!("{path} {because}")));
        let of = |(name, source): (&String, &SourceReport)| {
            let whole = source.error.as_ref();
            let whole = whole.map(|error| (name.clone(), format!("{name}: {error}")));
            let lines = source.failed.iter().map(|line| {
                let because = match &line.outcome {
                    Outcome::Failed { reason } => format!(": {reason}"),
                    _ => String::new(),
                };
                // The version of a night is another one tomorrow.
                let package = line.package.split(' ').next().unwrap_or_default();
                (
                    format!("{name} {}: {package}", line.tag),
                    format!("{name} {}: {}{because}", line.tag, line.package),
                )
            });
            whole.into_iter().chain(lines).collect::<Vec<_>>()
        };
        let sources = self.report.sources.iter().flat_map(of);
        let whole = given_up.into_iter().chain(unserved);
        whole.chain(damaged).chain(sources).collect()
    }

    /// The snapshot that a rollback holds.
    fn rollback_target(&self) -> Option<u64> {
        self.snapshot.and_then(|s| s.manifest.rollback_to)
    }

    pub fn state(&self) -> State {
        let published = self.snapshot.is_some();
        state(
            published,
            self.is_complete(),
            self.cycles,
            self.schedule,
            self.now,
        )
    }

    /// When a cycle last ended, whatever came of it.
    pub fn checked(&self) -> Option<Timestamp> {
        self.cycles.last().map(|cycle| cycle.ended)
    }

    /// When what Composer reads last changed.
    pub fn changed(&self) -> Option<Timestamp> {
        let metadata = |path: &str| path == "packages.json" || path.starts_with("p2/");
        let files = self.snapshot?.manifest.files.iter();
        let last = files
            .filter(|(path, _)| metadata(path))
            .map(|(_, f)| f.last_modified)
            .max()?;
        Timestamp::from_second(last).ok()
    }

    /// The run that is due after the last one, in the past when it was missed; `None` before the first.
    pub fn next_run(&self) -> Option<Timestamp> {
        let after = self
            .cycles
            .running
            .or(self.cycles.last().map(|cycle| cycle.ended))?;
        self.schedule.next_after(after).map(|time| time.timestamp())
    }

    fn count(&self, of: fn(&SourceReport) -> usize) -> usize {
        self.report.sources.values().map(of).sum()
    }

    /// The releases that were published last, newest first.
    fn newest(&self, count: usize) -> impl Iterator<Item = &Release> {
        let mut all: Vec<_> = self.releases.iter().collect();
        all.sort_by(|a, b| {
            b.committed
                .cmp(&a.committed)
                .then_with(|| b.number.cmp(&a.number))
        });
        all.into_iter().take(count)
    }

    /// `lastupdate`: when the content last changed, in Unix seconds.
    pub fn last_update(&self) -> Option<String> {
        self.changed().map(|time| format!("{}\n", time.as_second()))
    }

    /// `lastsync`: when a cycle in which nothing failed last began, in Unix seconds.
    pub fn last_sync(&self) -> Option<String> {
        self.cycles
            .succeeded
            .map(|time| format!("{}\n", time.as_second()))
    }

    /// The trace file, in the form of Debian's mirrors: the date of the last check, and `Key: value` lines.
    pub fn trace(&self) -> Option<String> {
        let last = self.cycles.last()?;
        let date = last.ended.strftime("%a, %d %b %Y %H:%M:%S +0000");
        let mut text = format!(
            "{date}\nDate: {date}\nDate-Started: {}\nUsing: mirror {}\nUpstream-Complete: {}\n",
            last.began.strftime("%a, %d %b %Y %H:%M:%S +0000"),
            env!("CARGO_PKG_VERSION"),
            if last.complete { "yes" } else { "no" },
        );
        for (key, value) in [("Maintainer", self.operator), ("Contact", self.contact)] {
            if let Some(value) = value {
                // A value with a line break would be another key.
                text += &format!(
                    "{key}: {}\n",
                    value.split_whitespace().collect::<Vec<_>>().join(" ")
                );
            }
        }
        if let Some(snapshot) = self.snapshot {
            text += &format!("Ledger-Head: {}\n", snapshot.manifest.ledger_head);
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::store::Run;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn cycles(began: &str, complete: bool, error: Option<&str>) -> RunHistory {
        let began = at(began);
        RunHistory {
            running: None,
            succeeded: complete.then_some(began),
            runs: vec![Run {
                began,
                ended: began,
                published: 0,
                stages: std::collections::BTreeMap::new(),
                complete,
                error: error.map(str::to_owned),
            }],
            damaged: std::collections::BTreeMap::new(),
            report: None,
        }
    }

    #[test]
    fn a_mirror_is_stale_an_hour_after_its_second_missed_run() {
        let hourly = Schedule::parse("0 * * * *", TimeZone::UTC).unwrap();
        let good = cycles("2026-01-01T00:00:01Z", true, None);
        let say = |published, complete, cycles: &RunHistory, now| {
            state(published, complete, cycles, &hourly, at(now))
        };
        assert_eq!(say(true, true, &good, "2026-01-01T02:59:59Z"), State::Fresh);
        assert_eq!(say(true, true, &good, "2026-01-01T03:00:00Z"), State::Stale);
        assert_eq!(say(true, false, &good, "2026-01-01T02:59:59Z"), State::Incomplete);
        assert_eq!(say(false, true, &good, "2026-01-01T00:01:00Z"), State::Empty);
        assert_eq!(
            say(true, true, &RunHistory::default(), "2026-01-01T00:01:00Z"),
            State::Unknown
        );
        assert_eq!(say(true, true, &good, "2025-12-31T23:30:00Z"), State::Fresh);
        assert_eq!(say(true, true, &good, "2025-12-31T22:00:00Z"), State::Unknown);
        // A cycle that was given up is no check, but one with a broken source is.
        let failed = cycles("2026-01-01T00:00:01Z", false, Some("no room"));
        assert_eq!(say(true, true, &failed, "2026-01-01T00:01:00Z"), State::Unknown);
        let partly = cycles("2026-01-01T00:00:01Z", false, None);
        assert_eq!(
            say(true, false, &partly, "2026-01-01T00:01:00Z"),
            State::Incomplete
        );
    }
}
