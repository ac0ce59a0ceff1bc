//! What the files shared by all packages need of each one: the main page, the search files and packages.json.
//!
//! A summary is small and cached, so the next publication need not read the archives of unchanged packages.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::version_entry::PackageVersion;
use crate::composer::{Manifest, Stability, Version};

/// The summaries of a repository's packages by name.
pub type Summaries = BTreeMap<String, PackageSummary>;

/// The summary of one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageSummary {
    /// The numbers of its releases in the ledger, ascending.
    pub releases: Vec<u64>,
    /// Its versions, newest first.
    pub versions: Vec<String>,
    /// When these were committed, in the same order.
    pub committed: Vec<Timestamp>,
    pub newest: Newest,
    /// The names that any version requires, in lower case.
    pub requires: BTreeSet<String>,
    /// The packages that its page links to.
    pub links: BTreeSet<String>,
    /// The names that any version provides.
    pub provides: BTreeSet<String>,
    /// The requirements of its metapackage versions that name exactly one version.
    pub pins: Vec<Pin>,
    /// The other requirements of its metapackage versions.
    pub ranges: Vec<Pin>,
}

/// The newest stable version of a package, or the newest version if none is stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newest {
    pub version: String,
    /// Its type.
    pub kind: String,
    pub description: Option<String>,
    pub keywords: Option<Value>,
    pub abandoned: Option<Value>,
    pub committed: Timestamp,
}

/// A requirement of a metapackage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The version of the metapackage.
    pub version: String,
    pub needs: String,
    pub constraint: String,
}

/// The kinds of links that pages show, with their headings.
pub(super) const SHOWN: [(&str, &str); 3] =
    [("require", "Requires"), ("replace", "Replaces"), ("conflict", "Conflicts with")];

impl PackageSummary {
    /// The summary of versions, newest first; `None` without any.
    pub fn new(versions: &[PackageVersion]) -> Option<Self> {
        let newest = versions.iter().find(|version| version.is_stable());
        let newest = newest.or(versions.first())?;
        let mut releases: Vec<_> = versions.iter().map(|version| version.number).collect();
        releases.sort_unstable();
        let all = |kind: &'static str| versions.iter().flat_map(move |version| version.links(kind));
        let replacement = newest.text("abandoned").map(str::to_owned);
        let provided = versions.iter().filter_map(|version| version.manifest.0.get("provide")?.as_object());
        Some(Self {
            releases,
            versions: versions.iter().map(|version| version.version.to_string()).collect(),
            newest: Newest::new(newest),
            requires: all("require").map(|(name, _)| name.to_lowercase()).collect(),
            links: SHOWN
                .into_iter()
                .flat_map(|(kind, _)| all(kind))
                .map(|(name, _)| name.to_owned())
                .chain(replacement)
                .collect(),
            provides: provided.flat_map(|links| links.keys().cloned()).collect(),
            committed: versions.iter().map(|version| version.committed).collect(),
            pins: versions.iter().flat_map(pins).collect(),
            ranges: versions.iter().flat_map(ranges).collect(),
        })
    }

    /// The version that a requirement of exactly one version means.
    pub(super) fn version_of(&self, constraint: &str) -> Option<&str> {
        let find = |is_meant: &dyn Fn(&str) -> bool| self.versions.iter().find(|version| is_meant(version));
        let normalized = |text: &str| Some(text.parse::<Version>().ok()?.normalized().to_owned());
        let found = find(&|version| version == constraint).or_else(|| {
            let pinned = normalized(constraint)?;
            find(&|version| normalized(version).as_ref() == Some(&pinned))
        });
        found.map(String::as_str)
    }

    /// Whether a version of it is stable.
    pub(super) fn is_stable(version: &str) -> bool {
        version.parse::<Version>().is_ok_and(|version| version.stability() == Stability::Stable)
    }
}

impl Newest {
    fn new(version: &PackageVersion) -> Self {
        let value = |key: &str| {
            let value = version.manifest.0.get(key)?;
            Some(value).filter(|value| !matches!(value, Value::Null | Value::Bool(false))).cloned()
        };
        Self {
            version: version.version.to_string(),
            kind: version.kind().to_owned(),
            description: version.text("description").map(str::to_owned),
            keywords: value("keywords"),
            abandoned: value("abandoned"),
            committed: version.committed,
        }
    }
}

/// The requirements of a metapackage that [`pins`] does not have.
fn ranges(version: &PackageVersion) -> impl Iterator<Item = Pin> {
    let pinned: BTreeSet<_> = pins(version).map(|pin| pin.needs).collect();
    let manifest = Some(version).filter(|version| version.manifest.is_metapackage());
    let links = manifest.into_iter().flat_map(|version| version.links("require"));
    links.filter(move |(name, _)| !pinned.contains(*name)).map(|(needs, constraint)| Pin {
        version: version.version.to_string(),
        needs: needs.to_owned(),
        constraint: constraint.to_owned(),
    })
}

fn pins(version: &PackageVersion) -> impl Iterator<Item = Pin> {
    let manifest = Some(&version.manifest).filter(|manifest| manifest.is_metapackage());
    manifest.into_iter().flat_map(Manifest::exact_requirements).map(|(needs, constraint)| Pin {
        version: version.version.to_string(),
        needs: needs.to_owned(),
        constraint: constraint.to_string(),
    })
}
