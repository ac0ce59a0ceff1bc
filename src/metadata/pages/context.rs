//! What the pages show of all packages, including which package requires which.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::json;

use crate::metadata::missing_dependencies::MissingDependency;
use crate::metadata::package_summary::{PackageSummary, Pin, Summaries};
use crate::metadata::repository_info::RepositoryInfo;
use crate::package::plan::OutcomeRow;
use crate::recipe::Note;
use crate::store::{Divergence, Withdrawal};
use crate::util::digest::Sha256;

/// What the last cycle found beside the packages.
#[derive(Clone, Copy, Default)]
pub struct Findings<'a> {
    /// The published versions that moved tags would change.
    pub diverged: &'a [&'a Divergence],
    /// The versions that are no longer published.
    pub withdrawals: &'a [Withdrawal],
    /// The versions that metapackages require and no source provides.
    pub gaps: &'a [MissingDependency],
    /// What waits for something that does not exist yet.
    pub held_back: &'a [&'a OutcomeRow],
}

/// All packages of a repository, by name.
pub struct View<'a> {
    pub(super) info: &'a RepositoryInfo<'a>,
    pub(super) packages: &'a Summaries,
    /// The packages that require a package in any version.
    pub(super) required_by: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// The notes on published versions.
    pub(super) notes: Vec<&'a Note>,
    pub(super) findings: Findings<'a>,
    /// The requirements of each version of a metapackage.
    requirements: HashMap<(&'a str, &'a str), Requirements<'a>>,
}

/// The requirements of one version of a metapackage.
#[derive(Default)]
pub(super) struct Requirements<'a> {
    /// Those of exactly one version.
    pub(super) pins: Vec<&'a Pin>,
    pub(super) ranges: Vec<&'a Pin>,
}

impl<'a> View<'a> {
    pub fn new(info: &'a RepositoryInfo<'a>, packages: &'a Summaries, findings: Findings<'a>) -> Self {
        let mut required_by = BTreeMap::<_, BTreeSet<_>>::new();
        let mut requirements = HashMap::<_, Requirements<'_>>::new();
        for (name, summary) in packages {
            for required in &summary.requires {
                let dependents = required_by.entry(required.as_str()).or_default();
                dependents.insert(name.as_str());
            }
            for pin in &summary.pins {
                requirements.entry((name.as_str(), pin.version.as_str())).or_default().pins.push(pin);
            }
            for range in &summary.ranges {
                requirements.entry((name.as_str(), range.version.as_str())).or_default().ranges.push(range);
            }
        }
        let applies = |note: &&Note| {
            let package = packages.get(&note.affects.package);
            let mut versions = package.iter().flat_map(|summary| &summary.versions);
            versions.any(|version| note.applies_to(&note.affects.package, version))
        };
        let notes = info.recipe.notes.iter().filter(applies).collect();
        Self { info, packages, required_by, notes, findings, requirements }
    }

    pub(super) fn withdrawals(&self, name: &str) -> impl Iterator<Item = &'a Withdrawal> {
        self.findings.withdrawals.iter().filter(move |withdrawal| withdrawal.name == name)
    }

    pub(super) fn diverged(&self, name: &str) -> impl Iterator<Item = &'a Divergence> {
        self.findings.diverged.iter().copied().filter(move |divergence| divergence.name == name)
    }

    /// The versions of a package that are held back.
    pub(super) fn held_back(&self, name: &str) -> impl Iterator<Item = (&'a str, &'a OutcomeRow)> {
        self.findings.held_back.iter().filter_map(move |row| {
            let (package, version) = row.package.split_once(' ')?;
            (package == name).then_some((version, *row))
        })
    }

    pub(super) fn requirements(&self, package: &'a str, version: &'a str) -> Option<&Requirements<'a>> {
        self.requirements.get(&(package, version))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.packages.contains_key(name)
    }

    pub(super) fn versions(&self) -> usize {
        self.packages.values().map(|summary| summary.versions.len()).sum()
    }

    /// The digest of what the page of a package shows apart from its own versions.
    pub fn page_context(&self, name: &str) -> Sha256 {
        let links = self.packages.get(name).map(|summary| &summary.links);
        let links: Vec<_> = links.into_iter().flatten().filter(|link| self.has(link)).collect();
        let notes = self.notes.iter().filter(|note| note.affects.package == name);
        let diverged: Vec<_> = self.diverged(name).map(ToString::to_string).collect();
        let withdrawals: Vec<_> = self.withdrawals(name).collect();
        let held_back: Vec<_> = self.held_back(name).collect();
        let notes: Vec<_> = notes.collect();
        let context = json!([links, self.required_by.get(name), notes, diverged, withdrawals, held_back]);
        Sha256::digest(context.to_string().as_bytes())
    }

    /// The most recently released packages, each in its newest version: only projects and metapackages if there are any,
    /// since those are what people install, and only stable versions if there are any.
    pub(super) fn newest(&self, count: usize) -> Vec<(&'a str, &'a PackageSummary)> {
        let of = |condition: fn(&PackageSummary) -> bool, from: &[(&'a str, &'a PackageSummary)]| {
            let some: Vec<_> = from.iter().filter(|(_, summary)| condition(summary)).copied().collect();
            if some.is_empty() { from.to_vec() } else { some }
        };
        let all: Vec<_> = self.packages.iter().map(|(name, summary)| (name.as_str(), summary)).collect();
        let installed = of(|summary| matches!(&*summary.newest.kind, "project" | "metapackage"), &all);
        let mut newest = of(|summary| PackageSummary::is_stable(&summary.newest.version), &installed);
        newest.sort_by(|(a, v), (b, w)| w.newest.committed.cmp(&v.newest.committed).then_with(|| a.cmp(b)));
        newest.truncate(count);
        newest
    }
}
