//! Logs what a cycle's report says for the first time and what is no failure: tags and versions that are not published, and
//! notices. What the report of the last cycle said already is not repeated.

use super::report::{Report, SourceReport, lost_by_tag};
use crate::package::plan::{ExclusionRule, Outcome, OutcomeRow};
use crate::util::text::first_of;

/// Names in one line of the log; the report has all.
const MAX_NAMED: usize = 20;

pub(super) fn log_new(report: &Report, last: &Report) {
    let unknown = SourceReport::default();
    for (source, report) in &report.sources {
        let known = last.sources.get(source);
        let last = known.unwrap_or(&unknown);
        let is_unusual = |row: &&OutcomeRow| {
            matches!(row.outcome, Outcome::Excluded { rule: ExclusionRule::NotAVersion, .. })
        };
        let tags = report.passed_over.iter().filter(is_unusual);
        let tags: Vec<_> =
            tags.filter(|row| !last.passed_over.contains(row)).map(|row| row.tag.as_str()).collect();
        if !tags.is_empty() {
            let names = first_of(&tags, MAX_NAMED);
            tracing::info!(source, "tags that are not in the form of a version are not released: {names}");
        }
        let was_nothing_released = known.and_then(SourceReport::nothing_released);
        if let Some(reason) = report.nothing_released().filter(|reason| was_nothing_released != Some(reason))
        {
            tracing::warn!(source, "{reason}");
        }
        log_lost(source, report, last);
        let new = report.uncovered.keys().filter(|path| !last.uncovered.contains_key(*path));
        let new: Vec<_> = new.map(String::as_str).collect();
        if !new.is_empty() {
            let paths = first_of(&new, MAX_NAMED);
            tracing::warn!(
                source,
                "no rule of the recipe makes a package of {paths}\n\
                 hint: add a rule for a new package, or `fixtures` for test data"
            );
        }
        for (count, notice) in report.notices.iter().filter(|n| !last.notices.contains(n)).enumerate() {
            if count == MAX_NAMED {
                tracing::warn!(source, "there are more such notices; the status page has all");
                break;
            }
            let (tag, package, reason) = (&notice.tag, &notice.package, &notice.reason);
            tracing::warn!(source, tag, package, "{reason}");
        }
    }
}

/// Logs in one line the packages that are lost to versions of other tags.
fn log_lost(source: &str, report: &SourceReport, last: &SourceReport) {
    let lost = lost_by_tag(report.lost().filter(|row| !last.excluded.contains(row)));
    if !lost.is_empty() {
        let tags = first_of(&lost, MAX_NAMED);
        tracing::warn!(
            source,
            "not published, because the version of the package is that of another tag with other contents: {tags}"
        );
    }
}
