//! What the pages show of the packages: each with its versions, newest first, and who requires it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::super::PackageVersion;
use crate::recipe::Note;

/// All packages of a repository, by name.
pub(super) struct View<'a> {
    pub packages: Vec<Package<'a>>,
    /// The packages that require a package in any version.
    pub required_by: BTreeMap<String, BTreeSet<&'a str>>,
    /// About a version that is there.
    pub notes: Vec<&'a Note>,
}

/// One package.
pub(super) struct Package<'a> {
    pub name: &'a str,
    /// Newest first; at least one.
    pub versions: Vec<&'a PackageVersion>,
}

impl<'a> View<'a> {
    pub fn of(packages: &'a BTreeMap<String, Vec<PackageVersion>>, notes: &'a [Note]) -> Self {
        let mut required_by = BTreeMap::<_, BTreeSet<_>>::new();
        let mut all = Vec::new();
        for (name, versions) in packages.iter().filter(|(_, versions)| !versions.is_empty()) {
            for (needs, _) in versions.iter().flat_map(|v| links(v, "require")) {
                required_by
                    .entry(needs.to_lowercase())
                    .or_default()
                    .insert(name.as_str());
            }
            let mut versions: Vec<_> = versions.iter().collect();
            versions.sort_by(|a, b| b.version.precedence(&a.version));
            all.push(Package { name, versions });
        }
        let applies = |note: &&Note| {
            let is_about =
                |version: &PackageVersion| note.is_about(&note.package, &version.version.to_string());
            packages
                .get(&note.package)
                .is_some_and(|versions| versions.iter().any(is_about))
        };
        Self {
            packages: all,
            required_by,
            notes: notes.iter().filter(applies).collect(),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.packages.binary_search_by(|p| p.name.cmp(name)).is_ok()
    }

    pub fn versions(&self) -> usize {
        self.packages.iter().map(|p| p.versions.len()).sum()
    }

    /// The packages that were released last, each in its newest version: of what people install, projects and
    /// metapackages, where there are any.
    pub fn newest(&self, count: usize) -> Vec<(&Package<'a>, &'a PackageVersion)> {
        let product = |p: &&Package<'a>| matches!(p.newest().kind(), "project" | "metapackage");
        let any = self.packages.iter().any(|p| product(&p));
        let mut all: Vec<_> = self
            .packages
            .iter()
            .filter(|p| !any || product(p))
            .map(|package| (package, package.newest()))
            .collect();
        all.sort_by(|(a, v), (b, w)| {
            let times = (w.committed).cmp(&v.committed);
            times
                .then_with(|| a.name.cmp(b.name))
                .then_with(|| w.version.precedence(&v.version))
        });
        all.truncate(count);
        all
    }
}

impl<'a> Package<'a> {
    /// The newest stable version, or the newest of all where none is stable.
    pub fn newest(&self) -> &'a PackageVersion {
        let mut versions = self.versions.iter();
        versions.find(|v| v.is_stable()).unwrap_or(&self.versions[0])
    }
}

/// The links of one kind: target and constraint.
pub(super) fn links<'v>(
    version: &'v PackageVersion,
    kind: &str,
) -> impl Iterator<Item = (&'v str, &'v str)> + use<'v> {
    let links = version.manifest.0.get(kind).and_then(Value::as_object);
    links
        .into_iter()
        .flatten()
        .filter_map(|(name, constraint)| Some((name.as_str(), constraint.as_str()?)))
}

/// `2024-05-06 07:08 UTC`.
pub fn instant(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M UTC")
        .to_string()
}

/// `2024-05-06`, in UTC.
pub(super) fn day(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string()
}

/// Bytes as a person reads them.
#[allow(clippy::cast_precision_loss)]
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
