//! Finds versions that metapackages require and the repository lacks: such a product cannot be installed.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::package_summary::{Pin, Summaries};

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
    packages.get(&pin.needs).is_some_and(|needed| needed.version_of(&pin.constraint).is_some())
}
