//! Builds imported releases again from git: those with the same bytes are confirmed, those with others are diverged.
//!
//! Each cycle takes some of them, so that a repository that was just restored goes on like any other. Published bytes stay in
//! every case.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::context::CycleContext;
use super::divergence;
use super::inputs::FetchedInputs;
use super::rebuild::{RebuildOutcome, rebuild_from};
use super::report::Report;
use crate::ledger::{Release, ReleaseKind};
use crate::store::{Divergence, DivergenceCause, ImportMark, ImportMarks, ImportOutcome};
use crate::util::clock::now;

/// The source of imported releases that no source of the recipe gives.
pub(super) const IMPORTED: &str = "imported";

/// Releases that one cycle builds again. A thousand packages of Magento take half a minute.
const MOST: usize = 1000;

/// The imported releases of a repository, as a report has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportReport {
    /// Releases that were not built again yet.
    pub unconfirmed: usize,
    /// Those that git does not give, with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub impossible: BTreeMap<String, String>,
    /// Those of which git gives other bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub different: Vec<Divergence>,
}

/// Marks releases, before they are published, as imported; not aliases and nightly versions, which later cycles rebuild anyway.
pub(super) fn mark(ctx: &CycleContext<'_>, releases: &[Release], from: &str) -> anyhow::Result<()> {
    let mut marks = ctx.store.import_marks()?;
    let packages = releases.iter().filter(|release| release.kind == ReleaseKind::Package);
    if packages.clone().next().is_none() {
        return Ok(());
    }
    let mark = |release: &Release| ImportMark {
        line: release.number,
        name: release.name.clone(),
        version: release.version.clone(),
        from: from.to_owned(),
        time: now(),
        outcome: None,
    };
    marks.extend(packages.map(|release| (release.number, mark(release))));
    ctx.store.write_import_marks(&marks)
}

/// Builds some of the imported releases again, and adds to `report` what is known of them all.
pub(super) fn confirm(
    ctx: &CycleContext<'_>,
    inputs: &FetchedInputs,
    report: &mut Report,
    previous: &Report,
) -> anyhow::Result<()> {
    let mut marks = ctx.store.import_marks()?;
    // What was interrupted may have marked lines that it did not publish.
    ctx.store.ledger(|ledger| {
        marks.retain(|line, mark| {
            let release = ledger.release(*line);
            release.is_some_and(|release| release.name == mark.name && release.version == mark.version)
        });
    });
    if marks.is_empty() {
        return Ok(());
    }
    let due = due(ctx, &marks, report, previous);
    if !due.is_empty() {
        for (release, outcome) in rebuild_from(ctx, inputs, &due, false)? {
            settle(ctx, &mut marks, &release, outcome)?;
        }
        ctx.ensure_can_continue()?;
        ctx.store.write_import_marks(&marks)?;
    }
    report.imports = (!marks.is_empty()).then(|| summary(&marks));
    Ok(())
}

/// The releases to build: those that were not tried, and those that git did not give before its refs changed. What cannot be
/// fetched now is not tried.
fn due(ctx: &CycleContext<'_>, marks: &ImportMarks, report: &Report, previous: &Report) -> Vec<Release> {
    let refs = |report: &Report, source: &str| report.sources.get(source).map(|source| source.refs.clone());
    let has_moved: BTreeMap<_, _> = report
        .sources
        .keys()
        .map(|source| (source.as_str(), refs(report, source) != refs(previous, source)))
        .collect();
    let is_fetched = |source: &str| report.sources.get(source).is_none_or(|source| source.error.is_none());
    let is_due = |release: &Release| match marks.get(&release.number).map(|mark| &mark.outcome) {
        Some(None) => is_fetched(&release.source),
        Some(Some(ImportOutcome::Impossible(_))) => {
            is_fetched(&release.source) && has_moved.get(release.source.as_str()) == Some(&true)
        }
        Some(Some(ImportOutcome::Different(_))) | None => false,
    };
    let base_url = ctx.base_url.to_string();
    ctx.store.ledger(|ledger| {
        ledger.for_url(&base_url).filter(|release| is_due(release)).take(MOST).cloned().collect()
    })
}

fn settle(
    ctx: &CycleContext<'_>,
    marks: &mut ImportMarks,
    release: &Release,
    outcome: RebuildOutcome,
) -> anyhow::Result<()> {
    let outcome = match outcome {
        RebuildOutcome::Equal | RebuildOutcome::Repaired => {
            marks.remove(&release.number);
            return Ok(());
        }
        RebuildOutcome::Impossible(reason) => ImportOutcome::Impossible(reason),
        RebuildOutcome::Different(digests) => {
            let (commit, cause) = (release.commit.clone(), DivergenceCause::Imported);
            let divergence = Divergence::new(release, &release.source, commit, digests, cause);
            divergence::record(ctx, std::slice::from_ref(&divergence))?;
            ImportOutcome::Different(Box::new(divergence))
        }
    };
    if let Some(mark) = marks.get_mut(&release.number) {
        mark.outcome = Some(outcome);
    }
    Ok(())
}

fn summary(marks: &ImportMarks) -> ImportReport {
    let mut report = ImportReport::default();
    for mark in marks.values() {
        match &mark.outcome {
            None => report.unconfirmed += 1,
            Some(ImportOutcome::Different(divergence)) => {
                report.different.push(Divergence::clone(divergence));
            }
            Some(ImportOutcome::Impossible(reason)) => {
                report.impossible.insert(format!("{} {}", mark.name, mark.version), reason.clone());
            }
        }
    }
    report
}
