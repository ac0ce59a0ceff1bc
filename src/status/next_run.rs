//! When the next cycle begins, in the same words for the log and the status page.

use jiff::Timestamp;

use crate::metadata::pages::instant;
use crate::schedule::Schedule;
use crate::util::text::plural;

/// The next cycle of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextRun {
    /// When it begins; `None` if that is never or not known.
    pub at: Option<Timestamp>,
    /// The next scheduled time. A retry is earlier.
    pub regular: Option<Timestamp>,
}

impl NextRun {
    /// Whether a retry or a push makes it begin before the schedule does.
    pub fn is_early(&self) -> bool {
        self.at.is_some_and(|at| self.regular.is_none_or(|regular| at < regular))
    }

    /// `retry in 10 minutes; regular run 2026-12-01 02:17 UTC`
    pub fn describe(&self, failed: bool, now: Timestamp) -> String {
        let regular = match self.regular {
            Some(regular) => format!("regular run {}", instant(regular)),
            None => "no regular run".to_owned(),
        };
        match self.at.filter(|_| self.is_early()) {
            Some(at) => format!("{} {}; {regular}", early_name(failed), delay(now, at)),
            None => regular,
        }
    }
}

/// What a run before its scheduled time is called.
pub(super) fn early_name(failed: bool) -> &'static str {
    if failed { "retry" } else { "requested run" }
}

/// The scheduled run after `last`.
pub(super) fn regular_run(schedule: &Schedule, last: Timestamp) -> Option<Timestamp> {
    schedule.next_after(last).map(|time| time.timestamp())
}

fn delay(now: Timestamp, at: Timestamp) -> String {
    let seconds = usize::try_from(at.duration_since(now).as_secs()).unwrap_or_default();
    match seconds {
        0 => "now".to_owned(),
        1..120 => format!("in {}", plural(seconds, "second")),
        _ => format!("in {}", plural(seconds.div_ceil(60), "minute")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_is_told_with_the_regular_run() {
        let at = |text: &str| text.parse::<Timestamp>().ok();
        let now = at("2026-11-30T12:00:00Z").unwrap();
        let regular = at("2026-12-01T02:17:00Z");
        let told = |at, failed| NextRun { at, regular }.describe(failed, now);
        assert_eq!(
            told(at("2026-11-30T12:10:00Z"), true),
            "retry in 10 minutes; regular run 2026-12-01 02:17 UTC"
        );
        assert_eq!(
            told(at("2026-11-30T12:00:20Z"), true),
            "retry in 20 seconds; regular run 2026-12-01 02:17 UTC"
        );
        assert_eq!(
            told(at("2026-11-30T12:00:30Z"), false),
            "requested run in 30 seconds; regular run 2026-12-01 02:17 UTC"
        );
        assert_eq!(told(regular, true), "regular run 2026-12-01 02:17 UTC");
    }
}
