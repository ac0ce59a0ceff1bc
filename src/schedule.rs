//! When to build: a crontab line of five fields in a time zone.
//!
//! Sunday is 0 and 7, day of month and day of week are joined by "or" when both are given, and a time that daylight saving
//! skips runs at the first minute after it (cron(8), crontab(5)).

use std::str::FromStr as _;

use anyhow::{Context as _, bail};
use cron::Cron;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// A parsed crontab line.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    timezone: TimeZone,
}

impl Schedule {
    /// Parses five fields or `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`.
    ///
    /// # Errors
    /// A line that is not of that form, or an unknown time zone.
    pub fn parse(line: &str, timezone: &str) -> anyhow::Result<Self> {
        let timezone = TimeZone::get(timezone)
            .with_context(|| format!("`{timezone}` is no time zone\nhint: write it as in Europe/Berlin"))?;
        let line = if line == "@midnight" { "@daily" } else { line };
        let fields = line.split_whitespace().count();
        if !line.starts_with('@') && fields != 5 {
            bail!(
                "`{line}` has {fields} fields\nhint: a schedule has five: minute, hour, day of month, month, day of week"
            );
        }
        let cron =
            Cron::from_str(line).map_err(|error| anyhow::anyhow!("`{line}` is no crontab line: {error}"))?;
        Ok(Self { cron, timezone })
    }

    /// The next time after `time`; `None` for a day that never comes, such as 30 February.
    pub fn next_after(&self, time: Timestamp) -> Option<Zoned> {
        self.cron
            .find_next_occurrence(&time.to_zoned(self.timezone.clone()), false)
            .ok()
    }

    /// The line in words.
    pub fn describe(&self) -> String {
        self.cron.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(line: &str, zone: &str, after: &str) -> String {
        let next = Schedule::parse(line, zone)
            .unwrap()
            .next_after(after.parse().unwrap())
            .unwrap();
        next.strftime("%Y-%m-%d %H:%M %a").to_string()
    }

    #[test]
    fn lines_mean_what_crontab_means() {
        assert_eq!(
            next("0 3 * * 1", "UTC", "2026-11-22T00:00:00Z"),
            "2026-11-23 03:00 Mon"
        );
        assert_eq!(
            next("0 3 * * 0", "UTC", "2026-11-23T00:00:00Z"),
            "2026-11-29 03:00 Sun"
        );
        assert_eq!(
            next("0 3 * * 7", "UTC", "2026-11-23T00:00:00Z"),
            "2026-11-29 03:00 Sun"
        );
        assert_eq!(
            next("0 3 1 * 1", "UTC", "2026-11-24T00:00:00Z"),
            "2026-11-30 03:00 Mon"
        );
        assert_eq!(
            next("@hourly", "UTC", "2026-11-24T00:30:00Z"),
            "2026-11-24 01:00 Tue"
        );
        assert_eq!(
            next("@midnight", "Europe/Berlin", "2026-11-24T12:00:00Z"),
            "2026-11-25 00:00 Wed"
        );
        // 02:30 does not exist on the day when summer time begins.
        assert_eq!(
            next("30 2 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z"),
            "2026-03-29 03:00 Sun"
        );
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for line in [
            "",
            "* * * *",
            "0 0 3 * * *",
            "61 * * * *",
            "@never",
            "@reboot",
            "x * * * *",
        ] {
            assert!(Schedule::parse(line, "UTC").is_err(), "{line}");
        }
        assert!(Schedule::parse("@daily", "Europe/Nowhere").is_err());
    }
}
