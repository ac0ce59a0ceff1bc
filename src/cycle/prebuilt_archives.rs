//! Folders of prebuilt archives: each new one is checked and published with its own bytes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use jiff::Timestamp;

use super::batch::{Batch, Published};
use super::context::CycleContext;
use super::file_names;
use super::held_back::{self, Candidate, Provided, Requirements};
use super::metadata_budget::MetadataBudget;
use super::planning::PublishedVersions;
use super::report::SourceReport;
use super::resources::Resources;
use crate::git::Commit;
use crate::ledger::{Release, ReleaseKind};
use crate::package::plan::{
    ExactVersion, ExclusionRule, Notice, Outcome, OutcomeRow, VersionOwner, describe_omitted,
};
use crate::package::prebuilt_archive::{self, PrebuiltArchive};
use crate::recipe::ArchiveFolder;
use crate::store::StagedArchive;
use crate::util::clock::now;
use crate::util::digest::Sha256;

/// When archives were added, by their file names.
type Dates = BTreeMap<String, Timestamp>;

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
    let is_unchanged = |report: &&SourceReport| report.is_current(rules, &refs) && report.added.is_some();
    if let Some(unchanged) = previous.filter(is_unchanged) {
        return Ok((unchanged.clone(), 0));
    }
    let known = previous.and_then(|report| report.added.clone()).unwrap_or_default();
    let added = added(folder, resources, known)?;
    let batch = collect(ctx, folder, resources, &added, &Requirements::of_source(ctx)?, None, budget)?;
    let Published { rows, notices, count } = batch.publish(ctx)?;
    let report = SourceReport { added: Some(added), notices, ..SourceReport::new(rules, refs, rows) };
    Ok((report, count))
}

/// The path of an archive below the base URL.
pub(super) fn public_path(file: &str) -> String {
    format!("packages/additional/{file}")
}

/// When each archive was added; `known` are the dates of the last cycle.
fn added(folder: &ArchiveFolder, resources: &Resources, mut known: Dates) -> anyhow::Result<Dates> {
    let files = resources.list(&folder.resource, &folder.path)?.into_iter();
    let new: BTreeSet<_> = files.filter(|file| file.ends_with(".zip") && !known.contains_key(file)).collect();
    let count = new.len();
    let found = resources.added_times(&folder.resource, &folder.path, new)?;
    if found.len() < count {
        tracing::warn!(
            source = folder.name,
            "{} archives were added before the history begins that the resource has: they get the date of its newest commit",
            count - found.len()
        );
    }
    let date = |(file, time)| Some((file, Timestamp::from_second(time).ok()?));
    known.extend(found.into_iter().filter_map(date));
    Ok(known)
}

/// Publishes the archives of these rows.
pub(super) fn publish_held_back(
    ctx: &CycleContext<'_>,
    folder: &ArchiveFolder,
    resources: &Resources,
    dates: &Dates,
    requirements: &Requirements<'_>,
    rows: &[OutcomeRow],
    budget: &MetadataBudget<'_>,
) -> anyhow::Result<Published> {
    let packages = rows.iter().map(|row| row.package.as_str()).collect();
    collect(ctx, folder, resources, dates, requirements, Some(&packages), budget)?.publish(ctx)
}

/// The versions that a folder has, readable ones only.
pub(super) fn versions(
    ctx: &CycleContext<'_>,
    folder: &ArchiveFolder,
    resources: &Resources,
) -> anyhow::Result<Vec<ExactVersion>> {
    let files = resources.list(&folder.resource, &folder.path)?;
    let mut versions = Vec::new();
    for file in files.iter().filter(|file| file.ends_with(".zip")) {
        versions.extend(read(ctx, folder, resources, file).map(|(_, archive)| archive.exact_version()));
    }
    Ok(versions)
}

/// Checks and stages the new archives of a folder, or only those of these packages.
fn collect<'a>(
    ctx: &CycleContext<'_>,
    folder: &'a ArchiveFolder,
    resources: &Resources,
    dates: &Dates,
    requirements: &Requirements<'_>,
    packages: Option<&BTreeSet<&str>>,
    budget: &'a MetadataBudget<'_>,
) -> anyhow::Result<Batch<'a>> {
    let commit = resources.commit(&folder.resource)?;
    let published = PublishedVersions::new(ctx);
    let mut batch = Batch::new(&folder.name, Vec::new(), budget);
    let (mut first_files, mut metapackages) = (BTreeMap::new(), Vec::new());
    let mut provided = Provided::new();
    let tag = commit.id.to_string();
    let files = resources.list(&folder.resource, &folder.path)?;
    for file in files.into_iter().filter(|file| file.ends_with(".zip")) {
        ctx.ensure_can_continue()?;
        let (bytes, archive) = match read(ctx, folder, resources, &file) {
            Ok(read) => read,
            Err(error) if packages.is_none() => {
                batch.add_row(&tag, file, Outcome::failed(&error));
                continue;
            }
            Err(_) => continue,
        };
        let package = archive.exact_version();
        if packages.is_some_and(|packages| !packages.contains(&*package.to_string())) {
            continue;
        }
        let notices = notices(ctx, &published, folder, &tag, &archive).into_iter();
        if let Some(first) =
            first_files.insert((archive.name.clone(), archive.version.identity()), file.clone())
        {
            let reason = format!("{file} is the same version as {first}");
            let outcome = Outcome::Excluded { rule: ExclusionRule::AnotherSpelling, reason };
            batch.add_row(&tag, package.to_string(), outcome);
        } else if let Some(outcome) = outcome_by_owner(ctx, &published, folder, &archive) {
            batch.add_notices(notices.filter(|_| outcome == Outcome::AlreadyPublished));
            batch.add_row(&tag, package.to_string(), outcome);
        } else {
            let staged = stage(ctx, folder, &file, &archive, &bytes, commit, dates.get(&file)).map(Some);
            match archive.requires.is_empty() || staged.is_err() {
                true => {
                    provided.extend(staged.is_ok().then(|| held_back::key(&package)));
                    batch.add_notices(notices.filter(|_| staged.is_ok()));
                    batch.add(&tag, package.to_string(), staged);
                }
                false => metapackages.push(Candidate {
                    package,
                    requires: archive.requires,
                    is_metapackage: true,
                    value: (staged, notices),
                }),
            }
        }
    }
    let (complete, incomplete) = requirements.split(metapackages, &provided);
    for Candidate { package, value: (staged, notices), .. } in complete {
        batch.add_notices(notices);
        batch.add(&tag, package.to_string(), staged);
    }
    for (Candidate { package, value: (staged, _), .. }, missing) in incomplete {
        if let Some((staged, _)) = staged? {
            ctx.store.discard(&staged)?;
        }
        batch.add_row(&tag, package.to_string(), held_back::outcome(missing));
    }
    Ok(batch)
}

/// What users of an archive should know.
fn notices(
    ctx: &CycleContext<'_>,
    published: &PublishedVersions,
    folder: &ArchiveFolder,
    tag: &str,
    archive: &PrebuiltArchive,
) -> Vec<Notice> {
    let package = archive.exact_version().to_string();
    let replaced = published.name_owners().describe_replaced(ctx, &folder.name, &archive.replaces);
    let reasons = describe_omitted(&archive.omitted).into_iter().chain(replaced);
    reasons.map(|reason| Notice { tag: tag.to_owned(), package: package.clone(), reason }).collect()
}

/// The bytes of an archive, its name and its version.
pub(super) fn read(
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

/// The outcome of an archive that must not be published: its version is, or its package belongs to another source.
fn outcome_by_owner(
    ctx: &CycleContext<'_>,
    published: &PublishedVersions,
    folder: &ArchiveFolder,
    archive: &PrebuiltArchive,
) -> Option<Outcome> {
    let failed = |reason| Some(Outcome::Failed { reason });
    match published.owner(ctx, &folder.name, &archive.name, &archive.version) {
        VersionOwner::Nobody { .. } => None,
        VersionOwner::Imported => Some(Outcome::AlreadyPublished),
        VersionOwner::ThisSource(same) if same.version == archive.version.as_str() => {
            Some(Outcome::AlreadyPublished)
        }
        VersionOwner::ThisSource(same) => {
            let reason = format!("Composer reads it as {}, which is published", same.version);
            Some(Outcome::Excluded { rule: ExclusionRule::AnotherSpelling, reason })
        }
        VersionOwner::PrebuiltArchives(source)
        | VersionOwner::OtherSource(source)
        | VersionOwner::StandIn(source) => failed(format!("source `{source}` has published this version")),
        VersionOwner::OwnerOfName(owner) => failed(format!(
            "the package belongs to source `{owner}`, which published it first; if this folder may publish it, too, the recipe says so with `takes_over: [{}]` in that source",
            folder.name
        )),
    }
}

fn stage(
    ctx: &CycleContext<'_>,
    folder: &ArchiveFolder,
    file: &str,
    archive: &PrebuiltArchive,
    bytes: &[u8],
    commit: &Commit,
    added: Option<&Timestamp>,
) -> anyhow::Result<(StagedArchive, Release)> {
    let staged = ctx.store.stage_bytes(bytes)?;
    let newest = || Timestamp::from_second(commit.time).context("the commit has an impossible date");
    let committed = added.map_or_else(newest, |added| Ok(*added))?;
    let mut release = Release {
        number: 0,
        kind: ReleaseKind::Package,
        previous: Sha256([0; 32]),
        name: archive.name.to_string(),
        version: archive.version.to_string(),
        file: Some(public_path(file)),
        bound: None,
        sha1: staged.digests.sha1,
        sha256: staged.digests.sha256,
        size: staged.digests.size,
        source: folder.name.clone(),
        tag: ctx.recipe.resources[&folder.resource].reference.clone(),
        commit: commit.id.to_string(),
        tree: commit.tree.to_string(),
        committed,
        time: now(),
        upstream: None,
    };
    file_names::avoid_published(ctx, &mut release);
    ctx.store.check_free(&staged, &release)?;
    Ok((staged, release))
}
