//! What upstream has tagged and the mirror does not publish, and notices about published versions: one line for each source and
//! rule. The report in the snapshot has every tag and package.

use std::collections::BTreeMap;

use crate::cycle::{SourceReport, lost_by_tag};
use crate::package::plan::{ExclusionRule, Outcome, OutcomeRow};
use crate::util::text::{first_of, plural};

/// Names in one line.
const MAX_NAMED: usize = 10;

/// Lines about rules that match nothing, tags that lost their version to another tag, and notices about published versions.
pub(super) fn warnings(source: &str, report: &SourceReport) -> Vec<String> {
    let lost = lost_by_tag(report.lost());
    let lost = (!lost.is_empty()).then(|| {
        let (rule, tags) = (ExclusionRule::FirstTagWins.description(), first_of(&lost, MAX_NAMED));
        format!("{source}: {rule}: {tags}")
    });
    let notices = report.notices.iter();
    let notices = notices.map(|n| format!("{source} {}: {}: {}", n.tag, n.package, n.reason));
    let recipe = report.warnings().map(|line| format!("{source}: {line}"));
    recipe.chain(lost).chain(notices).collect()
}

/// Lines about tags that are not released and packages that are left out, without those that [`warnings`] has.
pub(super) fn excluded(source: &str, report: &SourceReport) -> Vec<String> {
    let tags = by_rule(&report.passed_over, |row| row.tag.clone());
    let packages = by_rule(&report.excluded, |row| format!("{} {}", row.tag, row.package));
    let line = |(rule, names): (ExclusionRule, Vec<String>), noun: &str| {
        let (count, rule) = (plural(names.len(), noun), rule.description());
        format!("{source}: {count}: {rule}: {}", first_of(&names, MAX_NAMED))
    };
    let tags = tags.into_iter().map(|group| line(group, "tag"));
    tags.chain(packages.into_iter().map(|group| line(group, "package"))).collect()
}

fn by_rule(
    rows: &[OutcomeRow],
    name: impl Fn(&OutcomeRow) -> String,
) -> BTreeMap<ExclusionRule, Vec<String>> {
    let mut rules = BTreeMap::<_, Vec<_>>::new();
    for row in rows.iter().filter(|row| !row.is_lost()) {
        if let Outcome::Excluded { rule, .. } = row.outcome {
            rules.entry(rule).or_default().push(name(row));
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::plan::Notice;

    fn row(tag: &str, package: &str, rule: ExclusionRule) -> OutcomeRow {
        let outcome = Outcome::Excluded { rule, reason: "-".to_owned() };
        OutcomeRow { source: "s".to_owned(), tag: tag.to_owned(), package: package.to_owned(), outcome }
    }

    #[test]
    fn lines_are_grouped_by_rule() {
        let tags = (0..12).map(|n| row(&format!("0.{n}"), "", ExclusionRule::BeforeFirst));
        let tags = tags.chain([row("latest", "", ExclusionRule::NotAVersion)]);
        let lost = ["a 1.0.0", "b 1.0.0"].map(|package| row("1.0.1", package, ExclusionRule::FirstTagWins));
        let report = SourceReport {
            refs: [("1.0.1".to_owned(), "0".repeat(40))].into(),
            passed_over: tags.collect(),
            excluded: [&lost[..], &[row("1.0.0", "dev", ExclusionRule::Recipe)]].concat(),
            notices: vec![Notice { tag: "1.0.0".into(), package: "a 1.0.0".into(), reason: "odd".into() }],
            ..SourceReport::default()
        };
        assert_eq!(
            warnings("s", &report),
            [
                "s: another tag has published the version with other contents: 1.0.1 (a 1.0.0 and 1 more)",
                "s 1.0.0: a 1.0.0: odd"
            ]
        );
        assert_eq!(
            excluded("s", &report),
            [
                "s: 12 tags: before the first version that the recipe releases: 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9 and 2 more",
                "s: 1 tag: no version: latest",
                "s: 1 package: left out by the recipe: 1.0.0 dev",
            ]
        );
    }
}
