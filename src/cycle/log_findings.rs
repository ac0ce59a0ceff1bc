//! Logs what a cycle's report says for the first time and what is no failure: tags and versions that are not published, and
//! notices. What the report of the last cycle said already is not repeated.

use std::collections::BTreeMap;

use super::report::{Report, SourceReport};
use crate::package::plan::{ExclusionRule, Outcome, OutcomeRow};

/// Names in one line of the log; the report has all.
const MAX_NAMED: usize = 20;

pub(super) fn log_new(report: &Report, last: &Report) {
    let unknown = SourceReport::default();
    for (source, report) in &report.sources {
        let last = last.sources.get(source).unwrap_or(&unknown);
        let is_unusual = |row: &&OutcomeRow| {
            matches!(row.outcome, Outcome::Excluded { rule: ExclusionRule::NotAVersion, .. })
        };
        let tags = report.passed_over.iter().filter(is_unusual);
        let tags: Vec<_> =
            tags.filter(|row| !last.passed_over.contains(row)).map(|row| row.tag.as_str()).collect();
        if !tags.is_empty() {
            let names = listed(tags.into_iter());
            tracing::info!(source, "tags that are not in the form of a version are not released: {names}");
        }
        log_lost(source, report, last);
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

/// Logs in one line how many packages of which tags are lost to versions of other tags.
fn log_lost(source: &str, report: &SourceReport, last: &SourceReport) {
    let mut tags = BTreeMap::<_, Vec<_>>::new();
    for row in report.lost().filter(|row| !last.excluded.contains(row)) {
        tags.entry(row.tag.as_str()).or_default().push(row.package.as_str());
    }
    if tags.is_empty() {
        return;
    }
    let tags = tags.into_iter().map(|(tag, packages)| match packages.as_slice() {
        [only] => format!("{tag} ({only})"),
        [first, ..] => format!("{tag} ({first} and {} more)", packages.len() - 1),
        [] => tag.to_owned(),
    });
    let tags = listed(tags.collect::<Vec<_>>().iter().map(String::as_str));
    tracing::warn!(
        source,
        "not published, because the version of the package is that of another tag with other contents: {tags}"
    );
}

fn listed<'n>(names: impl ExactSizeIterator<Item = &'n str>) -> String {
    let more = names.len().saturating_sub(MAX_NAMED);
    let named = names.take(MAX_NAMED).collect::<Vec<_>>().join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}
