//! When the cycles of a repository run: one crontab line in one time zone.
//!
//! The meaning is crontab(5)'s: five fields, Sunday is 0 and 7, names, ranges and steps, and when both days are
//! restricted, either is enough. When the clock goes forward, a time that does not exist runs at the first one that
//! does; when it goes back, a fixed time runs once. croner reads the line and knows the calendar.

use std::fmt;

use cron::Cron;
use cron::errors::CronError;
use cron::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::yaml::Issue;

const FIELDS: [&str; 5] = ["minute", "hour", "day of month", "month", "day of week"];

const FORM: &str = "the fields are minute (0-59), hour (0-23), day of month (1-31), month (1-12 or jan-dec) and day of week (0-7 or sun-sat), as in `17 3 * * *`";

const NICKNAMES: &str = "the names are @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually";

/// A crontab line in a time zone.
#[derive(Clone)]
pub struct Schedule {
    line: String,
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// Reads `line`, whose times are meant in `zone`.
    pub fn parse(line: &str, zone: TimeZone) -> Result<Self, Issue> {
        let line = line.trim();
        let schedule = Self { line: line.to_owned(), cron: parse(line).map_err(|_| explain(line))?, zone };
        match schedule.next_after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(Issue::new("the schedule names a date that never comes")
                .found(format!("`{line}`"))
                .hint("no month has that day")),
        }
    }

    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first time of the schedule that is later than `after`.
    pub fn next_after(&self, after: Timestamp) -> Option<Zoned> {
        self.cron.find_next_occurrence(&after.to_zoned(self.zone.clone()), false).ok()
    }

    /// The schedule in words: "at 03:17 (Europe/Berlin)".
    pub fn describe(&self) -> String {
        let mut words = self.cron.describe().trim_end_matches('.').to_owned();
        if let Some(first) = words.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        let zone = self.zone.iana_name().unwrap_or("UTC");
        format!("{words} ({zone})")
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = self.zone.iana_name().unwrap_or("UTC");
        write!(f, "Schedule({} {zone})", self.line)
    }
}

fn parse(line: &str) -> Result<Cron, CronError> {
    if line.eq_ignore_ascii_case("@midnight") {
        return parse("@daily");
    }
    // crontab(5): either day is enough if both are restricted, that is, if neither begins with `*`.
    let days = [2, 4].map(|field| line.split_whitespace().nth(field).unwrap_or_default());
    let both_days = days.iter().any(|day| day.starts_with('*'));
    CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .dom_and_dow(both_days)
        .build()
        .parse(line)
}

/// What is wrong with a line that cannot be parsed: croner does not name the field, so each one is tried alone.
fn explain(line: &str) -> Issue {
    if line.starts_with('@') {
        let issue = Issue::new("unknown name of a schedule").found(format!("`{line}`"));
        return issue.hint(NICKNAMES);
    }
    let fields: Vec<&str> = line.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let rule = format!("a schedule has five fields, not {}", fields.len());
        return Issue::new(rule).found(format!("`{line}`")).hint(FORM);
    }
    for (position, name) in FIELDS.iter().enumerate() {
        let mut alone = ["*"; FIELDS.len()];
        alone[position] = fields[position];
        let reason = match parse(&alone.join(" ")) {
            Ok(_) => continue,
            Err(CronError::ComponentError(reason)) => reason,
            Err(_) => "Illegal characters".to_owned(),
        };
        let reason = reason.trim_end_matches('.').to_lowercase();
        let (reason, hint) = match reason.as_str() {
            range if range.starts_with("range") => {
                (range, "a range goes upwards within its bounds: write `22-23,0-2`, not `22-2`")
            }
            step if step.starts_with("invalid step") => {
                ("a step needs a range", "write `*/15` or `5-59/15`, not `5/15`")
            }
            reason => (reason, FORM),
        };
        let issue = Issue::new(format!("invalid {name} field: {reason}"));
        return issue.found(format!("`{}`", fields[position])).hint(hint);
    }
    Issue::new("expected a schedule").found(format!("`{line}`")).hint(FORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(line: &str, zone: &str) -> Schedule {
        Schedule::parse(line, TimeZone::get(zone).unwrap()).unwrap()
    }

    /// The next `count` runs after `start`, both as local time with offset.
    fn runs(line: &str, zone: &str, start: &str, count: usize) -> Vec<String> {
        let schedule = schedule(line, zone);
        let mut now: Timestamp = start.parse().unwrap();
        let mut runs = Vec::new();
        for _ in 0..count {
            let next = schedule.next_after(now).unwrap();
            runs.push(next.strftime("%a %F %H:%M%:z").to_string());
            now = next.timestamp();
        }
        runs
    }

    #[test]
    fn weekday_1_is_monday() {
        // 2026-06-01 is a Monday.
        let start = "2026-06-01T02:00:00Z";
        assert_eq!(
            runs("0 3 * * 1", "UTC", start, 2),
            ["Mon 2026-06-01 03:00+00:00", "Mon 2026-06-08 03:00+00:00"]
        );
        assert_eq!(runs("0 3 * * mon", "UTC", start, 1), ["Mon 2026-06-01 03:00+00:00"]);
    }

    #[test]
    fn weekdays_0_and_7_are_sunday() {
        for day in ["0", "7", "SUN", "7-7", "0,7"] {
            let found = runs(&format!("5 4 * * {day}"), "UTC", "2026-06-01T00:00:00Z", 2);
            assert_eq!(found, ["Sun 2026-06-07 04:05+00:00", "Sun 2026-06-14 04:05+00:00"], "{day}");
        }
        for days in ["fri-sun", "5-7", "Fri-7"] {
            let found = runs(&format!("0 0 * * {days}"), "UTC", "2026-06-01T00:00:00Z", 4);
            let days: Vec<&str> = found.iter().map(|run| &run[..3]).collect();
            assert_eq!(days, ["Fri", "Sat", "Sun", "Fri"]);
        }
    }

    #[test]
    fn either_restricted_day_is_enough() {
        let found = runs("0 3 15 * 1", "UTC", "2026-06-09T00:00:00Z", 3);
        assert_eq!(
            found,
            ["Mon 2026-06-15 03:00+00:00", "Mon 2026-06-22 03:00+00:00", "Mon 2026-06-29 03:00+00:00"]
        );
        let found = runs("0 3 11 * 1", "UTC", "2026-06-09T00:00:00Z", 2);
        assert_eq!(found, ["Thu 2026-06-11 03:00+00:00", "Mon 2026-06-15 03:00+00:00"]);
        // A field that begins with `*` does not restrict: only the odd days that are Mondays.
        let found = runs("0 3 */2 * 1", "UTC", "2026-06-09T00:00:00Z", 2);
        assert_eq!(found, ["Mon 2026-06-15 03:00+00:00", "Mon 2026-06-29 03:00+00:00"]);
    }

    #[test]
    fn skipped_hour_runs_at_the_next_time() {
        // 2026-03-29: 02:00 to 03:00 do not exist in Berlin.
        let found = runs("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert_eq!(found, ["Sun 2026-03-29 03:00+02:00", "Mon 2026-03-30 02:30+02:00"]);
        let found = runs("@hourly", "Europe/Berlin", "2026-03-29T00:30:00Z", 2);
        assert_eq!(found, ["Sun 2026-03-29 03:00+02:00", "Sun 2026-03-29 04:00+02:00"]);
    }

    #[test]
    fn repeated_hour_runs_fixed_times_once() {
        // 2026-10-25: 02:00 to 03:00 happen twice in Berlin.
        let found = runs("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(found, ["Sun 2026-10-25 02:30+02:00", "Mon 2026-10-26 02:30+01:00"]);
        let found = runs("@hourly", "Europe/Berlin", "2026-10-24T23:30:00Z", 3);
        let expected =
            ["Sun 2026-10-25 02:00+02:00", "Sun 2026-10-25 02:00+01:00", "Sun 2026-10-25 03:00+01:00"];
        assert_eq!(found, expected);
    }

    #[test]
    fn nicknames_names_lists_and_steps_are_read() {
        let cases = [
            ("@daily", "Tue 2026-06-02 00:00"),
            ("@midnight", "Tue 2026-06-02 00:00"),
            ("@Weekly", "Sun 2026-06-07 00:00"),
            ("@monthly", "Wed 2026-07-01 00:00"),
            ("@yearly", "Fri 2027-01-01 00:00"),
            ("*/20 * * * *", "Mon 2026-06-01 12:20"),
            ("0 8-18/4 * * *", "Mon 2026-06-01 16:00"),
            ("0 0 1 feb,AUG *", "Sat 2026-08-01 00:00"),
            ("0 0 29 2 *", "Tue 2028-02-29 00:00"),
        ];
        for (line, expected) in cases {
            assert_eq!(runs(line, "UTC", "2026-06-01T12:00:00Z", 1), [format!("{expected}+00:00")], "{line}");
        }
    }

    #[test]
    fn message_names_the_field() {
        let cases = [
            ("", "a schedule has five fields, not 0, found ``"),
            ("0 3 * *", "a schedule has five fields, not 4, found `0 3 * *`"),
            ("0 0 3 * * 1", "a schedule has five fields, not 6, found `0 0 3 * * 1`"),
            ("@reboot", "unknown name of a schedule, found `@reboot`"),
            ("@dayly", "unknown name of a schedule, found `@dayly`"),
            ("60 3 * * *", "invalid minute field: number out of bounds, found `60`"),
            ("0 +3 * * *", "invalid hour field: illegal characters, found `+3`"),
            ("0 3 32 * *", "invalid day of month field: number out of bounds, found `32`"),
            ("0 3 * 0 *", "invalid month field: number out of bounds, found `0`"),
            ("0 3 * * 8", "invalid day of week field: number out of bounds, found `8`"),
            ("5/15 * * * *", "invalid minute field: a step needs a range, found `5/15`"),
            ("*/0 * * * *", "invalid minute field: step cannot be zero, found `*/0`"),
            ("0 22-2 * * *", "invalid hour field: range out of bounds, found `22-2`"),
            ("0 3 , * *", "the schedule names a date that never comes, found `0 3 , * *`"),
            ("0 3 30 2 *", "the schedule names a date that never comes, found `0 3 30 2 *`"),
        ];
        for (line, expected) in cases {
            let issue = Schedule::parse(line, TimeZone::UTC).unwrap_err();
            assert_eq!(issue.to_string(), expected);
            assert!(issue.hint.is_some(), "{line}");
        }
        let range = Schedule::parse("0 3 * * sat-mon", TimeZone::UTC).unwrap_err();
        assert_eq!(
            range.hint.as_deref(),
            Some("a range goes upwards within its bounds: write `22-23,0-2`, not `22-2`")
        );
    }

    #[test]
    fn schedule_is_described_in_words() {
        assert_eq!(schedule("17 3 * * *", "Europe/Berlin").describe(), "at 03:17 (Europe/Berlin)");
        assert_eq!(schedule("0 3 * * 1", "UTC").describe(), "at 03:00, on Monday (UTC)");
    }
}
