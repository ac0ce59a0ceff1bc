//! The state of a mirror in one word.

use std::fmt;

use jiff::{Timestamp, ToSpan as _};

use crate::schedule::Schedule;
use crate::store::RunHistory;

/// How late a mirror may be after its second missed run before it counts as stale.
const GRACE_HOURS: i64 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Checked on schedule, and nothing failed.
    Fresh,
    /// Checked on schedule, but something failed or a rollback is active.
    Incomplete,
    /// Scheduled runs were missed.
    Stale,
    /// The time of the last successful check is not known.
    Unknown,
    /// Nothing is published.
    Empty,
}

impl State {
    /// The class of its colour in the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Fresh => "good",
            Self::Incomplete | Self::Unknown => "doubt",
            Self::Stale | Self::Empty => "bad",
        }
    }
}

pub const STATES: [State; 5] = [State::Fresh, State::Incomplete, State::Stale, State::Unknown, State::Empty];

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

/// The state at `now` of a repository with this history.
pub fn state(
    published: bool,
    complete: bool,
    history: &RunHistory,
    schedule: &Schedule,
    now: Timestamp,
) -> State {
    if !published {
        return State::Empty;
    }
    // A run with one broken source still counts as a check: the mirror is incomplete, not stale.
    let checked = history.runs.iter().rev().find(|run| run.error.is_none());
    let checked = checked.map(|run| run.began).or(history.succeeded);
    // A time in the future was written under a wrong clock. A small difference between two machines is normal.
    let is_past = |checked: &Timestamp| checked.duration_since(now).as_hours() < GRACE_HOURS;
    let Some(checked) = checked.filter(is_past) else {
        return State::Unknown;
    };
    let last_failed = history.last().is_some_and(|run| !run.complete);
    match stale_from(schedule, checked) {
        Some(from) if from <= now => State::Stale,
        _ if !complete || last_failed => State::Incomplete,
        _ => State::Fresh,
    }
}

/// When a mirror that was last checked at `checked` becomes stale: an hour after its second missed run.
pub(super) fn stale_from(schedule: &Schedule, checked: Timestamp) -> Option<Timestamp> {
    let second = schedule.next_after(schedule.next_after(checked)?.timestamp())?;
    second.timestamp().checked_add(GRACE_HOURS.hours()).ok()
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::store::Run;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn history(began: &str, complete: bool, error: Option<&str>) -> RunHistory {
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
    fn mirror_is_stale_one_hour_after_second_missed_run() {
        let hourly = Schedule::parse("0 * * * *", TimeZone::UTC).unwrap();
        let good = history("2026-01-01T00:00:01Z", true, None);
        let at_time = |published, complete, history: &RunHistory, now| {
            state(published, complete, history, &hourly, at(now))
        };
        assert_eq!(at_time(true, true, &good, "2026-01-01T02:59:59Z"), State::Fresh);
        assert_eq!(at_time(true, true, &good, "2026-01-01T03:00:00Z"), State::Stale);
        assert_eq!(at_time(true, false, &good, "2026-01-01T02:59:59Z"), State::Incomplete);
        assert_eq!(at_time(false, true, &good, "2026-01-01T00:01:00Z"), State::Empty);
        assert_eq!(at_time(true, true, &RunHistory::default(), "2026-01-01T00:01:00Z"), State::Unknown);
        assert_eq!(at_time(true, true, &good, "2025-12-31T23:30:00Z"), State::Fresh);
        assert_eq!(at_time(true, true, &good, "2025-12-31T22:00:00Z"), State::Unknown);
        // A run that failed as a whole does not count as a check, but one with a broken source does.
        let failed = history("2026-01-01T00:00:01Z", false, Some("no room"));
        assert_eq!(at_time(true, true, &failed, "2026-01-01T00:01:00Z"), State::Unknown);
        let partly = history("2026-01-01T00:00:01Z", false, None);
        assert_eq!(at_time(true, false, &partly, "2026-01-01T00:01:00Z"), State::Incomplete);
    }
}
