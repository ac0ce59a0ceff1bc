//! Finds manifests that no rule of the recipe makes a package of.
//!
//! A new folder with a composer.json is usually a new package. Without a rule it is packed into the package around it, or
//! into none if that package excludes the folder. `fixtures` of the recipe lists test data, which is not reported.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::limits::check_report;
use super::plan::{ResolvedRef, join};
use crate::config::Limits;
use crate::git::{BareClone, EntryKind, ObjectId};
use crate::recipe::{PackageRule, RuleKind, Source};

/// How many bytes the folders of one tree may take; real trees have a few hundred folders with a manifest.
const MAX_FOLDERS: usize = 1 << 20;

/// The same for the folders of all trees that are kept.
const MAX_KEPT: usize = 16 << 20;

/// The tags with such a manifest, by its path.
pub type UncoveredManifests = BTreeMap<String, Vec<String>>;

/// Finds the manifests of these refs that no rule covers. A tree that cannot be read has none; building it reports the error.
///
/// # Errors
/// `ensure_can_continue` ends it, or there are more than a report can hold.
pub fn find(
    source: &Source,
    refs: &[ResolvedRef],
    clone: &BareClone,
    limits: &Limits,
    ensure_can_continue: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<UncoveredManifests> {
    let mut finder = Finder { clone, limits, trees: HashMap::new(), kept: 0 };
    let (mut found, mut count) = (UncoveredManifests::new(), 0);
    for git_ref in refs {
        ensure_can_continue()?;
        let rules: Vec<_> = source.packages.iter().filter(|rule| rule.applies_to(&git_ref.tag)).collect();
        for folder in finder.folders(git_ref.tree, 0).iter() {
            let path = join(folder, "composer.json");
            if !source.is_fixture(&path) && is_uncovered(&rules, folder, &path, &git_ref.tag) {
                found.entry(path).or_default().push(git_ref.tag.clone());
                count += 1;
            }
        }
        check_report(limits, count)?;
    }
    Ok(found)
}

/// Such a manifest in words.
pub fn describe(path: &str, tags: &[String]) -> String {
    let tags = match tags {
        [first, .., last] => format!("{first} to {last}, {} tags", tags.len()),
        _ => tags.concat(),
    };
    format!("no rule makes a package of `{path}` ({tags})")
}

struct Finder<'a> {
    clone: &'a BareClone,
    limits: &'a Limits,
    /// The folders with a manifest below each tree: most trees are those of other refs.
    trees: HashMap<ObjectId, Arc<[String]>>,
    /// The bytes that `trees` takes.
    kept: usize,
}

impl Finder<'_> {
    /// The folders below a tree that have a composer.json, relative to it; empty for the tree itself.
    fn folders(&mut self, tree: ObjectId, depth: usize) -> Arc<[String]> {
        if let Some(known) = self.trees.get(&tree) {
            return Arc::clone(known);
        }
        let (mut found, mut bytes) = (Vec::new(), 0);
        let mut is_short = |folder: &String| {
            bytes += size_of::<String>() + folder.len();
            bytes <= MAX_FOLDERS
        };
        let entries = self.clone.tree(tree).ok().filter(|_| depth < self.limits.depth.get());
        for entry in entries.iter().flatten() {
            match entry.kind {
                EntryKind::Tree => {
                    let below = self.folders(entry.id, depth + 1);
                    let inside = below.iter().map(|folder| match folder.is_empty() {
                        true => entry.name.clone(),
                        false => join(&entry.name, folder),
                    });
                    found.extend(inside.take_while(&mut is_short));
                }
                EntryKind::File | EntryKind::Executable if entry.name == "composer.json" => {
                    found.push(String::new());
                }
                EntryKind::File | EntryKind::Executable | EntryKind::Symlink | EntryKind::Submodule => {}
            }
        }
        let found: Arc<[String]> = found.into();
        self.kept += bytes.min(MAX_FOLDERS);
        if self.kept > MAX_KEPT {
            self.trees.clear();
            self.kept = bytes;
        }
        self.trees.insert(tree, Arc::clone(&found));
        found
    }
}

/// Whether a manifest is inside a package, or where other rules find packages, and is none itself.
fn is_uncovered(rules: &[&PackageRule], folder: &str, path: &str, tag: &str) -> bool {
    if folder.is_empty() || rules.iter().any(|rule| is_package(rule, folder)) {
        return false;
    }
    rules.iter().any(|rule| {
        let Some(package) = package_around(rule, folder) else {
            return false;
        };
        let excluded = rule.excluded_prefixes(tag);
        let mut excluded = excluded.iter().filter(|prefix| path.starts_with(prefix.as_str())).peekable();
        let has_packages = |prefix: &String| {
            let folders = rules.iter().filter_map(|rule| rule.folder());
            folders
                .into_iter()
                .any(|other| other != package && (format!("{other}/").starts_with(prefix.as_str())))
        };
        excluded.peek().is_none() || excluded.all(has_packages)
    })
}

/// Whether the rule makes a package of the folder, or leaves out the folder by name.
fn is_package(rule: &PackageRule, folder: &str) -> bool {
    match rule.kind() {
        Some(RuleKind::Each(parent)) => folder.rsplit_once('/').map_or("", |(parent, _)| parent) == parent,
        Some(RuleKind::One(package) | RuleKind::Metapackage(package)) => package == folder,
        Some(RuleKind::Derive(_)) | None => false,
    }
}

/// The folder of the rule's package that a folder is inside of.
fn package_around<'f>(rule: &PackageRule, folder: &'f str) -> Option<&'f str> {
    let below = |parent: &str| match parent.is_empty() {
        true => Some(folder),
        false => folder.strip_prefix(parent)?.strip_prefix('/'),
    };
    match rule.kind()? {
        RuleKind::Each(parent) => {
            let rest = below(parent)?;
            let child = rest.find('/')?;
            Some(&folder[..folder.len() - rest.len() + child])
        }
        RuleKind::One(package) => below(package).map(|_| &folder[..package.len()]),
        RuleKind::Metapackage(_) | RuleKind::Derive(_) => None,
    }
}
