//! What needs attention: failures and everything that is not as upstream has it, each kind in a list of its own.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::input::StatusInput;
use super::unreleased;
use crate::metadata::MissingDependency;
use crate::package::plan::OutcomeRow;
use crate::package::uncovered_manifests;
use crate::util::text::first_of;

/// Entries of a list that are shown at once.
const MAX_UNFOLDED: usize = 5;

/// Further entries, which are folded; the rest is counted.
const MAX_LISTED: usize = 50;

/// Names in one line.
const MAX_NAMED: usize = 8;

/// What somebody should look at.
pub(super) fn problems(input: &StatusInput<'_>) -> Markup {
    let damaged = input.history.damaged.iter();
    let damaged = damaged.map(|(path, reason)| format!("{path} {reason}"));
    let line = |row: &OutcomeRow| Some(format!("{}: {}", row.name(), row.outcome.reason()?));
    let failed = input.report.sources.values().flat_map(|source| &source.failed).filter_map(line);
    let held_back = input.report.sources.values().flat_map(|source| &source.held_back).filter_map(line);
    let uncovered = input.report.sources.iter().flat_map(|(name, source)| {
        let described = move |(path, tags): (&String, &Vec<String>)| {
            format!("{name}: {}", uncovered_manifests::describe(path, tags))
        };
        source.uncovered.iter().map(described)
    });
    let diverged = input.report.diverged().map(ToString::to_string);
    let warnings = input.report.sources.iter().flat_map(|(name, source)| unreleased::warnings(name, source));
    let lists = [
        ("damaged", "Damaged archives", damaged.collect::<Vec<_>>()),
        ("failed", "Failed", failed.collect()),
        ("gaps", "Missing dependencies", missing(&input.report.gaps)),
        ("held-back", "Held back", held_back.collect()),
        ("diverged", "Diverged", diverged.collect()),
        ("uncovered", "Manifests without a rule", uncovered.collect()),
        ("warnings", "Warnings", warnings.collect()),
    ];
    html! {
        @if lists.iter().any(|(_, _, lines)| !lines.is_empty()) {
            section aria-labelledby="problems" {
                h2 #problems { "Needs attention" }
                @for (id, title, lines) in &lists { (list(id, title, lines)) }
            }
        }
    }
}

/// What is left out on purpose.
pub(super) fn not_published(input: &StatusInput<'_>) -> Markup {
    let withdrawn: Vec<_> = input.withdrawals().iter().map(ToString::to_string).collect();
    let sources = input.report.sources.iter();
    let excluded: Vec<_> = sources.flat_map(|(name, source)| unreleased::excluded(name, source)).collect();
    html! {
        @if !withdrawn.is_empty() || !excluded.is_empty() {
            section aria-labelledby="not-published" {
                h2 #not-published { "Not published" }
                (list("withdrawn", "Withdrawn", &withdrawn))
                (list("excluded", "Excluded by rule", &excluded))
            }
        }
    }
}

/// One line for each missing package: its versions, and who requires them.
fn missing(gaps: &[MissingDependency]) -> Vec<String> {
    let mut packages = BTreeMap::<_, (BTreeSet<_>, Vec<_>)>::new();
    for gap in gaps {
        let (versions, dependents) = packages.entry(gap.needs.as_str()).or_default();
        versions.insert(gap.constraint.as_str());
        dependents.push(format!("{} {}", gap.package, gap.version));
    }
    let line = |(package, (versions, dependents)): (&str, (BTreeSet<&str>, Vec<String>))| {
        let versions: Vec<_> = versions.into_iter().collect();
        let (versions, dependents) = (first_of(&versions, MAX_NAMED), first_of(&dependents, MAX_NAMED));
        format!("{package} {versions}: no source provides it; required by {dependents}")
    };
    packages.into_iter().map(line).collect()
}

fn list(id: &str, title: &str, lines: &[String]) -> Markup {
    html! {
        @if !lines.is_empty() {
            h3 id=(id) { (title) " " span.quiet { "(" (lines.len()) ")" } }
            @let (first, others) = lines.split_at(lines.len().min(MAX_UNFOLDED));
            (items(first))
            @if !others.is_empty() {
                details {
                    summary { (others.len()) " more" }
                    (items(&others[..others.len().min(MAX_LISTED)]))
                    @if others.len() > MAX_LISTED { p { "And " (others.len() - MAX_LISTED) " more." } }
                }
            }
        }
    }
}

fn items(lines: &[String]) -> Markup {
    html! { ul.lines { @for line in lines { li { (line) } } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_dependencies_are_grouped_by_missing_package() {
        let gap = |package: &str, version: &str, needs: &str, constraint: &str| MissingDependency {
            package: package.to_owned(),
            version: version.to_owned(),
            needs: needs.to_owned(),
            constraint: constraint.to_owned(),
        };
        let gaps = [
            gap("acme/suite", "1.0.0", "acme/gone", "1.0.0"),
            gap("acme/suite", "1.0.1", "acme/gone", "1.0.0"),
            gap("acme/suite", "1.0.1", "acme/lost", "2.0.0"),
            gap("acme/other", "3.0.0", "acme/gone", "1.1.0"),
        ];
        assert_eq!(
            missing(&gaps),
            [
                "acme/gone 1.0.0, 1.1.0: no source provides it; required by acme/suite 1.0.0, acme/suite 1.0.1, acme/other 3.0.0",
                "acme/lost 2.0.0: no source provides it; required by acme/suite 1.0.1",
            ]
        );
    }
}
