//! Finds versions that metapackages require and the repository lacks: such a product cannot be installed.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::package_summary::{Pin, Summaries};
use crate::composer::Version;

/// A version that a published metapackage requires and the repository lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingDependency {
    pub package: String,
    pub version: String,
    /// The required package.
    pub needs: String,
    pub constraint: String,
}

impl fmt::Display for MissingDependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { package, version, needs, constraint } = self;
        write!(f, "{package} {version} needs {needs} {constraint}, which no source provides")
    }
}

/// The missing dependencies of a repository's metapackages, of the vendors that it publishes. Only requirements of exactly one
/// version count, and only those of packages that clients do not get from elsewhere.
pub fn missing_dependencies(
    packages: &Summaries,
    is_external: impl Fn(&str) -> bool,
) -> Vec<MissingDependency> {
    let vendor = |name: &str| name.split('/').next().map(str::to_owned);
    let vendors: BTreeSet<_> = packages.keys().filter_map(|name| vendor(name)).collect();
    let mut missing = Vec::new();
    for (package, summary) in packages {
        for pin in &summary.pins {
            let is_published_vendor = vendor(&pin.needs).is_some_and(|vendor| vendors.contains(&vendor));
            if is_published_vendor && !is_external(&pin.needs) && !has_version(packages, pin) {
                missing.push(MissingDependency {
                    package: package.clone(),
                    version: pin.version.clone(),
                    needs: pin.needs.clone(),
                    constraint: pin.constraint.clone(),
                });
            }
        }
    }
    missing
}

fn has_version(packages: &Summaries, pin: &Pin) -> bool {
    let Some(needed) = packages.get(&pin.needs) else {
        return false;
    };
    if needed.versions.contains(&pin.constraint) {
        return true;
    }
    let parse = |version: &String| version.parse::<Version>().ok();
    let pinned = parse(&pin.constraint);
    let pinned = pinned.as_ref().map(Version::normalized);
    let mut versions = needed.versions.iter();
    versions.any(|version| parse(version).as_ref().map(Version::normalized) == pinned)
}
