//! What the pages show of all packages, including which package requires which.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::metadata::package_summary::{Newest, PackageSummary, Summaries};
use crate::metadata::repository_info::RepositoryInfo;
use crate::recipe::Note;
use crate::store::{Divergence, Withdrawal};
use crate::util::digest::Sha256;

/// All packages of a repository, by name.
pub struct View<'a> {
    pub(super) info: &'a RepositoryInfo<'a>,
    pub(super) packages: &'a Summaries,
    /// The packages that require a package in any version.
    pub(super) required_by: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// The notes on published versions.
    pub(super) notes: Vec<&'a Note>,
    /// The published versions that moved tags would change.
    pub(super) diverged: &'a [&'a Divergence],
    /// The versions that are no longer published.
    pub(super) withdrawals: &'a [Withdrawal],
}

impl<'a> View<'a> {
    pub fn new(
        info: &'a RepositoryInfo<'a>,
        packages: &'a Summaries,
        diverged: &'a [&'a Divergence],
        withdrawals: &'a [Withdrawal],
    ) -> Self {
        let mut required_by = BTreeMap::<_, BTreeSet<_>>::new();
        for (name, summary) in packages {
            for required in &summary.requires {
                let dependents = required_by.entry(required.as_str()).or_default();
                dependents.insert(name.as_str());
            }
        }
        let applies = |note: &&Note| {
            let package = packages.get(&note.affects.package);
            let mut versions = package.iter().flat_map(|summary| &summary.versions);
            versions.any(|version| note.applies_to(&note.affects.package, version))
        };
        let notes = info.notes.iter().filter(applies).collect();
        Self { info, packages, required_by, notes, diverged, withdrawals }
    }

    pub(super) fn withdrawals(&self, name: &str) -> impl Iterator<Item = &'a Withdrawal> {
        self.withdrawals.iter().filter(move |withdrawal| withdrawal.name == name)
    }

    pub(super) fn diverged(&self, name: &str) -> impl Iterator<Item = &'a Divergence> {
        self.diverged.iter().copied().filter(move |divergence| divergence.name == name)
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
        let notes: Vec<_> = notes.collect();
        let context = json!([links, self.required_by.get(name), notes, diverged, withdrawals]);
        Sha256::digest(context.to_string().as_bytes())
    }

    /// The most recently released packages, each in its newest version: only projects and metapackages if there are any,
    /// since those are what people install.
    pub(super) fn newest(&self, count: usize) -> Vec<(&'a str, &'a Newest)> {
        let is_product =
            |summary: &PackageSummary| matches!(summary.newest.kind.as_str(), "project" | "metapackage");
        let has_products = self.packages.values().any(is_product);
        let mut all: Vec<_> = self
            .packages
            .iter()
            .filter(|(_, summary)| !has_products || is_product(summary))
            .map(|(name, summary)| (name.as_str(), &summary.newest))
            .collect();
        all.sort_by(|(a, v), (b, w)| w.committed.cmp(&v.committed).then_with(|| a.cmp(b)));
        all.truncate(count);
        all
    }
}
