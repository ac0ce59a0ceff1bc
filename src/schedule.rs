//! When the cycles of a repository run: one crontab line in one time zone.
//!
//! The meaning is crontab(5)'s: five fields, Sunday is 0 and 7, names, ranges and steps, and when both days are
//! restricted, either is enough. When the clock goes forward, a time that does not exist runs at the first one that
//! does; when it goes back, a fixed time runs once. The lines are checked here, field by field, because a message
//! must name the field; the calendar is left to the cron crate.

use std::fmt;

use cron::Cron;
use cron::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

const FORM: &str = "the fields are minute, hour, day of month, month, day of week, as in `17 3 * * *`";

const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

struct Field {
    name: &'static str,
    first: u8,
    last: u8,
    /// Names for the numbers from `first` on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        first: 0,
        last: 59,
        names: &[],
    },
    Field {
        name: "hour",
        first: 0,
        last: 23,
        names: &[],
    },
    Field {
        name: "day of month",
        first: 1,
        last: 31,
        names: &[],
    },
    Field {
        name: "month",
        first: 1,
        last: 12,
        names: &MONTHS,
    },
    Field {
        name: "day of week",
        first: 0,
        last: 7,
        names: &WEEKDAYS,
    },
];

/// Why a line is not a schedule. The rule does not quote the line, `found` does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}, found `{found}`")]
pub struct ScheduleError {
    pub rule: String,
    pub found: String,
    pub hint: String,
}

/// A crontab line in a time zone.
#[derive(Clone)]
pub struct Schedule {
    line: String,
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// Reads `line`, whose times are meant in `zone`.
    pub fn parse(line: &str, zone: TimeZone) -> Result<Self, ScheduleError> {
        let line = line.trim();
        let fields = split(line)?;
        let mut plain = Vec::with_capacity(FIELDS.len());
        for (field, text) in FIELDS.iter().zip(&fields) {
            plain.push(field.numbers(text)?);
        }
        let cron = compile(&plain)
            .map_err(|reason| error(&format!("expected a schedule ({reason})"), line, FORM))?;
        let schedule = Self {
            line: line.to_owned(),
            cron,
            zone,
        };
        match schedule.next_after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(error(
                "the schedule names a date that never comes",
                line,
                "no month has that day",
            )),
        }
    }

    /// The first time the schedule asks for that is later than `after`.
    pub fn next_after(&self, after: Timestamp) -> Option<Zoned> {
        self.cron
            .find_next_occurrence(&after.to_zoned(self.zone.clone()), false)
            .ok()
    }

    /// The schedule in words: "At 03:17, in Europe/Berlin".
    pub fn describe(&self) -> String {
        let words = self.cron.describe();
        let zone = self.zone.iana_name().unwrap_or("UTC");
        format!("{}, in {zone}", words.trim_end_matches('.'))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Schedule({} {})",
            self.line,
            self.zone.iana_name().unwrap_or("UTC")
        )
    }
}

fn error(rule: &str, found: &str, hint: &str) -> ScheduleError {
    ScheduleError {
        rule: rule.to_owned(),
        found: found.to_owned(),
        hint: hint.to_owned(),
    }
}

/// The five fields of a line or of a nickname.
fn split(line: &str) -> Result<Vec<&str>, ScheduleError> {
    let line = match NICKNAMES.iter().find(|(name, _)| line.eq_ignore_ascii_case(name)) {
        Some((_, meaning)) => meaning,
        None => line,
    };
    if line.eq_ignore_ascii_case("@reboot") {
        let hint =
            "a repository that was never built is built at the start anyway; say how often from then on";
        return Err(error("a schedule is a time, not an event", line, hint));
    }
    if line.starts_with('@') {
        let names: Vec<&str> = NICKNAMES.iter().map(|(name, _)| *name).collect();
        return Err(error(
            "unknown schedule name",
            line,
            &format!("the names are {}", names.join(", ")),
        ));
    }
    let fields: Vec<&str> = line.split_whitespace().collect();
    match fields.len() {
        5 => Ok(fields),
        6 => Err(error(
            "a schedule has five fields, not six",
            line,
            &format!("no seconds, no year; {FORM}"),
        )),
        count => Err(error(
            &format!("a schedule has five fields, not {count}"),
            line,
            FORM,
        )),
    }
}

fn compile(fields: &[String]) -> Result<Cron, cron::errors::CronError> {
    // crontab(5): either day is enough if both are restricted, that is, if neither begins with `*`.
    let both_days = fields[2].starts_with('*') || fields[4].starts_with('*');
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .dom_and_dow(both_days);
    parser.build().parse(&fields.join(" "))
}

impl Field {
    /// The field with numbers for names, checked.
    fn numbers(&self, text: &str) -> Result<String, ScheduleError> {
        let items: Result<Vec<String>, _> = text.split(',').map(|item| self.item(item)).collect();
        Ok(items?.join(","))
    }

    /// One item of the list: `*`, `5`, `5-9`, each range with an optional `/step`.
    fn item(&self, item: &str) -> Result<String, ScheduleError> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (item, None),
        };
        let range = match range.split_once('-') {
            _ if range == "*" => "*".to_owned(),
            Some((from, to)) => self.range(item, from, to)?,
            None if step.is_some() => {
                let hint = format!("write `{range}-{}/…` or `*/…`", self.last);
                return Err(self.error("a step needs a range", item, &hint));
            }
            None => self.number(range)?.to_string(),
        };
        Ok(step.map_or(range.clone(), |step| format!("{range}/{step}")))
    }

    fn range(&self, item: &str, from: &str, to: &str) -> Result<String, ScheduleError> {
        let (start, mut end) = (self.number(from)?, self.number(to)?);
        if self.last == 7 && end == 0 && start > 0 {
            end = 7; // `fri-sun`
        }
        if start > end {
            let hint = format!("write `{start}-{},{}-{end}`", self.last, self.first);
            return Err(self.error("a range goes upwards", item, &hint));
        }
        Ok(format!("{start}-{end}"))
    }

    fn step(&self, step: &str) -> Result<u8, ScheduleError> {
        let number = step.parse().ok().filter(|step| (1..=self.last).contains(step));
        number.ok_or_else(|| self.error(&format!("a step is a number from 1 to {}", self.last), step, FORM))
    }

    fn number(&self, text: &str) -> Result<u8, ScheduleError> {
        let name = self.names.iter().position(|name| text.eq_ignore_ascii_case(name));
        if let Some(position) = name {
            return Ok(self.first + u8::try_from(position).unwrap_or_default());
        }
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text
            .parse()
            .ok()
            .filter(|number| digits && (self.first..=self.last).contains(number));
        number.ok_or_else(|| {
            let names = match self.names {
                [first, .., last] => format!(" or a name from {first} to {last}"),
                _ => String::new(),
            };
            self.error(
                &format!("expected a number from {} to {}{names}", self.first, self.last),
                text,
                FORM,
            )
        })
    }

    fn error(&self, rule: &str, found: &str, hint: &str) -> ScheduleError {
        error(&format!("in the {} field, {rule}", self.name), found, hint)
    }
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
    fn one_is_monday() {
        // 2026-06-01 is a Monday.
        let start = "2026-06-01T02:00:00Z";
        assert_eq!(
            runs("0 3 * * 1", "UTC", start, 2),
            ["Mon 2026-06-01 03:00+00:00", "Mon 2026-06-08 03:00+00:00"]
        );
        assert_eq!(
            runs("0 3 * * mon", "UTC", start, 1),
            ["Mon 2026-06-01 03:00+00:00"]
        );
    }

    #[test]
    fn zero_and_seven_are_sunday() {
        for day in ["0", "7", "SUN", "7-7", "0,7"] {
            let found = runs(&format!("5 4 * * {day}"), "UTC", "2026-06-01T00:00:00Z", 2);
            assert_eq!(
                found,
                ["Sun 2026-06-07 04:05+00:00", "Sun 2026-06-14 04:05+00:00"],
                "{day}"
            );
        }
        for days in ["fri-sun", "5-7", "Fri-7"] {
            let found = runs(&format!("0 0 * * {days}"), "UTC", "2026-06-01T00:00:00Z", 4);
            let days: Vec<&str> = found.iter().map(|run| &run[..3]).collect();
            assert_eq!(days, ["Fri", "Sat", "Sun", "Fri"]);
        }
    }

    #[test]
    fn either_day_is_enough() {
        let found = runs("0 3 15 * 1", "UTC", "2026-06-09T00:00:00Z", 3);
        assert_eq!(
            found,
            [
                "Mon 2026-06-15 03:00+00:00",
                "Mon 2026-06-22 03:00+00:00",
                "Mon 2026-06-29 03:00+00:00"
            ]
        );
        let found = runs("0 3 11 * 1", "UTC", "2026-06-09T00:00:00Z", 2);
        assert_eq!(
            found,
            ["Thu 2026-06-11 03:00+00:00", "Mon 2026-06-15 03:00+00:00"]
        );
        // A field that begins with `*` does not restrict: only the odd days that are Mondays.
        let found = runs("0 3 */2 * 1", "UTC", "2026-06-09T00:00:00Z", 2);
        assert_eq!(
            found,
            ["Mon 2026-06-15 03:00+00:00", "Mon 2026-06-29 03:00+00:00"]
        );
    }

    #[test]
    fn clock_forward_runs_at_the_first_time_that_exists() {
        // 2026-03-29: 02:00 to 03:00 do not exist in Berlin.
        let found = runs("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert_eq!(
            found,
            ["Sun 2026-03-29 03:00+02:00", "Mon 2026-03-30 02:30+02:00"]
        );
        let found = runs("@hourly", "Europe/Berlin", "2026-03-29T00:30:00Z", 2);
        assert_eq!(
            found,
            ["Sun 2026-03-29 03:00+02:00", "Sun 2026-03-29 04:00+02:00"]
        );
    }

    #[test]
    fn clock_back_runs_a_fixed_time_once_and_every_hour_twice() {
        // 2026-10-25: 02:00 to 03:00 happen twice in Berlin.
        let found = runs("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(
            found,
            ["Sun 2026-10-25 02:30+02:00", "Mon 2026-10-26 02:30+01:00"]
        );
        let found = runs("@hourly", "Europe/Berlin", "2026-10-24T23:30:00Z", 3);
        let expected = [
            "Sun 2026-10-25 02:00+02:00",
            "Sun 2026-10-25 02:00+01:00",
            "Sun 2026-10-25 03:00+01:00",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn nicknames_names_lists_and_steps() {
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
            assert_eq!(
                runs(line, "UTC", "2026-06-01T12:00:00Z", 1),
                [format!("{expected}+00:00")],
                "{line}"
            );
        }
    }

    #[test]
    fn broken_lines_say_which_field() {
        let cases = [
            ("", "a schedule has five fields, not 0, found ``"),
            ("0 3 * *", "a schedule has five fields, not 4, found `0 3 * *`"),
            (
                "0 0 3 * * 1",
                "a schedule has five fields, not six, found `0 0 3 * * 1`",
            ),
            ("@reboot", "a schedule is a time, not an event, found `@reboot`"),
            ("@dayly", "unknown schedule name, found `@dayly`"),
            (
                "60 3 * * *",
                "in the minute field, expected a number from 0 to 59, found `60`",
            ),
            (
                "jan 3 * * *",
                "in the minute field, expected a number from 0 to 59, found `jan`",
            ),
            (
                "0 +3 * * *",
                "in the hour field, expected a number from 0 to 23, found `+3`",
            ),
            (
                "0 3 L * *",
                "in the day of month field, expected a number from 1 to 31, found `L`",
            ),
            (
                "0 3 * 0 *",
                "in the month field, expected a number from 1 to 12 or a name from jan to dec, found `0`",
            ),
            (
                "0 3 * * 8",
                "in the day of week field, expected a number from 0 to 7 or a name from sun to sat, found `8`",
            ),
            (
                "5/15 * * * *",
                "in the minute field, a step needs a range, found `5/15`",
            ),
            (
                "*/0 * * * *",
                "in the minute field, a step is a number from 1 to 59, found `0`",
            ),
            (
                "0 22-2 * * *",
                "in the hour field, a range goes upwards, found `22-2`",
            ),
            (
                "0 3 , * *",
                "in the day of month field, expected a number from 1 to 31, found ``",
            ),
            (
                "0 3 30 2 *",
                "the schedule names a date that never comes, found `0 3 30 2 *`",
            ),
        ];
        for (line, expected) in cases {
            let error = Schedule::parse(line, TimeZone::UTC).unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert!(!error.hint.is_empty(), "{line}");
        }
        let wrap = Schedule::parse("0 22-2 * * *", TimeZone::UTC).unwrap_err();
        assert_eq!(wrap.hint, "write `22-23,0-2`");
        let wrap = Schedule::parse("0 3 * * sat-mon", TimeZone::UTC).unwrap_err();
        assert_eq!(wrap.hint, "write `6-7,0-1`");
    }

    #[test]
    fn a_schedule_in_words() {
        assert_eq!(
            schedule("17 3 * * *", "Europe/Berlin").describe(),
            "At 03:17, in Europe/Berlin"
        );
        assert_eq!(
            schedule("0 3 * * 1", "UTC").describe(),
            "At 03:00, on Monday, in UTC"
        );
    }
}
