//! Plans refs of a source against the ledger, or as if nothing were published.

use super::context::CycleContext;
use super::resources::Resources;
use crate::composer::{PackageName, Version};
use crate::git::BareClone;
use crate::package::plan::{Plan, PlanContext, ResolvedRef, VersionOwner};
use crate::package::planner;
use crate::recipe::Source;

/// What is to be built of these refs; published versions are not.
pub(super) fn plan_refs(
    ctx: &CycleContext<'_>,
    source: &Source,
    clone: &BareClone,
    refs: &[ResolvedRef],
    resources: &Resources,
) -> Plan {
    let owner = |name: &_, version: &_| version_owner(ctx, source, name, version);
    plan_with(ctx, source, clone, refs, resources, &owner)
}

/// What these refs would give if nothing were published.
pub(super) fn plan_unpublished(
    ctx: &CycleContext<'_>,
    source: &Source,
    clone: &BareClone,
    refs: &[ResolvedRef],
    resources: &Resources,
) -> Plan {
    plan_with(ctx, source, clone, refs, resources, &|_, _| VersionOwner::Nobody)
}

fn plan_with(
    ctx: &CycleContext<'_>,
    source: &Source,
    clone: &BareClone,
    refs: &[ResolvedRef],
    resources: &Resources,
    owner: &dyn Fn(&PackageName, &Version) -> VersionOwner,
) -> Plan {
    let context = PlanContext {
        owner,
        resource: &|name, path| resources.read(name, path),
        base_url: &ctx.base_url.to_string(),
        limits: ctx.limits,
    };
    planner::plan(source, refs, clone, &context)
}

fn version_owner(
    ctx: &CycleContext<'_>,
    source: &Source,
    name: &PackageName,
    version: &Version,
) -> VersionOwner {
    let base_url = ctx.base_url.to_string();
    let owner = ctx.store.ledger(|ledger| {
        let release = ledger.find_for(&name.to_string(), version.as_str(), &base_url);
        release.map(|release| release.source.clone())
    });
    match owner {
        None => VersionOwner::Nobody,
        Some(by) if by == source.name => VersionOwner::ThisSource,
        Some(by) if ctx.recipe.archives.iter().any(|folder| folder.name == by) => {
            VersionOwner::PrebuiltArchives(by)
        }
        Some(by) => VersionOwner::OtherSource(by),
    }
}
