//! The text of `mirror status`: the state and the times, the counts, then what needs somebody.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;

use crate::cycle::{NamedFailure, group_failures};
use crate::metadata::pages::{instant, size};
use crate::status::NextRun;
use crate::util::text::{first_of, plural, quoted};

/// Lines of one list; the rest is counted.
const MAX_LISTED: usize = 20;

/// Names in one line.
const MAX_NAMED: usize = 5;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// What `mirror.json` and `progress.json` say, as lines for people.
pub(super) struct StatusText<'a> {
    repository: &'a Value,
    progress: &'a Value,
    now: Timestamp,
    text: String,
}

impl<'a> StatusText<'a> {
    pub(super) fn new(mirror: &'a Value, progress: &'a Value, now: Timestamp) -> Self {
        Self { repository: &mirror["repository"], progress, now, text: String::new() }
    }

    pub(super) fn render(mut self) -> String {
        let (name, state) = (self.string("name"), self.string("state"));
        let url = self.string("url");
        let _ = writeln!(self.text, "{name}: {}", quoted(state));
        let _ = writeln!(self.text, "  {}", quoted(url));
        self.add_times();
        self.add_counts();
        self.add_list("Needs attention", &self.alerts());
        self.add_list("Failed", &self.failures());
        self.add_list("Held back", &self.held_back());
        self.add_list("Gaps", &self.gaps());
        self.add_list("Changed upstream, published archives kept", &self.diverged());
        self.add_list("Warnings", &self.warnings());
        self.text
    }

    fn add_times(&mut self) {
        self.add_row("Last check", &self.time("checked"));
        self.add_row("Last complete check", &self.time("succeeded"));
        self.add_row("Last change", &self.time("changed"));
        let (at, regular) = (timestamp(&self.progress["next"]), timestamp(&self.repository["regular_run"]));
        let at = at.or(timestamp(&self.repository["next_run"]));
        let next = NextRun { at, regular }.describe(self.string("state") != "fresh", self.now);
        self.add_row("Next run", next.trim_start_matches("regular run "));
        if let Some(running) = self.running() {
            self.add_row("Running", &running);
        }
        let upload = &self.progress["upload"]["objects"];
        if upload.is_object() {
            self.add_row(
                "Uploading",
                &format!("{} of {} objects", number(upload, "done"), number(upload, "all")),
            );
        }
    }

    /// How far the running cycle is.
    fn running(&self) -> Option<String> {
        let running = &self.progress["running"];
        let began = timestamp(&running["began"]).or(timestamp(&self.repository["running"]))?;
        let mut text = format!("for {}", age(self.now, began));
        if let Some(stage) = running["stage"].as_str() {
            let (sources, packages) = (&running["sources"], &running["packages"]);
            let _ = write!(
                text,
                ": {stage}, {} of {} sources ({}), {} of {} packages",
                number(sources, "done"),
                number(sources, "all"),
                size(number(running, "bytes")),
                number(packages, "done"),
                number(packages, "all")
            );
        }
        Some(text)
    }

    fn add_counts(&mut self) {
        let versions = |count| plural(count, "package version");
        let packages = plural(self.count("packages"), "package");
        self.add_row("Published", &format!("{} of {packages}", versions(self.count("published"))));
        self.add_row("Excluded by rule", &versions(self.count("excluded")));
        let sources = plural(self.count("failed_sources"), "source");
        self.add_row("Failed", &format!("{}, {sources}", versions(self.count("failed"))));
        for (key, title) in [
            ("held_back", "Held back"),
            ("diverged", "Diverged"),
            ("withdrawn", "Withdrawn"),
            ("unlisted", "No longer listed"),
        ] {
            if self.count(key) > 0 {
                self.add_row(title, &versions(self.count(key)));
            }
        }
        if self.count("gaps") > 0 {
            let needed = plural(self.count("gaps"), "requirement");
            self.add_row("Gaps", &format!("{needed} of metapackages that no source provides"));
        }
    }

    /// What concerns the whole repository.
    fn alerts(&self) -> Vec<String> {
        let mut alerts = Vec::new();
        match self.string("state") {
            "stale" => alerts.push("scheduled checks were missed".to_owned()),
            "unknown" => alerts.push("the time of the last successful check is not known".to_owned()),
            "empty" => alerts.push("nothing is published yet".to_owned()),
            _ => {}
        }
        for (key, what) in
            [("error", "the last cycle failed"), ("unserved", "the newest snapshot cannot be served")]
        {
            alerts
                .extend(self.repository[key].as_str().map(|reason| format!("{what}: {}", one_line(reason))));
        }
        let bucket = &self.repository["bucket"];
        if let Some(error) = bucket["error"].as_str() {
            let since = timestamp(&bucket["failing_since"])
                .map_or_else(String::new, |t| format!(" since {}", instant(t)));
            alerts.push(format!("the bucket lacks what is published{since}: {}", one_line(error)));
        }
        if let Some(snapshot) = self.repository["held_at"].as_u64() {
            alerts.push(format!(
                "a rollback to snapshot {snapshot} is active; `mirror rollback --end` ends it"
            ));
        }
        let damaged = self.repository["damaged"].as_object().into_iter().flatten();
        alerts.extend(
            damaged.map(|(path, reason)| format!("{path} {}", one_line(reason.as_str().unwrap_or_default()))),
        );
        alerts
    }

    /// Sources and packages that failed, many with the same reason as one line.
    fn failures(&self) -> Vec<String> {
        let sources = self.sources().filter_map(|(name, source)| {
            Some(NamedFailure { name: name.clone(), reason: one_line(source["error"].as_str()?) })
        });
        let packages = self.list("failures").map(|row| NamedFailure {
            name: row_name(row),
            reason: one_line(row["because"].as_str().unwrap_or_default()),
        });
        let (single, groups) = group_failures(sources.chain(packages).collect());
        let groups = groups
            .into_iter()
            .map(|group| format!("{} failed ({}): {}", group.count, group.names, group.reason));
        let single = single.into_iter().map(|failure| format!("{}: {}", failure.name, failure.reason));
        groups.chain(single).collect()
    }

    fn held_back(&self) -> Vec<String> {
        let rows = self.list("held_back");
        rows.map(|row| {
            format!("{}: {}", row_name(row), one_line(row["because"].as_str().unwrap_or_default()))
        })
        .collect()
    }

    /// One line for each missing version, with what needs it.
    fn gaps(&self) -> Vec<String> {
        let mut needed_by = BTreeMap::<String, Vec<String>>::new();
        for gap in self.list("gaps") {
            let needs = format!("{} {}", field(gap, "needs"), field(gap, "constraint"));
            needed_by.entry(needs).or_default().push(format!(
                "{} {}",
                field(gap, "package"),
                field(gap, "version")
            ));
        }
        let line = |(missing, by): (String, Vec<String>)| {
            format!("{missing}, needed by {}", first_of(&by, MAX_NAMED))
        };
        needed_by.into_iter().map(line).collect()
    }

    fn diverged(&self) -> Vec<String> {
        let rows = self.list("diverged");
        let line = |row: &Value| {
            let [source, tag, package, version] =
                ["source", "tag", "package", "version"].map(|key| field(row, key));
            format!("{source} {tag}: {package} {version}")
        };
        rows.map(line).collect()
    }

    fn warnings(&self) -> Vec<String> {
        let of_source = |(name, source): (&'a String, &'a Value)| {
            let warnings = source["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
            warnings.map(move |warning| format!("{name}: {}", one_line(warning)))
        };
        self.sources().flat_map(of_source).collect()
    }

    fn add_row(&mut self, title: &str, value: &str) {
        let _ = writeln!(self.text, "  {title:<20} {}", quoted(value));
    }

    fn add_list(&mut self, title: &str, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let _ = writeln!(self.text, "\n  {title}");
        for line in lines.iter().take(MAX_LISTED) {
            let _ = writeln!(self.text, "    {}", quoted(line));
        }
        if lines.len() > MAX_LISTED {
            let _ = writeln!(self.text, "    and {} more", lines.len() - MAX_LISTED);
        }
    }

    fn string(&self, key: &str) -> &'a str {
        self.repository[key].as_str().unwrap_or_default()
    }

    fn count(&self, key: &str) -> usize {
        usize::try_from(number(&self.repository["counts"], key)).unwrap_or(usize::MAX)
    }

    /// A time and its age.
    fn time(&self, key: &str) -> String {
        match timestamp(&self.repository[key]) {
            Some(time) => format!("{}, {} ago", instant(time), age(self.now, time)),
            None => "not known".to_owned(),
        }
    }

    fn list(&self, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.repository[key].as_array().into_iter().flatten()
    }

    fn sources(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.repository["sources"].as_object().into_iter().flatten()
    }
}

/// The source, the tag and the package of a row of `failures` or `held_back`.
fn row_name(row: &Value) -> String {
    let [source, tag, package] = ["source", "ref", "package"].map(|key| field(row, key));
    match package {
        // The root of the source, whose name is not known.
        "" => format!("{source} {tag}"),
        _ => format!("{source} {tag}: {package}"),
    }
}

fn field<'v>(row: &'v Value, key: &str) -> &'v str {
    row[key].as_str().unwrap_or_default()
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_default()
}

fn timestamp(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// A message with its hint in one line.
fn one_line(message: &str) -> String {
    message.replace("\nhint: ", "; hint: ")
}

/// How long ago a time was: `12 minutes`.
fn age(now: Timestamp, time: Timestamp) -> String {
    let seconds = now.duration_since(time).as_secs().max(0);
    let (count, unit) = match seconds {
        0..MINUTE => (seconds, "second"),
        MINUTE..HOUR => (seconds / MINUTE, "minute"),
        HOUR..DAY => (seconds / HOUR, "hour"),
        _ => (seconds / DAY, "day"),
    };
    plural(usize::try_from(count).unwrap_or_default(), unit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn ages_are_told_in_the_largest_unit() {
        let now = at("2026-01-10T12:00:00Z");
        for (time, text) in [
            ("2026-01-10T11:59:59Z", "1 second"),
            ("2026-01-10T11:48:30Z", "11 minutes"),
            ("2026-01-10T10:00:00Z", "2 hours"),
            ("2026-01-08T11:00:00Z", "2 days"),
            ("2026-01-10T12:00:05Z", "0 seconds"),
        ] {
            assert_eq!(age(now, at(time)), text, "{time}");
        }
    }

    #[test]
    fn missing_versions_are_grouped_and_failures_of_one_reason_are_one_line() {
        let gap = |version: &str| json!({"package": "acme/shop", "version": version, "needs": "acme/cart", "constraint": "1.0.0"});
        let failed = |i: u8| json!({"source": "shop", "ref": format!("1.{i}"), "package": "acme/shop", "because": format!("no `{i}`")});
        let mirror = json!({"repository": {
            "name": "acme", "state": "incomplete", "url": "http://localhost/", "counts": {"published": 1, "packages": 1, "gaps": 2},
            "gaps": [gap("1.0.0"), gap("1.1.0")],
            "failures": [failed(1), failed(2), failed(3), failed(4)],
            "error": "no room\nhint: buy some",
        }});
        let text = StatusText::new(&mirror, &Value::Null, at("2026-01-10T12:00:00Z")).render();
        for line in [
            "acme: incomplete",
            "  Published            1 package version of 1 package",
            "  Gaps                 2 requirements of metapackages that no source provides",
            "    acme/cart 1.0.0, needed by acme/shop 1.0.0, acme/shop 1.1.0",
            "    the last cycle failed: no room; hint: buy some",
            "    4 failed (shop 1.1: acme/shop, shop 1.2: acme/shop, shop 1.3: acme/shop, shop 1.4: acme/shop): for example shop 1.1: acme/shop: no `1`",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
