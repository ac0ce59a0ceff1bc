//! Publishes what is published already in another way, without anything from upstream: without withdrawn versions, as of an
//! earlier snapshot, or for another base URL.

use std::collections::BTreeMap;

use super::context::CycleContext;
use super::follow::bound;
use super::publish_metadata::{self, Damaged};
use super::report::Report;
use super::{file_names, rollback};
use crate::ledger::Release;
use crate::store::snapshot::Snapshot;
use crate::util::clock::now;

/// Publishes the newest content again if versions were withdrawn since, or their withdrawals undone. Returns the snapshot, and
/// the damaged archives.
pub fn follow_withdrawals(ctx: &CycleContext<'_>) -> anyhow::Result<(Option<Snapshot>, Damaged)> {
    let latest = ctx.store.latest_snapshot()?;
    match latest.filter(|latest| latest.manifest.withdrawals != ctx.store.withdrawals()) {
        Some(previous) => republish(ctx, &previous),
        None => Ok((None, BTreeMap::new())),
    }
}

/// Publishes the newest content for the configured base URL if it is published for another one.
pub fn move_to_base_url(ctx: &CycleContext<'_>) -> anyhow::Result<(Option<Snapshot>, Damaged)> {
    let base_url = ctx.base_url.to_string();
    let latest = ctx.store.latest_snapshot()?;
    let Some(previous) = latest.filter(|latest| latest.manifest.base_url != base_url) else {
        return Ok((None, BTreeMap::new()));
    };
    if !ctx.builds() {
        bound::render(ctx)?;
    } else if previous.manifest.rollback_to.is_none() {
        rebind(ctx, &base_url)?;
    }
    republish(ctx, &previous)
}

/// Publishes the packages that are bound to other base URLs for this one. Each has the bytes that a build for it gives, so the
/// cycle that builds it finds it published; that cycle also makes what could not be made here.
fn rebind(ctx: &CycleContext<'_>, base_url: &str) -> anyhow::Result<()> {
    let wanted: Vec<_> = ctx.store.ledger(|ledger| ledger.unrendered(base_url).cloned().collect());
    let mut batch = Vec::new();
    for release in wanted {
        match bound::stage(ctx, &release, base_url) {
            Ok((staged, rebound)) => {
                let mut rebound = Release { time: now(), ..rebound };
                file_names::avoid_published(ctx, &mut rebound);
                batch.push((staged, rebound));
            }
            Err(error) => tracing::warn!(
                package = release.name,
                version = release.version,
                "failed to make it for {base_url} from its archive, the next cycle builds it: {error:#}"
            ),
        }
    }
    if batch.is_empty() {
        return Ok(());
    }
    file_names::separate(&mut batch);
    ctx.store.publish(batch)
}

/// Publishes the content of `previous`, the newest snapshot, again.
pub(super) fn republish(
    ctx: &CycleContext<'_>,
    previous: &Snapshot,
) -> anyhow::Result<(Option<Snapshot>, Damaged)> {
    let Some(number) = previous.manifest.rollback_to else {
        let mut report = Report::to_continue(previous)?;
        return publish_metadata::publish(ctx, Some(previous), &mut report);
    };
    // The snapshot itself has all of its content, unless it was removed meanwhile.
    let is_kept = ctx.store.snapshot_numbers()?.contains(&number);
    let held = if is_kept { ctx.store.load(number)? } else { previous.clone() };
    rollback::hold(ctx, previous, &held, number)
}

/// Renders the content of `held` as a rollback to it that follows `previous`, without withdrawn versions.
pub fn roll_back(
    ctx: &CycleContext<'_>,
    previous: &Snapshot,
    held: &Snapshot,
) -> anyhow::Result<Option<Snapshot>> {
    Ok(rollback::hold(ctx, previous, held, held.manifest.number)?.0)
}
