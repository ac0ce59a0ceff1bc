//! The end of a pass, of a build as of a follower: publishes what is new in the ledger.

use std::collections::BTreeMap;
use std::time::Instant;

use super::context::{CycleContext, ProgressEvent};
use super::follow::FOLLOW_FILE;
use super::publish_metadata::{self, Damaged};
use super::report::Report;
use super::{CycleResult, follow_withdrawals};
use crate::ledger::Ledger;
use crate::metadata::{claims_names, is_current, pages};
use crate::store::snapshot::Snapshot;

/// What a pass has added to the ledger.
pub(super) struct Pass {
    pub(super) report: Report,
    /// New package versions.
    pub(super) published: usize,
    /// It has found nothing new, and another pass follows.
    pub(super) is_early: bool,
    pub(super) fetch_began: Instant,
    pub(super) build_began: Instant,
}

/// Publishes a snapshot of what is in the ledger, if anything changes by that.
pub(super) fn publish_pass(ctx: &CycleContext<'_>, pass: Pass) -> anyhow::Result<CycleResult> {
    let Pass { mut report, published, is_early, fetch_began, build_began } = pass;
    let publish_began = Instant::now();
    let previous = ctx.store.latest_snapshot()?;
    let previous_report = previous.as_ref().map(Report::to_continue).transpose()?.unwrap_or_default();
    report.gaps.clone_from(&previous_report.gaps);
    // A repository without any release stays unpublished, and its server not ready, instead of being empty.
    let is_empty = ctx.store.ledger(Ledger::is_empty);
    let rollback_active = previous.as_ref().and_then(|p| p.manifest.rollback_to);
    if let Some(number) = rollback_active {
        tracing::warn!("the content of snapshot {number} is held: `mirror rollback --end` publishes again");
    }
    let report_in_snapshot = !is_empty && rollback_active.is_none();
    let is_unchanged =
        previous.as_ref().is_some_and(|previous| report == previous_report && is_up_to_date(ctx, previous));
    let (snapshot, damaged) = if rollback_active.is_some() {
        follow_withdrawals(ctx)?
    } else if is_unchanged || is_early || is_empty {
        (None, Damaged::new())
    } else {
        (ctx.progress)(ProgressEvent::Publishing);
        publish_metadata::publish(ctx, previous.as_ref(), &mut report)?
    };
    ctx.store.apply_retention(ctx.retention)?;
    Ok(CycleResult {
        report,
        published,
        versions: count_published(ctx, snapshot.as_ref().or(previous.as_ref())),
        snapshot,
        damaged,
        report_in_snapshot,
        stages: [
            ("fetch", build_began - fetch_began),
            ("build", publish_began - build_began),
            ("publish", publish_began.elapsed()),
        ],
    })
}

/// The number of published package versions of each source.
fn count_published(ctx: &CycleContext<'_>, snapshot: Option<&Snapshot>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for release in ctx.store.published_releases(snapshot, &ctx.base_url.to_string()) {
        *counts.entry(release.source).or_default() += 1;
    }
    counts
}

/// Whether rendering again would give the files of `previous`, provided that the report is the same.
fn is_up_to_date(ctx: &CycleContext<'_>, previous: &Snapshot) -> bool {
    let is_current_root = |root: Vec<u8>| is_current(&root, &ctx.repository_info());
    let digest = |path: &str| previous.manifest.files.get(path).map(|file| file.sha256);
    previous.is_intact
        && !previous.manifest.rollback_ended
        // Nightly versions expire with time.
        && ctx.recipe.retention.is_none()
        && previous.manifest.base_url == ctx.base_url.to_string()
        && std::fs::read(previous.folder.join("packages.json")).is_ok_and(is_current_root)
        && pages::are_current(digest)
        && digest(FOLLOW_FILE).is_some()
        && claims_names(previous.manifest.files.values().map(|file| file.sha256))
        && previous.manifest.ledger_head == ctx.store.ledger(Ledger::head)
        && previous.manifest.withdrawals == ctx.store.withdrawals()
}
