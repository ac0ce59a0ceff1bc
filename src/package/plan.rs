//! What each ref of a source would give: a plain list of outcomes, without building anything.
//!
//! Refs are taken in byte order of their names, as `git tag` lists them, and the first ref that yields a name and version
//! wins: upstream sometimes changes a module without changing its version, and the earliest content is the published
//! one. A manifest is parsed once for each distinct blob.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::composer::{Manifest, PackageName, Version};
use crate::recipe::{PackageRule, RuleKind, Source};
use crate::source::{BareClone, EntryKind, ObjectId};

/// A ref of a source that is released, resolved to its commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The tag's short name, or the version that an extra ref stands for.
    pub tag: String,
    pub commit: ObjectId,
    pub tree: ObjectId,
    /// Committer time, seconds since 1970.
    pub time: i64,
}

/// A package version that is to be built.
#[derive(Debug, Clone)]
pub struct Build {
    pub name: PackageName,
    pub version: Version,
    pub release: Release,
    /// The directory of the package, without a slash at the end; empty for the root.
    pub dir: String,
    /// The tree of that directory.
    pub tree: ObjectId,
    /// The blob of its manifest.
    pub manifest: ObjectId,
    /// The manifest alone is the package.
    pub only_manifest: bool,
    /// Prefixes of paths, from the root of the repository, that are left out.
    pub exclude: Vec<String>,
}

/// How one (ref, package) ended or will end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    Published,
    AlreadyPublished,
    Excluded { because: String },
    Failed { because: String },
}

/// One line of a report: the package is named as well as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub source: String,
    #[serde(rename = "ref")]
    pub tag: String,
    /// `vendor/name version`, or the directory where the name is not known.
    pub package: String,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The plan of one source.
#[derive(Debug, Default)]
pub struct Plan {
    pub builds: Vec<Build>,
    pub lines: Vec<Line>,
}

/// Who published a name and version: by this source, by another one (named), or nobody yet.
pub enum Claim {
    Free,
    Own,
    Other(String),
}

/// Plans a source's releases; `claimed` answers for name and version what is published already.
///
/// # Errors
/// None: what cannot be planned is a line of the plan.
pub fn plan(
    source: &Source,
    releases: &[Release],
    clone: &BareClone,
    claimed: &dyn Fn(&PackageName, &Version) -> Claim,
) -> Plan {
    let mut planner = Planner {
        source,
        clone,
        claimed,
        manifests: HashMap::new(),
        taken: HashMap::new(),
        plan: Plan::default(),
    };
    for rule in &source.packages {
        for release in releases {
            if let Err(error) = planner.apply(rule, release) {
                planner.line(
                    release,
                    "",
                    Outcome::Failed {
                        because: format!("{error:#}"),
                    },
                );
            }
        }
    }
    planner.plan
}

/// Name and version of a manifest, before anything is pinned; or why it is unusable.
type Identity = Result<(PackageName, Option<String>), String>;

struct Planner<'a> {
    source: &'a Source,
    clone: &'a BareClone,
    claimed: &'a dyn Fn(&PackageName, &Version) -> Claim,
    manifests: HashMap<ObjectId, Identity>,
    taken: HashMap<(PackageName, Version), ()>,
    plan: Plan,
}

impl Planner<'_> {
    fn apply(&mut self, rule: &PackageRule, release: &Release) -> anyhow::Result<()> {
        match rule.kind() {
            Some(RuleKind::Each(dir)) => {
                let Some(tree) = self.descend(release.tree, dir)? else {
                    return Ok(());
                };
                for entry in self.clone.tree(tree)? {
                    let path = join(dir, &entry.name);
                    // The reference lists folders with a shell pattern, which leaves names with a leading dot out.
                    if entry.kind == EntryKind::Tree
                        && !entry.name.starts_with('.')
                        && !excluded_folder(&path, rule)
                    {
                        self.package(rule, release, path, entry.id, false)?;
                    }
                }
                Ok(())
            }
            Some(RuleKind::One(dir)) => self.single(rule, release, dir, false),
            Some(RuleKind::Metapackage(dir)) => self.single(rule, release, dir, true),
            None => Ok(()),
        }
    }

    fn single(&mut self, rule: &PackageRule, release: &Release, dir: &str, only: bool) -> anyhow::Result<()> {
        match self.descend(release.tree, dir)? {
            Some(tree) => self.package(rule, release, dir.to_owned(), tree, only),
            None => {
                self.line(
                    release,
                    dir,
                    Outcome::Excluded {
                        because: "no such directory at this ref".into(),
                    },
                );
                Ok(())
            }
        }
    }

    fn package(
        &mut self,
        rule: &PackageRule,
        release: &Release,
        dir: String,
        tree: ObjectId,
        only_manifest: bool,
    ) -> anyhow::Result<()> {
        let entries = self.clone.tree(tree)?;
        let is_manifest = |kind| matches!(kind, EntryKind::File | EntryKind::Executable);
        let Some(manifest) = entries
            .iter()
            .find(|e| e.name == "composer.json" && is_manifest(e.kind))
        else {
            self.line(
                release,
                &dir,
                Outcome::Excluded {
                    because: "no composer.json".into(),
                },
            );
            return Ok(());
        };
        let (name, version) = match self.identity(manifest.id)? {
            Ok(identity) => identity,
            Err(because) => {
                self.line(
                    release,
                    &dir,
                    Outcome::Failed {
                        because: format!("{}: {because}", join(&dir, "composer.json")),
                    },
                );
                return Ok(());
            }
        };
        let pinned = self
            .source
            .versions
            .get(&release.tag)
            .and_then(|pins| pins.get(&name.to_string()));
        let fallback = only_manifest.then(|| release.tag.clone());
        let Some(version) = pinned.cloned().or(version).or(fallback) else {
            let because = "its manifest has no version and the recipe pins none for this tag".into();
            self.line(release, &name.to_string(), Outcome::Excluded { because });
            return Ok(());
        };
        let package = format!("{name} {version}");
        let version = match version.parse::<Version>() {
            Ok(version) => version,
            Err(why) => {
                self.line(
                    release,
                    &package,
                    Outcome::Failed {
                        because: why.to_string(),
                    },
                );
                return Ok(());
            }
        };
        let outcome = match (self.claimed)(&name, &version) {
            Claim::Own => Some(Outcome::AlreadyPublished),
            Claim::Other(source) => Some(Outcome::Failed {
                because: format!(
                    "source `{source}` has published this version; name the package in one source only"
                ),
            }),
            Claim::Free if self.taken.insert((name.clone(), version.clone()), ()).is_some() => {
                Some(Outcome::AlreadyPublished)
            }
            Claim::Free => None,
        };
        match outcome {
            Some(outcome) => self.line(release, &package, outcome),
            None => self.plan.builds.push(Build {
                name,
                version,
                release: release.clone(),
                dir,
                tree,
                manifest: manifest.id,
                only_manifest,
                exclude: rule.exclude.clone(),
            }),
        }
        Ok(())
    }

    fn identity(&mut self, blob: ObjectId) -> anyhow::Result<Identity> {
        if let Some(known) = self.manifests.get(&blob) {
            return Ok(known.clone());
        }
        let identity = identify(&self.clone.blob(blob)?);
        self.manifests.insert(blob, identity.clone());
        Ok(identity)
    }

    /// The tree at a path below `tree`; `None` where there is no such folder.
    fn descend(&self, tree: ObjectId, path: &str) -> anyhow::Result<Option<ObjectId>> {
        let found = self.clone.find(tree, path)?;
        Ok(found
            .filter(|entry| entry.kind == EntryKind::Tree)
            .map(|entry| entry.id))
    }

    fn line(&mut self, release: &Release, package: &str, outcome: Outcome) {
        self.plan.lines.push(Line {
            source: self.source.name.clone(),
            tag: release.tag.clone(),
            package: package.to_owned(),
            outcome,
        });
    }
}

fn identify(text: &[u8]) -> Identity {
    let manifest = Manifest::parse(text).map_err(|e| e.to_string())?;
    let name = manifest
        .name()
        .map_err(|e| e.to_string())?
        .ok_or("the manifest has no name")?;
    let name = name.parse::<PackageName>().map_err(|e| e.to_string())?;
    let version = manifest.version().map_err(|e| e.to_string())?;
    Ok((name, version.filter(|v| !v.is_empty()).map(str::to_owned)))
}

/// `dir/name`, or `name` at the root.
pub fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
    }
}

fn excluded_folder(path: &str, rule: &PackageRule) -> bool {
    rule.exclude
        .iter()
        .any(|prefix| path == prefix.trim_end_matches('/') || path.starts_with(prefix.as_str()))
}
