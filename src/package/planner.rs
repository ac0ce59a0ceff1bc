//! Plans a source: which package each folder of each ref is, and whether it is built.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::Context as _;

use super::first_ref_wins::{Candidate, ClaimedVersions, VersionContents};
use super::identities::Identities;
use super::limits::PlanBudget;
use super::missing_files::MissingFiles;
use super::plan::{
    Build, ExclusionRule, Folder, ManifestSource, Notice, Outcome, OutcomeRow, Plan, PlanContext,
    ResolvedRef, VersionOwner, join,
};
use super::unused_rules::RuleUsage;
use super::{derived_manifest, limits, manifest};
use crate::composer::{Manifest, PackageName, Version};
use crate::git::{BareClone, EntryKind, ObjectId};
use crate::recipe::{Derive, PackageRule, RuleKind, Source};
use crate::util::text::shortened;

/// The most characters of a path that a row names.
const MAX_PATH: usize = 500;

/// Plans the refs of a source. What cannot be planned is a failed row of the plan.
///
/// # Errors
/// `context` ends it, or the refs give more than a report can hold.
pub fn plan(
    source: &Source,
    refs: &[ResolvedRef],
    clone: &BareClone,
    context: &PlanContext<'_>,
) -> anyhow::Result<Plan> {
    let mut planner = Planner {
        source,
        clone,
        context,
        identities: Identities::default(),
        claimed: ClaimedVersions::default(),
        folders: HashMap::new(),
        missing_files: MissingFiles::default(),
        budget: PlanBudget::new(context.limits),
        usage: RuleUsage::default(),
        plan: Plan::default(),
    };
    for rule in &source.packages {
        for git_ref in refs {
            (context.ensure_can_continue)()?;
            planner.budget.check_versions(planner.plan.rows.len() + planner.plan.builds.len())?;
            if !rule.applies_to(&git_ref.tag) {
                let from = rule.from.as_deref().unwrap_or_default();
                let reason = format!("the recipe takes it from tag {from} on");
                planner.exclude(git_ref, rule.label(), ExclusionRule::Recipe, &reason);
            } else if let Err(error) = planner.apply(rule, git_ref) {
                planner.add_error(rule, git_ref, error);
            }
        }
    }
    planner.plan.rows.extend(planner.missing_files.rows(source));
    planner.plan.unused = planner.usage.unused(source, refs, clone);
    Ok(planner.plan)
}

struct Planner<'a> {
    source: &'a Source,
    clone: &'a BareClone,
    context: &'a PlanContext<'a>,
    identities: Identities,
    claimed: ClaimedVersions,
    /// The first folder of each (tag, package, version).
    folders: HashMap<(String, PackageName, String), Folder>,
    missing_files: MissingFiles,
    budget: PlanBudget<'a>,
    usage: RuleUsage,
    plan: Plan,
}

impl Planner<'_> {
    fn apply(&mut self, rule: &PackageRule, git_ref: &ResolvedRef) -> anyhow::Result<()> {
        match rule.kind() {
            Some(RuleKind::Each(dir)) => {
                let Some(tree) = self.find_tree(git_ref.tree, dir)? else {
                    self.exclude_missing(git_ref, dir);
                    return Ok(());
                };
                self.usage.add_folder(dir);
                let folders =
                    self.clone.tree(tree)?.into_iter().filter(|entry| entry.kind == EntryKind::Tree);
                for entry in folders {
                    let folder = Folder { path: join(dir, &entry.name), tree: entry.id };
                    // The reference generator lists folders with a shell pattern, which skips names with a leading dot.
                    if !entry.name.starts_with('.') && !is_excluded_folder(&folder.path, rule) {
                        self.plan_folder(rule, git_ref, folder, false)?;
                    } else if !self.has_own_rule(&folder.path)
                        && self.clone.find(folder.tree, "composer.json")?.is_some()
                    {
                        let reason = "the recipe's rule leaves this folder out";
                        self.exclude(git_ref, &folder.path, ExclusionRule::Recipe, reason);
                    }
                }
                Ok(())
            }
            Some(RuleKind::One(dir)) => self.plan_single(rule, git_ref, dir, false),
            Some(RuleKind::Metapackage(dir)) => self.plan_single(rule, git_ref, dir, true),
            Some(RuleKind::Derive(derive)) => self.plan_derived(derive, git_ref),
            None => Ok(()),
        }
    }

    /// Whether a folder that another rule leaves out is a package by a rule of its own.
    fn has_own_rule(&self, path: &str) -> bool {
        self.source.packages.iter().any(|rule| rule.each.is_none() && rule.label() == path)
    }

    fn plan_single(
        &mut self,
        rule: &PackageRule,
        git_ref: &ResolvedRef,
        dir: &str,
        only_manifest: bool,
    ) -> anyhow::Result<()> {
        let Some(tree) = self.find_tree(git_ref.tree, dir)? else {
            self.exclude_missing(git_ref, dir);
            return Ok(());
        };
        self.usage.add_folder(dir);
        let path = dir.to_owned();
        self.plan_folder(rule, git_ref, Folder { path, tree }, only_manifest)
    }

    /// Plans the package of one folder.
    fn plan_folder(
        &mut self,
        rule: &PackageRule,
        git_ref: &ResolvedRef,
        folder: Folder,
        only_manifest: bool,
    ) -> anyhow::Result<()> {
        let manifest = self.folder_manifest(rule, git_ref, &folder);
        // One that cannot be read is one.
        if !matches!(manifest, Ok(None)) {
            self.usage.add_package(rule);
        }
        let Some(manifest) = manifest? else {
            self.exclude(git_ref, &folder.path, ExclusionRule::NoManifest, "no composer.json");
            return Ok(());
        };
        let (name, version) = match self.identities.identify(&manifest, self.clone, self.context.limits) {
            Ok(identity) => identity,
            Err(error) => {
                let reason = format!("{}: {error}", join(&folder.path, "composer.json"));
                self.add_row(git_ref, &folder.path, Outcome::Failed { reason });
                return Ok(());
            }
        };
        let name: PackageName = self.source.rename_package(&name.to_string()).parse()?;
        if let ManifestSource::Blob(blob) = manifest {
            self.usage.add_manifest(git_ref, blob);
        }
        let pinned = git_ref.pins.get(&name.to_string());
        let is_tag = only_manifest || rule.tag_is_version;
        let fallback = git_ref.nightly.clone().or_else(|| is_tag.then(|| git_ref.tag.clone()));
        let Some(version) = pinned.cloned().or(version).or(fallback) else {
            let reason = "its manifest has no version and the recipe pins none for this tag; \
                          set `tag_is_version: true` in the rule to use the tag";
            self.exclude(git_ref, &name.to_string(), ExclusionRule::NoVersion, reason);
            return Ok(());
        };
        if let Some(reason) = self.conflicting_folder(git_ref, &name, &version, &folder) {
            self.add_row(git_ref, &format!("{name} {version}"), Outcome::Failed { reason });
            return Ok(());
        }
        let exclude = rule.excluded_prefixes(&git_ref.tag);
        let contents = match only_manifest {
            true => VersionContents::Manifest(&folder.path),
            false => VersionContents::Folder(&folder, &exclude),
        };
        let Some(version) = self.claim_version(git_ref, &name, &version, contents) else {
            return Ok(());
        };
        let size = limits::manifest_size(self.clone, &manifest)?;
        let files = self.context.replacement_files(self.source, &git_ref.tag, &name, &version)?;
        let build = Build {
            files,
            name,
            version,
            git_ref: git_ref.clone(),
            folder: (!only_manifest).then_some(folder),
            manifest,
            exclude,
            empty_dirs: rule.empty_dirs.clone(),
            bound: false,
            requires: Vec::new(),
            is_metapackage: false,
        };
        self.add_build(build, size);
        Ok(())
    }

    /// Adds a build whose manifest upstream has in `size` bytes.
    fn add_build(&mut self, mut build: Build, size: u64) {
        let mut claim = || {
            self.budget.claim_manifest(size)?;
            self.identities.add_requirements(&mut build, self.source, self.clone, self.context.limits);
            self.budget.claim_requires(build.requires.len())
        };
        match claim() {
            Ok(()) => self.plan.builds.push(build),
            Err(error) => self.add_row(&build.git_ref, &build.package(), Outcome::failed(&error)),
        }
    }

    /// The manifest of the package in a folder; `None` if it has none.
    fn folder_manifest(
        &self,
        rule: &PackageRule,
        git_ref: &ResolvedRef,
        folder: &Folder,
    ) -> anyhow::Result<Option<ManifestSource>> {
        if !rule.manifest.is_empty() {
            let (_, text) = self.context.first_existing(&rule.manifest, &git_ref.tag)?;
            return Ok(Some(ManifestSource::Resource(text.into())));
        }
        let is_file = |kind| matches!(kind, EntryKind::File | EntryKind::Executable);
        let entries = self.clone.tree(folder.tree)?;
        let entry = entries.iter().find(|entry| entry.name == "composer.json" && is_file(entry.kind));
        Ok(entry.map(|entry| ManifestSource::Blob(entry.id)))
    }

    /// Why a folder cannot be planned: another folder of the ref is the same version with other contents.
    fn conflicting_folder(
        &mut self,
        git_ref: &ResolvedRef,
        name: &PackageName,
        version: &str,
        folder: &Folder,
    ) -> Option<String> {
        let key = (git_ref.tag.clone(), name.clone(), version.to_owned());
        let first = self.folders.entry(key).or_insert_with(|| folder.clone());
        if first.tree == folder.tree {
            return None;
        }
        let is_prebuilt = |version: Version| {
            matches!((self.context.owner)(name, &version), VersionOwner::PrebuiltArchives(_))
        };
        if version.parse().is_ok_and(is_prebuilt) {
            return None;
        }
        Some(format!(
            "`{}` is the same version of the package with other contents; exclude the folder `{}` or that one",
            join(&first.path, "composer.json"),
            folder.path
        ))
    }

    /// Plans a package that is made from the root manifest.
    fn plan_derived(&mut self, rule: &Derive, git_ref: &ResolvedRef) -> anyhow::Result<()> {
        let name: PackageName = rule.package.parse()?;
        let version = match &git_ref.nightly {
            Some(nightly) => git_ref.pins.get(&rule.package).unwrap_or(nightly),
            None => &git_ref.tag,
        };
        let Some(version) = self.claim_version(git_ref, &name, version, VersionContents::Repository) else {
            return Ok(());
        };
        let root = self.clone.find(git_ref.tree, "composer.json")?.context("no composer.json at the root")?;
        let text = limits::read_manifest(self.context.limits, self.clone, root.id)?;
        let size = text.len() as u64;
        let root = Manifest::parse(&text).context("composer.json")?;
        let (file, part) = self.context.first_existing(&rule.part, &git_ref.tag)?;
        let part = Manifest::parse(&part).with_context(|| file.path_for(&git_ref.tag))?;
        let own_versions = derived_manifest::own_versions(rule, &part);
        let is_intact = file.whole_with.as_ref().is_some_and(|key| part.0.contains_key(key));
        let mut manifest = if is_intact {
            part
        } else {
            let base_url = self.context.base_url;
            let mut derived = derived_manifest::derive(rule, root, part, version.as_str(), base_url);
            self.usage.add_derived(git_ref, &derived);
            manifest::pin(&mut derived.0, &git_ref.pins);
            derived
        };
        derived_manifest::adapt(rule, &mut manifest, version.as_str(), &own_versions);
        let corrections = &self.source.corrections;
        manifest::correct(&mut manifest.0, &rule.package, version.as_str(), corrections);
        if manifest.version()? != Some(version.as_str()) {
            let found = manifest.version()?;
            let reason = format!("the manifest says version {found:?} at tag {version}");
            self.add_row(git_ref, &rule.package, Outcome::Failed { reason });
            return Ok(());
        }
        let mut files = BTreeMap::new();
        for file in rule.files.iter().filter(|file| file.tags.contains(&git_ref.tag)) {
            let (_, contents) =
                self.context.first_existing(std::slice::from_ref(&file.from), &git_ref.tag)?;
            files.insert(file.path.clone(), contents.into());
        }
        let build = Build {
            bound: !is_intact && derived_manifest::is_bound(rule),
            name,
            version,
            git_ref: git_ref.clone(),
            folder: None,
            manifest: ManifestSource::Derived(Arc::new(manifest)),
            exclude: Vec::new(),
            empty_dirs: Vec::new(),
            files,
            requires: Vec::new(),
            is_metapackage: false,
        };
        self.add_build(build, size);
        Ok(())
    }

    /// Parses a version and claims it for this ref; if it must not be built, adds a row that says why.
    fn claim_version(
        &mut self,
        git_ref: &ResolvedRef,
        name: &PackageName,
        version: &str,
        contents: VersionContents<'_>,
    ) -> Option<Version> {
        let package = format!("{name} {version}");
        let version = match version.parse::<Version>() {
            Ok(version) => version,
            Err(error) if version == git_ref.tag => {
                let reason = format!("the tag would be its version, but {error}");
                self.exclude(git_ref, &name.to_string(), ExclusionRule::NotAVersion, &reason);
                return None;
            }
            Err(error) => {
                let reason = error.to_string();
                self.add_row(git_ref, &package, Outcome::Failed { reason });
                return None;
            }
        };
        self.usage.add_version(git_ref, name, &version);
        let owner = (self.context.owner)(name, &version);
        let candidate = Candidate { git_ref, name, version: &version, contents };
        match self.claimed.claim(&candidate, owner, self.clone) {
            Ok(twin) => {
                self.plan.notices.extend(twin.map(|twin| Notice {
                    tag: git_ref.tag.clone(),
                    package,
                    reason: format!(
                        "Composer does not tell it from {twin}: it does not compare build metadata"
                    ),
                }));
                Some(version)
            }
            Err(outcome) => {
                self.add_row(git_ref, &package, outcome);
                None
            }
        }
    }

    fn add_error(&mut self, rule: &PackageRule, git_ref: &ResolvedRef, error: anyhow::Error) {
        match error.downcast() {
            Ok(missing) => self.missing_files.add(rule, git_ref, missing),
            Err(error) => self.add_row(git_ref, "", Outcome::failed(&error)),
        }
    }

    /// The tree at a path below `tree`; `None` if there is no such folder.
    fn find_tree(&self, tree: ObjectId, path: &str) -> anyhow::Result<Option<ObjectId>> {
        let entry = self.clone.find(tree, path)?;
        Ok(entry.filter(|entry| entry.kind == EntryKind::Tree).map(|entry| entry.id))
    }

    fn exclude(&mut self, git_ref: &ResolvedRef, package: &str, rule: ExclusionRule, reason: &str) {
        let reason = reason.to_owned();
        self.add_row(git_ref, package, Outcome::Excluded { rule, reason });
    }

    fn exclude_missing(&mut self, git_ref: &ResolvedRef, dir: &str) {
        self.exclude(git_ref, dir, ExclusionRule::NoDirectory, "no such directory at this ref");
    }

    fn add_row(&mut self, git_ref: &ResolvedRef, package: &str, outcome: Outcome) {
        self.plan.rows.push(OutcomeRow {
            source: self.source.name.clone(),
            tag: git_ref.tag.clone(),
            package: shortened(package, MAX_PATH).into_owned(),
            outcome,
        });
    }
}

fn is_excluded_folder(path: &str, rule: &PackageRule) -> bool {
    rule.exclude
        .iter()
        .any(|prefix| path == prefix.trim_end_matches('/') || path.starts_with(prefix.as_str()))
}
