//! The first ref wins: if several refs of a source give the same package version, the earliest one is published.
//!
//! Refs come in byte order of their names, as `git tag` lists them. Upstream sometimes changes a module without changing
//! its version, and the reference generator publishes the earliest content.

use std::collections::HashSet;

use super::plan::{Outcome, ResolvedRef, VersionOwner};
use crate::composer::{PackageName, Version};

/// The versions that refs planned so far will build.
#[derive(Debug, Default)]
pub(super) struct ClaimedVersions {
    claimed_by_earlier_ref: HashSet<(PackageName, Version)>,
}

impl ClaimedVersions {
    /// Claims a version for `git_ref`; the error is the outcome of a version that must not be built.
    pub(super) fn claim(
        &mut self,
        git_ref: &ResolvedRef,
        name: &PackageName,
        version: &Version,
        owner: VersionOwner,
    ) -> Result<(), Outcome> {
        match owner {
            VersionOwner::Nobody => {}
            // The branch of a nightly version may have moved since it was published.
            VersionOwner::ThisSource if git_ref.nightly.is_some() => {}
            VersionOwner::ThisSource => return Err(Outcome::AlreadyPublished),
            VersionOwner::PrebuiltArchives(folder) => {
                return Err(Outcome::Excluded {
                    reason: format!("published as a prebuilt archive from `{folder}`"),
                });
            }
            VersionOwner::OtherSource(source) => {
                return Err(Outcome::Failed {
                    reason: format!(
                        "source `{source}` has published this version; name the package in one source only, and do not rename sources"
                    ),
                });
            }
        }
        match self.claimed_by_earlier_ref.insert((name.clone(), version.clone())) {
            true => Ok(()),
            false => Err(Outcome::AlreadyPublished),
        }
    }
}
