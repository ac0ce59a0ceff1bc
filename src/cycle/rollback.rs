//! The content of an earlier snapshot, published again: its releases, and what followers are told of them.

use std::collections::{BTreeMap, BTreeSet};

use super::context::CycleContext;
use super::follow::{FOLLOW_FILE, FollowContent, FollowState};
use super::publish_metadata::{Damaged, SnapshotDraft, claimed_names, pages_recipe, publish_content};
use super::report::Report;
use crate::ledger::Release;
use crate::metadata::reader::ListedRepository;
use crate::store::snapshot::Snapshot;

/// Publishes the content of the earlier snapshot `held` again, as a rollback to it, without the versions that were withdrawn since.
pub(super) fn hold(
    ctx: &CycleContext<'_>,
    previous: &Snapshot,
    held: &Snapshot,
    rollback_to: u64,
) -> anyhow::Result<(Option<Snapshot>, Damaged)> {
    let mut report = Report::to_continue(held)?;
    let releases = held_releases(ctx, held, &report)?;
    let expired = held.manifest.expired.clone();
    let content = SnapshotDraft { releases, rollback_to: Some(rollback_to), expired };
    publish_content(ctx, Some(previous), &mut report, content)
}

/// Path and bytes of what followers are told while the content of `held` is published again after `previous`.
pub fn tell_of_rollback(
    ctx: &CycleContext<'_>,
    previous: &Snapshot,
    held: &Snapshot,
) -> anyhow::Result<(&'static str, Vec<u8>)> {
    let report = Report::to_continue(held)?;
    let listed = held_releases(ctx, held, &report)?;
    let names: BTreeSet<_> = listed.iter().map(|release| release.name.as_str()).collect();
    let (lines, expired) = (previous.manifest.releases, &held.manifest.expired);
    let claimed = claimed_names(ctx, &report, expired, |name| names.contains(name));
    let ctx = &CycleContext { recipe: &pages_recipe(ctx, &report), ..ctx.clone() };
    let told = FollowContent { lines, listed: &listed, expired, claimed: &claimed };
    Ok((FOLLOW_FILE, serde_json::to_vec(&FollowState::new(ctx, &report, &told))?))
}

/// The releases that an earlier snapshot names, in the order of the ledger, without those that were withdrawn since.
fn held_releases(ctx: &CycleContext<'_>, held: &Snapshot, report: &Report) -> anyhow::Result<Vec<Release>> {
    let (_, listed) = ListedRepository::read_own(|path| held.read(path))?;
    let sha1 = |release: &Release| Some(&listed.get(&(release.name.clone(), release.version.clone()))?.1);
    let is_held = |release: &&Release| {
        sha1(release) == Some(&release.sha1.to_string())
            && !ctx.store.is_withdrawn(&release.name, &release.version)
    };
    let base_url = ctx.base_url.to_string();
    let mut releases = BTreeMap::new();
    ctx.store.ledger(|ledger| {
        // The archives that are bound to a base URL are named for the one that the snapshot was made for.
        for found in ledger.for_url(&held.manifest.base_url).filter(is_held) {
            let own = || ledger.find_for(&found.name, &found.version, &base_url);
            let Some(release) = Some(found).filter(|found| found.is_for(&base_url)).or_else(own) else {
                continue;
            };
            let committed = report.committed(release);
            let version = (release.name.clone(), release.version.clone());
            releases.insert(version, Release { committed, ..release.clone() });
        }
    });
    let mut releases: Vec<_> = releases.into_values().collect();
    releases.sort_by_key(|release| release.number);
    Ok(releases)
}
