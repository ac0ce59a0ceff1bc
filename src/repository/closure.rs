//! Whether what metapackages pin is there: a product that requires a version that the repository lacks does not install.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::PackageVersion;
use crate::composer::Version;

/// A version that a published metapackage requires and that the repository does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub package: String,
    pub version: String,
    /// The package that it requires.
    pub needs: String,
    pub constraint: String,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            package,
            version,
            needs,
            constraint,
        } = self;
        write!(
            f,
            "{package} {version} needs {needs} {constraint}, which no source provides"
        )
    }
}

/// The gaps of a repository's metapackages, of the vendors that it publishes; `packages` by name. Only links that name
/// one version are looked at.
pub fn gaps(packages: &BTreeMap<String, Vec<PackageVersion>>) -> Vec<Gap> {
    let vendor = |name: &str| name.split('/').next().map(str::to_owned);
    let vendors: BTreeSet<_> = packages.keys().filter_map(|name| vendor(name)).collect();
    let is_there = |name: &str, version: &Version| {
        let versions = packages.get(name).map(Vec::as_slice).unwrap_or_default();
        versions
            .iter()
            .any(|v| v.version.normalized() == version.normalized())
    };
    let mut gaps = Vec::new();
    for (package, versions) in packages {
        for version in versions.iter().filter(|v| is_metapackage(v)) {
            let Some(Value::Object(links)) = version.manifest.0.get("require") else {
                continue;
            };
            for (needs, constraint) in links {
                let Some(Ok(pinned)) = constraint.as_str().map(str::parse::<Version>) else {
                    continue;
                };
                let is_ours = vendor(needs).is_some_and(|vendor| vendors.contains(&vendor));
                if is_ours && needs.contains('/') && !is_there(needs, &pinned) {
                    gaps.push(Gap {
                        package: package.clone(),
                        version: version.version.to_string(),
                        needs: needs.clone(),
                        constraint: pinned.to_string(),
                    });
                }
            }
        }
    }
    gaps
}

fn is_metapackage(version: &PackageVersion) -> bool {
    version.manifest.0.get("type").and_then(Value::as_str) == Some("metapackage")
}
