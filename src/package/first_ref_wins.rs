//! The first ref wins: if several refs of a source give the same package version, the earliest one is published.
//!
//! Refs come in byte order of their names, as `git tag` lists them. Upstream sometimes changes a module without changing
//! its version, and the reference generator publishes the earliest content. Versions are the same if Composer normalizes
//! them to the same (`1.0`, `1.0.0`, `v1.0.0`) and their build metadata is equal, too.

use std::collections::HashMap;

use super::build;
use super::plan::{ExclusionRule, Folder, Outcome, PublishedVersion, ResolvedRef, VersionOwner, join};
use crate::composer::{PackageName, Version};
use crate::git::{BareClone, ObjectId};

/// The versions that refs planned so far will build.
#[derive(Debug, Default)]
pub(super) struct ClaimedVersions {
    /// By name and [`Version::identity`].
    claimed_by_earlier_ref: HashMap<(PackageName, (String, Option<String>)), PublishedVersion>,
    /// The first one by name and normalized version.
    normalized: HashMap<(PackageName, String), String>,
}

/// A package version that a ref gives.
pub(super) struct Candidate<'a> {
    pub git_ref: &'a ResolvedRef,
    pub name: &'a PackageName,
    pub version: &'a Version,
    pub contents: VersionContents<'a>,
}

/// What a package is made of.
#[derive(Clone, Copy)]
pub(super) enum VersionContents<'a> {
    /// A folder without some path prefixes.
    Folder(&'a Folder, &'a [String]),
    /// The manifest in this directory.
    Manifest(&'a str),
    /// Files of the whole repository.
    Repository,
}

impl ClaimedVersions {
    /// Claims a version; the error is the outcome of a version that must not be built. Returns another published version
    /// that only differs in its build metadata, which Composer does not compare.
    pub(super) fn claim(
        &mut self,
        candidate: &Candidate<'_>,
        owner: VersionOwner,
        clone: &BareClone,
    ) -> Result<Option<String>, Outcome> {
        let Candidate { git_ref, name, version, .. } = *candidate;
        let twin = match owner {
            VersionOwner::Nobody { twin } => twin,
            // The branch of a nightly version may have moved since it was published.
            VersionOwner::ThisSource(_) if git_ref.nightly.is_some() => None,
            VersionOwner::ThisSource(first) => return Err(candidate.outcome(&first, clone)),
            VersionOwner::Imported => return Err(Outcome::AlreadyPublished),
            VersionOwner::PrebuiltArchives(folder) => {
                return Err(Outcome::Excluded {
                    rule: ExclusionRule::PrebuiltArchive,
                    reason: format!("published as a prebuilt archive from `{folder}`"),
                });
            }
            // What is built is compared with it.
            VersionOwner::StandIn(_) => return Err(Outcome::AlreadyPublished),
            VersionOwner::OtherSource(source) => {
                return Err(Outcome::Failed {
                    reason: format!(
                        "source `{source}` has published this version; name the package in one source only, and do not rename sources"
                    ),
                });
            }
            VersionOwner::OwnerOfName(source) => {
                return Err(Outcome::Failed {
                    reason: format!(
                        "the package belongs to source `{source}`, which published it first; if this source may publish it, too, the recipe says so with `takes_over: [{source}]`"
                    ),
                });
            }
        };
        let key = (name.clone(), version.identity());
        if let Some(first) = self.claimed_by_earlier_ref.get(&key) {
            return Err(candidate.outcome(first, clone));
        }
        let claimed = PublishedVersion {
            version: version.to_string(),
            tag: git_ref.tag.clone(),
            tree: Some(candidate.tree()),
        };
        self.claimed_by_earlier_ref.insert(key, claimed);
        let normalized = (name.clone(), version.normalized().to_owned());
        let first = self.normalized.entry(normalized).or_insert_with(|| version.to_string());
        Ok(twin.or_else(|| Some(first.clone()).filter(|first| *first != version.as_str())))
    }
}

impl Candidate<'_> {
    /// The tree that a release of it records.
    fn tree(&self) -> ObjectId {
        match self.contents {
            VersionContents::Folder(folder, _) => folder.tree,
            VersionContents::Manifest(_) | VersionContents::Repository => self.git_ref.tree,
        }
    }

    /// The outcome if `first` is the same version.
    fn outcome(&self, first: &PublishedVersion, clone: &BareClone) -> Outcome {
        let PublishedVersion { version, tag, .. } = first;
        let is_spelled_alike = *version == self.version.as_str();
        // If upstream has moved the tag, that is a divergence.
        let is_same_tag = is_spelled_alike && *tag == self.git_ref.tag;
        let has_same_contents = is_same_tag || self.has_contents_of(first, clone);
        let (rule, reason) = match (is_spelled_alike, has_same_contents) {
            (true, true) => return Outcome::AlreadyPublished,
            (true, false) => {
                let reason =
                    format!("tag {tag} has the same version with other contents, and the first tag wins");
                (ExclusionRule::FirstTagWins, reason)
            }
            (false, true) => {
                let reason =
                    format!("Composer reads it as {version} of tag {tag}, which has the same contents");
                (ExclusionRule::AnotherSpelling, reason)
            }
            (false, false) => {
                let reason = format!(
                    "Composer reads it as {version} of tag {tag}, which has other contents, and the first tag wins"
                );
                (ExclusionRule::FirstTagWins, reason)
            }
        };
        Outcome::Excluded { rule, reason }
    }

    fn has_contents_of(&self, first: &PublishedVersion, clone: &BareClone) -> bool {
        let Some(tree) = first.tree else { return false };
        if tree == self.tree() {
            return true;
        }
        // Upstream may have removed the tag and its objects.
        if !clone.has(tree) {
            return false;
        }
        match self.contents {
            VersionContents::Folder(folder, exclude) => {
                let is_inside = |prefix: &String| prefix.starts_with(&join(&folder.path, ""));
                exclude.iter().any(is_inside) && build::has_same_files(clone, folder, tree, exclude)
            }
            VersionContents::Manifest(dir) => {
                let manifest = |tree| clone.find(tree, &join(dir, "composer.json")).ok().flatten();
                manifest(tree).is_some_and(|first| manifest(self.git_ref.tree) == Some(first))
            }
            VersionContents::Repository => false,
        }
    }
}
