//! Finds the pinned versions, corrections and replacements of a recipe that match nothing: they are stale or misspelt.

use std::collections::{BTreeMap, HashSet};

use super::plan::ResolvedRef;
use crate::composer::{Manifest, PackageName, Version};
use crate::git::{BareClone, ObjectId};
use crate::recipe::{PackageRule, Source};

/// What planning a source has come across.
#[derive(Debug, Default)]
pub(super) struct RuleUsage {
    versions: HashSet<(String, String)>,
    /// The names of built and linked packages by tag, for tags with pinned versions.
    names: BTreeMap<String, HashSet<String>>,
    /// The manifests by tag, for tags with pinned versions. They are read only if a pinned name is not built.
    manifests: BTreeMap<String, HashSet<ObjectId>>,
    /// The folders of rules that any ref has.
    folders: HashSet<String>,
    /// Those in which any ref has a package, and whether the rule looks for packages in folders of it.
    with_packages: HashSet<(String, bool)>,
}

impl RuleUsage {
    pub(super) fn add_version(&mut self, git_ref: &ResolvedRef, name: &PackageName, version: &Version) {
        self.versions.insert((name.to_string(), version.to_string()));
        self.add_name(git_ref, &name.to_string());
    }

    pub(super) fn add_folder(&mut self, dir: &str) {
        if !self.folders.contains(dir) {
            self.folders.insert(dir.to_owned());
        }
    }

    pub(super) fn add_package(&mut self, rule: &PackageRule) {
        self.with_packages.extend(rule.folder().map(|dir| (dir.to_owned(), rule.each.is_some())));
    }

    pub(super) fn add_manifest(&mut self, git_ref: &ResolvedRef, blob: ObjectId) {
        if !git_ref.pins.is_empty() {
            self.manifests.entry(git_ref.tag.clone()).or_default().insert(blob);
        }
    }

    pub(super) fn add_derived(&mut self, git_ref: &ResolvedRef, manifest: &Manifest) {
        if !git_ref.pins.is_empty() {
            for name in linked(manifest) {
                self.add_name(git_ref, name);
            }
        }
    }

    fn add_name(&mut self, git_ref: &ResolvedRef, name: &str) {
        if !git_ref.pins.is_empty() {
            let names = self.names.entry(git_ref.tag.clone()).or_default();
            names.insert(name.to_owned());
        }
    }

    /// Descriptions of the source's rules that matched nothing; without any ref, that says nothing of the rules.
    pub(super) fn unused(&self, source: &Source, refs: &[ResolvedRef], clone: &BareClone) -> Vec<String> {
        let mut unused = Vec::new();
        if refs.is_empty() {
            return unused;
        }
        for (tag, pins) in &source.versions {
            if refs.iter().all(|git_ref| git_ref.tag != *tag) {
                unused.push(format!("versions are pinned for tag {tag}, which is not released"));
                continue;
            }
            let names = self.names_at(tag, clone);
            let unknown = pins.keys().filter(|name| !names.contains(*name));
            unused.extend(unknown.map(|name| {
                format!(
                    "a version of {name} is pinned for tag {tag}, where nothing has or requires that package"
                )
            }));
        }
        unused.extend(source.packages.iter().filter_map(|rule| self.without_package(rule)));
        for correction in &source.corrections {
            if !self.versions.iter().any(|(name, version)| correction.affects.include(name, version)) {
                let (package, reason) = (&correction.affects.package, &correction.reason);
                unused.push(format!("a correction of {package} matches no version ({reason})"));
            }
        }
        for replacement in &source.replacements {
            let version = (replacement.package.clone(), replacement.version.clone());
            if !self.versions.contains(&version) {
                unused.push(format!("files of {} {} are replaced, which is not built", version.0, version.1));
            }
        }
        unused
    }

    /// Why a rule for a folder gives no package at any ref, if it does not.
    fn without_package(&self, rule: &PackageRule) -> Option<String> {
        let dir = rule.folder()?;
        let what = if rule.each.is_some() { "a folder with a package" } else { "a composer.json" };
        match dir {
            _ if self.with_packages.contains(&(dir.to_owned(), rule.each.is_some())) => None,
            _ if !dir.is_empty() && !self.folders.contains(dir) => {
                Some(format!("no ref has the folder `{dir}`"))
            }
            "" => Some(format!("no ref has {what} in the root of the repository")),
            _ => Some(format!("no ref has {what} in `{dir}`")),
        }
    }

    fn names_at(&self, tag: &str, clone: &BareClone) -> HashSet<String> {
        let mut names = self.names.get(tag).cloned().unwrap_or_default();
        for blob in self.manifests.get(tag).into_iter().flatten() {
            if let Ok(manifest) =
                clone.blob(*blob).map_err(drop).and_then(|b| Manifest::parse(&b).map_err(drop))
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
