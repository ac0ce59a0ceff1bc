//! What is not published although upstream has tagged it, and what users of published versions should know: a few lines for
//! each source, grouped by rule. The report of the snapshot has every tag and package.

use std::collections::BTreeMap;

use crate::cycle::SourceReport;
use crate::package::plan::{ExclusionRule, Outcome, OutcomeRow};

/// Names in one line.
const MAX_NAMED: usize = 10;

/// Lines about versions that upstream has tagged in vain, and about published ones.
pub(super) fn warnings(source: &str, report: &SourceReport) -> Vec<String> {
    let mut lost = BTreeMap::<_, Vec<_>>::new();
    for row in report.lost() {
        lost.entry(&row.tag).or_default().push(row.package.as_str());
    }
    let lost = lost.into_iter().map(|(tag, packages)| {
        let packages = listed(&packages);
        format!("{source} {tag}: another tag has published the version with other contents: {packages}")
    });
    let notices = report.notices.iter();
    lost.chain(notices.map(|n| format!("{source} {}: {}: {}", n.tag, n.package, n.reason))).collect()
}

/// Lines about tags that are not released and packages that are left out, without those that [`warnings`] has.
pub(super) fn excluded(source: &str, report: &SourceReport) -> Vec<String> {
    let tags = by_rule(&report.passed_over, |row| row.tag.clone());
    let tags = tags.into_iter().map(|(rule, tags)| ("tag", rule, tags));
    let packages = by_rule(&report.excluded, |row| format!("{} {}", row.tag, row.package));
    let packages = packages.into_iter().map(|(rule, packages)| ("tag entry", rule, packages));
    tags.chain(packages)
        .filter(|(_, rule, _)| *rule != ExclusionRule::FirstTagWins)
        .map(|(what, rule, names)| {
            let (count, rule) = (names.len(), rule.description());
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let what = match (what, count) {
                (what, 1) => format!("1 {what}"),
                ("tag", _) => format!("{count} tags"),
                _ => format!("{count} tag entries"),
            };
            format!("{source}: {what}: {rule}: {}", listed(&names))
        })
        .collect()
}

fn by_rule(
    rows: &[OutcomeRow],
    name: impl Fn(&OutcomeRow) -> String,
) -> BTreeMap<ExclusionRule, Vec<String>> {
    let mut rules = BTreeMap::<_, Vec<_>>::new();
    for row in rows {
        if let Outcome::Excluded { rule, .. } = row.outcome {
            rules.entry(rule).or_default().push(name(row));
        }
    }
    rules
}

fn listed(names: &[&str]) -> String {
    let named = names.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}
