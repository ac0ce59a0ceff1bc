//! Plans refs of a source against the ledger, or as if nothing were published.

use std::collections::HashMap;

use super::confirm_imports::IMPORTED;
use super::context::CycleContext;
use super::name_owners::NameOwners;
use super::resources::Resources;
use crate::composer::{PackageName, Version};
use crate::git::BareClone;
use crate::ledger::Release;
use crate::package::plan::{Plan, PlanContext, PublishedVersion, ResolvedRef, VersionOwner};
use crate::package::planner;
use crate::recipe::Source;

/// What is to be built of these refs; published versions are not.
pub(super) fn plan_refs(
    ctx: &CycleContext<'_>,
    source: &Source,
    clone: &BareClone,
    refs: &[ResolvedRef],
    resources: &Resources,
) -> anyhow::Result<Plan> {
    let published = PublishedVersions::new(ctx);
    let owner = |name: &_, version: &_| published.owner(ctx, &source.name, name, version);
    plan_with(ctx, source, clone, refs, resources, &owner)
}

/// What these refs would give if nothing were published.
pub(super) fn plan_unpublished(
    ctx: &CycleContext<'_>,
    source: &Source,
    clone: &BareClone,
    refs: &[ResolvedRef],
    resources: &Resources,
) -> anyhow::Result<Plan> {
    plan_with(ctx, source, clone, refs, resources, &|_, _| VersionOwner::Nobody { twin: None })
}

fn plan_with(
    ctx: &CycleContext<'_>,
    source: &Source,
    clone: &BareClone,
    refs: &[ResolvedRef],
    resources: &Resources,
    owner: &dyn Fn(&PackageName, &Version) -> VersionOwner,
) -> anyhow::Result<Plan> {
    let context = PlanContext {
        ensure_can_continue: &|| ctx.ensure_can_continue(),
        owner,
        resource: &|name, path| resources.read(name, path),
        base_url: &ctx.base_url.to_string(),
        limits: ctx.limits,
    };
    planner::plan(source, refs, clone, &context)
}

/// The releases of the ledger.
pub(super) struct PublishedVersions {
    /// By name and normalized version, since tags may write one version in several ways.
    by_version: HashMap<(String, String), Vec<(Version, Release)>>,
    owners: NameOwners,
}

impl PublishedVersions {
    pub(super) fn new(ctx: &CycleContext<'_>) -> Self {
        let base_url = ctx.base_url.to_string();
        let mut by_version = HashMap::<_, Vec<_>>::new();
        ctx.store.ledger(|ledger| {
            for release in ledger.for_url(&base_url).rev() {
                let Ok(version) = release.version.parse::<Version>() else { continue };
                let key = (release.name.clone(), version.normalized().to_owned());
                by_version.entry(key).or_default().push((version, release.clone()));
            }
        });
        Self { by_version, owners: NameOwners::new(ctx) }
    }

    pub(super) fn name_owners(&self) -> &NameOwners {
        &self.owners
    }

    /// Who has a version, for a source or a folder of prebuilt archives that would publish it.
    pub(super) fn owner(
        &self,
        ctx: &CycleContext<'_>,
        source: &str,
        name: &PackageName,
        version: &Version,
    ) -> VersionOwner {
        let key = (name.to_string(), version.normalized().to_owned());
        let releases = self.by_version.get(&key).map(Vec::as_slice).unwrap_or_default();
        let same = releases.iter().find(|(published, _)| published == version);
        let same = same
            .or_else(|| releases.iter().find(|(published, _)| published.identity() == version.identity()));
        let Some((_, release)) = same else {
            if let Some(owner) = self.owners.other_than(ctx, source, &name.to_string()) {
                return VersionOwner::OwnerOfName(owner.clone());
            }
            return VersionOwner::Nobody {
                twin: releases.first().map(|(published, _)| published.to_string()),
            };
        };
        let by = &release.source;
        if by == source {
            VersionOwner::ThisSource(PublishedVersion {
                version: release.version.clone(),
                tag: release.tag.clone(),
                tree: release.tree.parse().ok(),
            })
        } else if by == IMPORTED {
            VersionOwner::Imported
        } else if ctx.recipe.archives.iter().any(|folder| folder.name == *by) {
            VersionOwner::PrebuiltArchives(by.clone())
        } else if ctx.recipe.stand_ins(source).any(|stand_in| stand_in.name == *by) {
            VersionOwner::StandIn(by.clone())
        } else {
            VersionOwner::OtherSource(by.clone())
        }
    }
}
