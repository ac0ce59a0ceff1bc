//! Folders of prebuilt archives: each new one is checked and published with its own bytes.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::Timestamp;

use super::batch::Batch;
use super::context::CycleContext;
use super::metadata_budget::MetadataBudget;
use super::report::SourceReport;
use super::resources::Resources;
use crate::git::Commit;
use crate::ledger::{Release, ReleaseKind};
use crate::package::plan::{ExclusionRule, Outcome};
use crate::package::prebuilt_archive::{self, PrebuiltArchive};
use crate::recipe::ArchiveFolder;
use crate::store::StagedArchive;
use crate::util::clock::now;
use crate::util::digest::Sha256;

/// Publishes the new archives of a folder; returns its report and how many are new.
pub(super) fn publish(
    ctx: &CycleContext<'_>,
    folder: &ArchiveFolder,
    resources: &Resources,
    previous: Option<&SourceReport>,
    budget: &MetadataBudget<'_>,
) -> anyhow::Result<(SourceReport, usize)> {
    let commit = resources.commit(&folder.resource)?;
    let reference = &ctx.recipe.resources[&folder.resource].reference;
    let refs = BTreeMap::from([(reference.clone(), commit.id.to_string())]);
    let rules = Sha256::digest(&serde_json::to_vec(folder)?);
    if let Some(unchanged) = previous.filter(|report| report.is_current(rules, &refs)) {
        return Ok((unchanged.clone(), 0));
    }
    let mut batch = Batch::new(&folder.name, Vec::new(), budget);
    let mut first_files = BTreeMap::new();
    let tag = commit.id.to_string();
    let files = resources.list(&folder.resource, &folder.path)?;
    for file in files.into_iter().filter(|file| file.ends_with(".zip")) {
        let (bytes, archive) = match read(ctx, folder, resources, &file) {
            Ok(read) => read,
            Err(error) => {
                batch.add_row(&tag, file, Outcome::failed(&error));
                continue;
            }
        };
        let package = format!("{} {}", archive.name, archive.version);
        if let Some(first) = first_files.insert(package.clone(), file.clone()) {
            let reason = format!("{file} is the same version as {first}");
            batch.add_row(&tag, package, Outcome::Excluded { rule: ExclusionRule::AnotherSpelling, reason });
        } else if let Some(outcome) = published_outcome(ctx, folder, &archive) {
            batch.add_row(&tag, package, outcome);
        } else {
            let staged = stage(ctx, folder, &file, &archive, &bytes, commit);
            batch.add(&tag, package, staged.map(Some));
        }
    }
    batch.publish(ctx, rules, refs)
}

/// The bytes of an archive, its name and its version.
fn read(
    ctx: &CycleContext<'_>,
    folder: &ArchiveFolder,
    resources: &Resources,
    file: &str,
) -> anyhow::Result<(Vec<u8>, PrebuiltArchive)> {
    let path = format!("{}/{file}", folder.path);
    let bytes = resources.read_archive(&folder.resource, &path)?.unwrap_or_default();
    let archive = prebuilt_archive::check(&bytes, ctx.limits)?;
    Ok((bytes, archive))
}

/// The outcome of a version that is already published.
fn published_outcome(
    ctx: &CycleContext<'_>,
    folder: &ArchiveFolder,
    archive: &PrebuiltArchive,
) -> Option<Outcome> {
    let source = ctx.store.ledger(|ledger| {
        ledger.find(&archive.name.to_string(), archive.version.as_str()).map(|release| release.source.clone())
    })?;
    Some(if source == folder.name {
        Outcome::AlreadyPublished
    } else {
        Outcome::Failed { reason: format!("source `{source}` has published this version") }
    })
}

fn stage(
    ctx: &CycleContext<'_>,
    folder: &ArchiveFolder,
    file: &str,
    archive: &PrebuiltArchive,
    bytes: &[u8],
    commit: &Commit,
) -> anyhow::Result<(StagedArchive, Release)> {
    let staged = ctx.store.stage_bytes(bytes)?;
    let release = Release {
        number: 0,
        kind: ReleaseKind::Package,
        previous: Sha256([0; 32]),
        name: archive.name.to_string(),
        version: archive.version.to_string(),
        file: Some(format!("packages/additional/{file}")),
        bound: None,
        sha1: staged.digests.sha1,
        sha256: staged.digests.sha256,
        size: staged.digests.size,
        source: folder.name.clone(),
        tag: ctx.recipe.resources[&folder.resource].reference.clone(),
        commit: commit.id.to_string(),
        tree: commit.tree.to_string(),
        committed: Timestamp::from_second(commit.time).context("the commit has an impossible date")?,
        time: now(),
    };
    ctx.store.check_free(&staged, &release)?;
    Ok((staged, release))
}
