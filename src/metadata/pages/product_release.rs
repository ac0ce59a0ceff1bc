//! The releases of products: what is in each, and what changed since the one before.
//!
//! Everything comes from the summaries of the metapackages, so no archive is read for it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::context::View;
use crate::composer::{Stability, Version};
use crate::metadata::package_summary::PackageSummary;
use crate::recipe::Product;

/// A published version of a product.
#[derive(Clone, Copy)]
pub(super) struct ProductRelease<'a> {
    pub(super) product: &'a Product,
    pub(super) version: &'a str,
    pub(super) committed: Timestamp,
}

/// What a release consists of.
#[derive(Default)]
pub(super) struct Contents<'a> {
    /// The packages of this repository.
    pub(super) packages: BTreeMap<&'a str, Included<'a>>,
    /// What no source provides, with the constraint.
    pub(super) missing: BTreeMap<&'a str, &'a str>,
    /// What it requires from elsewhere or leaves open, with the constraint.
    pub(super) requirements: BTreeMap<&'a str, &'a str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Included<'a> {
    pub(super) version: &'a str,
    /// The metapackage that requires it, if that is not the product itself.
    pub(super) through: Option<&'a str>,
}

/// What differs between two releases: before and now.
pub(super) type Changes<'a> = Vec<(&'a str, Option<&'a str>, Option<&'a str>)>;

impl ProductRelease<'_> {
    /// The path of its page below the base URL.
    pub(super) fn path(&self) -> String {
        format!("release/{}/{}.html", self.product.package, self.version)
    }

    pub(super) fn title(&self) -> String {
        format!("{} {}", self.product.name, self.version)
    }

    pub(super) fn is_stable(&self) -> bool {
        PackageSummary::is_stable(self.version)
    }
}

impl<'a> View<'a> {
    /// The products that have a release.
    pub(super) fn products(&self) -> impl Iterator<Item = &'a Product> {
        self.info.recipe.products.iter().filter(|product| self.has(&product.package))
    }

    /// The releases of a product, the highest version first.
    pub(super) fn releases_of(&self, product: &'a Product) -> Vec<ProductRelease<'a>> {
        let Some(summary) = self.packages.get(&product.package) else { return Vec::new() };
        let all = summary.versions.iter().zip(&summary.committed);
        let releases = all.filter(|(version, _)| {
            version.parse::<Version>().is_ok_and(|version| version.stability() != Stability::Dev)
        });
        releases
            .map(|(version, committed)| ProductRelease { product, version, committed: *committed })
            .collect()
    }

    /// Whether a package has a version.
    pub(super) fn has_version(&self, package: &str, version: &str) -> bool {
        self.packages
            .get(package)
            .is_some_and(|summary| summary.versions.iter().any(|known| known == version))
    }

    /// What a release consists of, through all metapackages that it requires.
    pub(super) fn contents(&self, release: &ProductRelease<'a>) -> Contents<'a> {
        let mut contents = Contents::default();
        let product = release.product.package.as_str();
        let mut metapackages = vec![(product, release.version)];
        while let Some((package, version)) = metapackages.pop() {
            let Some(requirements) = self.requirements(package, version) else { continue };
            for pin in &requirements.pins {
                let (name, constraint) = (pin.needs.as_str(), pin.constraint.as_str());
                let summary = self.packages.get(name);
                if let Some(version) = summary.and_then(|summary| summary.version_of(constraint)) {
                    let through = (package != product).then_some(package);
                    let is_new = contents.packages.insert(name, Included { version, through }).is_none();
                    if is_new {
                        metapackages.push((name, version));
                    }
                } else if self.is_gap(package, version, name) {
                    contents.missing.insert(name, constraint);
                } else {
                    contents.requirements.entry(name).or_insert(constraint);
                }
            }
            for range in &requirements.ranges {
                contents.requirements.entry(&range.needs).or_insert(&range.constraint);
            }
        }
        contents
    }

    fn is_gap(&self, package: &str, version: &str, needs: &str) -> bool {
        let mut gaps = self.findings.gaps.iter();
        gaps.any(|gap| gap.package == package && gap.version == version && gap.needs == needs)
    }
}

/// The release before the one at `at` in a list with the highest version first: for a stable one, the stable one before.
pub(super) fn previous<'r, 'a>(
    releases: &'r [ProductRelease<'a>],
    at: usize,
) -> Option<&'r ProductRelease<'a>> {
    let is_stable = releases[at].is_stable();
    let before = &releases[at + 1..];
    before.iter().find(|release| release.is_stable() || !is_stable).or(before.first())
}

/// The packages that were added, removed or have another version, by name.
pub(super) fn package_changes<'a>(before: &Contents<'a>, now: &Contents<'a>) -> Changes<'a> {
    let versions = |contents: &Contents<'a>| {
        contents.packages.iter().map(|(name, included)| (*name, included.version)).collect()
    };
    changes(&versions(before), &versions(now))
}

/// The entries of two maps that differ.
pub(super) fn changes<'a>(
    before: &BTreeMap<&'a str, &'a str>,
    now: &BTreeMap<&'a str, &'a str>,
) -> Changes<'a> {
    let mut all: BTreeMap<_, _> = before.iter().map(|(name, value)| (*name, (Some(*value), None))).collect();
    for (name, value) in now {
        all.entry(*name).or_insert((None, None)).1 = Some(*value);
    }
    let all = all.into_iter().filter(|(_, (before, now))| before != now);
    all.map(|(name, (before, now))| (name, before, now)).collect()
}
