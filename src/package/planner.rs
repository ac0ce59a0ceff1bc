//! From rules and refs to a plan: which package each folder of each tree is, and whether it is built.
//!
//! A manifest is parsed once for each distinct blob.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use anyhow::Context as _;

use super::plan::{
    Build, Folder, ManifestSource, Outcome, OutcomeRow, Plan, PlanContext, ResolvedRef, VersionOwner, join,
};
use super::unused_rules::RuleUsage;
use super::{derived_manifest, manifest};
use crate::composer::{Manifest, PackageName, Version};
use crate::git::{BareClone, EntryKind, ObjectId};
use crate::recipe::{Derive, PackageRule, Replacement, ResourceFile, RuleKind, Source};

/// Plans a source's releases. What cannot be planned is a line of the plan.
pub fn plan(source: &Source, releases: &[ResolvedRef], clone: &BareClone, around: &PlanContext<'_>) -> Plan {
    let mut planner = Planner {
        source,
        clone,
        around,
        manifests: HashMap::new(),
        taken: HashSet::new(),
        folders: HashMap::new(),
        used: RuleUsage::default(),
        plan: Plan::default(),
    };
    for rule in &source.packages {
        for release in releases.iter().filter(|release| rule.applies_to(&release.tag)) {
            if let Err(error) = planner.apply(rule, release) {
                planner.line(
                    release,
                    "",
                    Outcome::Failed {
                        reason: format!("{error:#}"),
                    },
                );
            }
        }
    }
    planner.plan.unused = planner.used.missing(source, releases, clone);
    planner.plan
}

/// Name and version of a manifest, before anything is pinned; or why it is unusable.
type Identity = Result<(PackageName, Option<String>), String>;

struct Planner<'a> {
    source: &'a Source,
    clone: &'a BareClone,
    around: &'a PlanContext<'a>,
    manifests: HashMap<ObjectId, Identity>,
    taken: HashSet<(PackageName, Version)>,
    /// The folder that each version of a package has in a ref.
    folders: HashMap<(String, PackageName, String), Folder>,
    used: RuleUsage,
    plan: Plan,
}

impl Planner<'_> {
    fn apply(&mut self, rule: &PackageRule, release: &ResolvedRef) -> anyhow::Result<()> {
        match rule.kind() {
            Some(RuleKind::Each(dir)) => {
                let Some(tree) = self.descend(release.tree, dir)? else {
                    return Ok(());
                };
                self.used.folder(dir);
                for entry in self.clone.tree(tree)? {
                    let path = join(dir, &entry.name);
                    // The reference lists folders with a shell pattern, which leaves names with a leading dot out.
                    if entry.kind == EntryKind::Tree
                        && !entry.name.starts_with('.')
                        && !excluded_folder(&path, rule)
                    {
                        self.folder(rule, release, Folder { path, tree: entry.id }, false)?;
                    }
                }
                Ok(())
            }
            Some(RuleKind::One(dir)) => self.single(rule, release, dir, false),
            Some(RuleKind::Metapackage(dir)) => self.single(rule, release, dir, true),
            Some(RuleKind::Derive(derive)) => self.derived(derive, release),
            None => Ok(()),
        }
    }

    fn single(
        &mut self,
        rule: &PackageRule,
        release: &ResolvedRef,
        dir: &str,
        only: bool,
    ) -> anyhow::Result<()> {
        match self.descend(release.tree, dir)? {
            Some(tree) => {
                self.used.folder(dir);
                let path = dir.to_owned();
                self.folder(rule, release, Folder { path, tree }, only)
            }
            None => {
                self.line(
                    release,
                    dir,
                    Outcome::Excluded {
                        reason: "no such directory at this ref".into(),
                    },
                );
                Ok(())
            }
        }
    }

    /// Plans the package of one folder.
    fn folder(
        &mut self,
        rule: &PackageRule,
        release: &ResolvedRef,
        folder: Folder,
        only_manifest: bool,
    ) -> anyhow::Result<()> {
        let at = join(&folder.path, "composer.json");
        let manifest = if rule.manifest.is_empty() {
            let is_file = |kind| matches!(kind, EntryKind::File | EntryKind::Executable);
            let entries = self.clone.tree(folder.tree)?;
            let Some(entry) = entries
                .iter()
                .find(|e| e.name == "composer.json" && is_file(e.kind))
            else {
                self.line(
                    release,
                    &folder.path,
                    Outcome::Excluded {
                        reason: "no composer.json".into(),
                    },
                );
                return Ok(());
            };
            ManifestSource::Blob(entry.id)
        } else {
            let (_, text) = self.first_of(&rule.manifest, &release.tag)?;
            ManifestSource::Resource(text.into())
        };
        let identity = match &manifest {
            ManifestSource::Resource(text) => identify(text),
            ManifestSource::Blob(blob) => self.identity(*blob)?,
            ManifestSource::Derived(manifest) => identify_manifest(manifest),
        };
        let (name, version) = match identity {
            Ok(identity) => identity,
            Err(reason) => {
                self.line(
                    release,
                    &folder.path,
                    Outcome::Failed {
                        reason: format!("{at}: {reason}"),
                    },
                );
                return Ok(());
            }
        };
        let name: PackageName = self.source.rename_package(&name.to_string()).parse()?;
        if let ManifestSource::Blob(blob) = manifest {
            self.used.manifest(release, blob);
        }
        let pinned = release.pins.get(&name.to_string());
        let is_tag = only_manifest || rule.tag_is_version;
        let fallback = release
            .nightly
            .clone()
            .or_else(|| is_tag.then(|| release.tag.clone()));
        let Some(version) = pinned.cloned().or(version).or(fallback) else {
            let reason = "its manifest has no version and the recipe pins none for this tag; \
                           `tag_is_version: true` in the rule takes the tag for it"
                .into();
            self.line(release, &name.to_string(), Outcome::Excluded { reason });
            return Ok(());
        };
        let place = (release.tag.clone(), name.clone(), version.clone());
        let first = self.folders.entry(place).or_insert_with(|| folder.clone());
        let is_archive = |version: Version| {
            matches!(
                (self.around.claimed)(&name, &version),
                VersionOwner::PrebuiltArchives(_)
            )
        };
        if first.tree != folder.tree && !version.parse().is_ok_and(is_archive) {
            let reason = format!(
                "`{}` is the same version of the package with other contents; exclude the folder `{}` or that one",
                join(&first.path, "composer.json"),
                folder.path
            );
            self.line(release, &format!("{name} {version}"), Outcome::Failed { reason });
            return Ok(());
        }
        let Some(version) = self.unclaimed(release, &name, &version) else {
            return Ok(());
        };
        self.plan.builds.push(Build {
            files: self.replacements(release, &name, &version)?,
            name,
            version,
            release: release.clone(),
            folder: (!only_manifest).then_some(folder),
            manifest,
            exclude: rule.excluded_prefixes(&release.tag),
            empty_dirs: rule.empty_dirs.clone(),
            bound: false,
        });
        Ok(())
    }

    /// Plans a package that is made from the root manifest.
    fn derived(&mut self, rule: &Derive, release: &ResolvedRef) -> anyhow::Result<()> {
        let name: PackageName = rule.package.parse()?;
        let version = match &release.nightly {
            Some(nightly) => release.pins.get(&rule.package).unwrap_or(nightly),
            None => &release.tag,
        };
        let Some(version) = self.unclaimed(release, &name, version) else {
            return Ok(());
        };
        let root = self
            .clone
            .find(release.tree, "composer.json")?
            .context("no composer.json at the root")?;
        let root =
            Manifest::parse(&self.around.limits.manifest(self.clone, root.id)?).context("composer.json")?;
        let (file, part) = self.first_of(&rule.part, &release.tag)?;
        let part = Manifest::parse(&part).with_context(|| file.path_for(&release.tag))?;
        let whole = file
            .whole_with
            .as_ref()
            .is_some_and(|key| part.0.contains_key(key));
        let mut manifest = if whole {
            part
        } else {
            let mut manifest =
                derived_manifest::derive(rule, root, part, version.as_str(), self.around.base_url);
            self.used.derived(release, &manifest);
            manifest::pin(&mut manifest.0, &release.pins);
            manifest
        };
        derived_manifest::adapt(rule, &mut manifest, version.as_str());
        manifest::correct(
            &mut manifest.0,
            &rule.package,
            version.as_str(),
            &self.source.corrections,
        );
        if manifest.version()? != Some(version.as_str()) {
            let reason = format!(
                "the manifest says version {:?} at tag {version}",
                manifest.version()?
            );
            self.line(release, &rule.package, Outcome::Failed { reason });
            return Ok(());
        }
        let mut files = BTreeMap::new();
        for file in rule.files.iter().filter(|file| file.tags.contains(&release.tag)) {
            let (_, contents) = self.first_of(std::slice::from_ref(&file.from), &release.tag)?;
            files.insert(file.path.clone(), contents.into());
        }
        self.plan.builds.push(Build {
            bound: !whole && derived_manifest::is_bound(rule),
            name,
            version,
            release: release.clone(),
            folder: None,
            manifest: ManifestSource::Derived(Arc::new(manifest)),
            exclude: Vec::new(),
            empty_dirs: Vec::new(),
            files,
        });
        Ok(())
    }

    /// Parses the version, and answers it if nobody has published the package with it; else that is a line of the plan.
    fn unclaimed(&mut self, release: &ResolvedRef, name: &PackageName, version: &str) -> Option<Version> {
        let package = format!("{name} {version}");
        let version = match version.parse::<Version>() {
            Ok(version) => version,
            Err(why) => {
                self.line(
                    release,
                    &package,
                    Outcome::Failed {
                        reason: why.to_string(),
                    },
                );
                return None;
            }
        };
        self.used.version(release, name, &version);
        let outcome = match (self.around.claimed)(name, &version) {
            // The head of a branch may have moved since.
            VersionOwner::ThisSource
                if release.nightly.is_some() && self.taken.insert((name.clone(), version.clone())) =>
            {
                return Some(version);
            }
            VersionOwner::ThisSource => Outcome::AlreadyPublished,
            VersionOwner::PrebuiltArchives(folder) => Outcome::Excluded {
                reason: format!("published as a finished archive from `{folder}`"),
            },
            VersionOwner::OtherSource(source) => Outcome::Failed {
                reason: format!(
                    "source `{source}` has published this version; name the package in one source only, and keep the name of a source"
                ),
            },
            VersionOwner::Nobody if self.taken.insert((name.clone(), version.clone())) => {
                return Some(version);
            }
            VersionOwner::Nobody => Outcome::AlreadyPublished,
        };
        self.line(release, &package, outcome);
        None
    }

    fn replacements(
        &self,
        release: &ResolvedRef,
        name: &PackageName,
        version: &Version,
    ) -> anyhow::Result<BTreeMap<String, Arc<[u8]>>> {
        let mut files = BTreeMap::new();
        let of_this = |r: &&Replacement| r.package == name.to_string() && r.version == version.to_string();
        for replacement in self.source.replacements.iter().filter(of_this) {
            for (path, file) in &replacement.files {
                let (_, contents) = self.first_of(std::slice::from_ref(file), &release.tag)?;
                files.insert(path.clone(), contents.into());
            }
        }
        Ok(files)
    }

    /// The first of these files that exists in its resource.
    fn first_of<'f>(
        &self,
        files: &'f [ResourceFile],
        tag: &str,
    ) -> anyhow::Result<(&'f ResourceFile, Vec<u8>)> {
        for file in files {
            if let Some(contents) = (self.around.resource)(&file.resource, &file.path_for(tag))? {
                return Ok((file, contents));
            }
        }
        let tried: Vec<_> = files
            .iter()
            .map(|f| format!("`{}` in resource `{}`", f.path_for(tag), f.resource))
            .collect();
        anyhow::bail!(
            "there is no {}\nhint: the resource may get it soon; the next cycle looks again",
            tried.join(" and no ")
        )
    }

    fn identity(&mut self, blob: ObjectId) -> anyhow::Result<Identity> {
        if let Some(known) = self.manifests.get(&blob) {
            return Ok(known.clone());
        }
        let identity = match self.around.limits.manifest(self.clone, blob) {
            Ok(text) => identify(&text),
            Err(why) => Err(format!("{why:#}")),
        };
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

    fn line(&mut self, release: &ResolvedRef, package: &str, outcome: Outcome) {
        self.plan.lines.push(OutcomeRow {
            source: self.source.name.clone(),
            tag: release.tag.clone(),
            package: package.to_owned(),
            outcome,
        });
    }
}

fn identify(text: &[u8]) -> Identity {
    identify_manifest(&Manifest::parse(text).map_err(|e| e.to_string())?)
}

fn identify_manifest(manifest: &Manifest) -> Identity {
    let name = manifest
        .name()
        .map_err(|e| e.to_string())?
        .ok_or("the manifest has no name")?;
    let name = name.parse::<PackageName>().map_err(|e| e.to_string())?;
    let version = manifest.version().map_err(|e| e.to_string())?;
    Ok((name, version.filter(|v| !v.is_empty()).map(str::to_owned)))
}

fn excluded_folder(path: &str, rule: &PackageRule) -> bool {
    rule.exclude
        .iter()
        .any(|prefix| path == prefix.trim_end_matches('/') || path.starts_with(prefix.as_str()))
}
