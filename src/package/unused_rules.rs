//! Which pinned versions, corrections and replacements of a recipe matched anything: one that did not is stale, or misspelt.

use std::collections::{BTreeMap, HashSet};

use super::plan::ResolvedRef;
use crate::composer::{Manifest, PackageName, Version};
use crate::git::{BareClone, ObjectId};
use crate::recipe::{RuleKind, Source};

/// What was met while a source was planned.
#[derive(Debug, Default)]
pub(super) struct RuleUsage {
    versions: HashSet<(String, String)>,
    /// Names by tag, of tags with pinned versions.
    names: BTreeMap<String, HashSet<String>>,
    /// Manifests by tag, likewise; they are read only if a pinned name is not among those built.
    manifests: BTreeMap<String, HashSet<ObjectId>>,
    /// Folders of rules that any ref has.
    folders: HashSet<String>,
}

impl RuleUsage {
    pub fn version(&mut self, release: &ResolvedRef, name: &PackageName, version: &Version) {
        self.versions.insert((name.to_string(), version.to_string()));
        self.name(release, &name.to_string());
    }

    pub fn folder(&mut self, dir: &str) {
        if !self.folders.contains(dir) {
            self.folders.insert(dir.to_owned());
        }
    }

    pub fn manifest(&mut self, release: &ResolvedRef, blob: ObjectId) {
        if !release.pins.is_empty() {
            self.manifests
                .entry(release.tag.clone())
                .or_default()
                .insert(blob);
        }
    }

    pub fn derived(&mut self, release: &ResolvedRef, manifest: &Manifest) {
        if !release.pins.is_empty() {
            for name in linked(manifest) {
                self.name(release, name);
            }
        }
    }

    fn name(&mut self, release: &ResolvedRef, name: &str) {
        if !release.pins.is_empty() {
            let names = self.names.entry(release.tag.clone()).or_default();
            names.insert(name.to_owned());
        }
    }

    /// What of the source's rules matched nothing.
    pub fn missing(&self, source: &Source, releases: &[ResolvedRef], clone: &BareClone) -> Vec<String> {
        let mut missing = Vec::new();
        for (tag, pins) in &source.versions {
            if releases.iter().all(|release| release.tag != *tag) {
                missing.push(format!(
                    "versions are pinned for tag {tag}, which is not released"
                ));
                continue;
            }
            let known = self.names_at(tag, clone);
            let unknown = pins.keys().filter(|name| !known.contains(*name));
            missing.extend(unknown.map(|name| {
                format!(
                    "a version of {name} is pinned for tag {tag}, where nothing has or requires that package"
                )
            }));
        }
        let folders = source.packages.iter().filter_map(|rule| match rule.kind() {
            Some(RuleKind::Each(dir) | RuleKind::One(dir) | RuleKind::Metapackage(dir)) => Some(dir),
            _ => None,
        });
        if !releases.is_empty() {
            let unknown = folders.filter(|dir| !self.folders.contains(*dir));
            missing.extend(unknown.map(|dir| format!("no ref has the folder `{dir}`")));
        }
        for correction in &source.corrections {
            if !self
                .versions
                .iter()
                .any(|(name, version)| correction.applies(name, version))
            {
                let (package, reason) = (&correction.package, &correction.reason);
                missing.push(format!("a correction of {package} matches no version ({reason})"));
            }
        }
        for replacement in &source.replacements {
            let version = (replacement.package.clone(), replacement.version.clone());
            if !self.versions.contains(&version) {
                missing.push(format!(
                    "files of {} {} are replaced, which is not built",
                    version.0, version.1
                ));
            }
        }
        missing
    }

    fn names_at(&self, tag: &str, clone: &BareClone) -> HashSet<String> {
        let mut names = self.names.get(tag).cloned().unwrap_or_default();
        for blob in self.manifests.get(tag).into_iter().flatten() {
            if let Ok(manifest) = clone
                .blob(*blob)
                .map_err(drop)
                .and_then(|b| Manifest::parse(&b).map_err(drop))
            {
                names.extend(linked(&manifest).map(str::to_owned));
            }
        }
        names
    }
}

/// The packages that a manifest requires or suggests.
fn linked(manifest: &Manifest) -> impl Iterator<Item = &str> {
    ["require", "require-dev", "suggest"]
        .into_iter()
        .filter_map(|kind| manifest.0.get(kind)?.as_object())
        .flat_map(|links| links.keys().map(String::as_str))
}
