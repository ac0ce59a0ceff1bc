//! Builds published versions again from git, to compare them with the ledger or to repair damaged archives.
//!
//! A version is built only from the commit that it was published from: another commit says nothing about its bytes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use anyhow::{Context as _, anyhow, bail};

use super::composer_source;
use super::context::{CycleContext, ProgressEvent};
use super::file_names;
use super::follow;
use super::inputs::{FetchedInputs, SourceRefs};
use super::planning::plan_unpublished;
use super::redact_urls::with_recipe_urls;
use super::report::Report;
use crate::ledger::Release;
use crate::package::build;
use crate::package::checkout_differences::CheckoutDifferences;
use crate::package::plan::{Build, Outcome};
use crate::recipe::{ComposerSource, Source};
use crate::store::StagedArchive;
use crate::store::durable_fs::{Digests, HashingWriter};
use crate::util::digest::{Sha1, Sha256};

/// The result of building a published version again.
#[derive(Debug)]
pub enum RebuildOutcome {
    /// The bytes are the published ones.
    Equal,
    /// The bytes are the published ones, and the damaged archive was replaced.
    Repaired,
    /// The bytes differ.
    Different(Digests),
    /// The version cannot be built from its commit.
    Impossible(String),
}

/// Builds these releases again; with `repair`, each also replaces its archive if it has the ledger's digest.
pub fn rebuild(
    ctx: &CycleContext<'_>,
    wanted: &[Release],
    repair: bool,
) -> anyhow::Result<Vec<(Release, RebuildOutcome)>> {
    if !ctx.follow.is_empty() {
        return follow::refetch(ctx, wanted, repair);
    }
    let latest = ctx.store.latest_snapshot()?;
    let previous = latest.as_ref().map(Report::from_snapshot).unwrap_or_default();
    rebuild_from(ctx, &FetchedInputs::fetch(ctx, &previous), wanted, repair)
}

/// The same from what a cycle has fetched.
pub(super) fn rebuild_from(
    ctx: &CycleContext<'_>,
    inputs: &FetchedInputs,
    wanted: &[Release],
    repair: bool,
) -> anyhow::Result<Vec<(Release, RebuildOutcome)>> {
    let mut results = Vec::new();
    for source in &ctx.recipe.sources {
        let releases: Vec<_> = wanted.iter().filter(|r| r.source == source.name).collect();
        if !releases.is_empty() {
            results.extend(rebuild_source(ctx, source, inputs, &releases, repair));
            ctx.ensure_can_continue()?;
        }
    }
    let is_prebuilt = |release: &&Release| !ctx.recipe.sources.iter().any(|s| s.name == release.source);
    for release in wanted.iter().filter(is_prebuilt) {
        let composer = ctx.recipe.composer.iter().find(|source| source.name == release.source);
        let result = match composer {
            Some(source) => download_again(ctx, source, release, repair),
            None => reread_prebuilt(ctx, inputs, release, repair),
        };
        results.push((release.clone(), or_impossible(ctx, release, repair, result)));
    }
    Ok(results)
}

fn rebuild_source(
    ctx: &CycleContext<'_>,
    source: &Source,
    inputs: &FetchedInputs,
    releases: &[&Release],
    repair: bool,
) -> Vec<(Release, RebuildOutcome)> {
    (ctx.progress)(ProgressEvent::Building { source: &source.name, packages: releases.len() as u64 });
    let source_refs = inputs.source_refs(ctx, source);
    let mut planned = PlannedBuilds::default();
    let mut results = Vec::new();
    for &release in releases {
        let result = match &source_refs {
            Ok(source_refs) => planned
                .get(ctx, source, source_refs, inputs, release)
                .and_then(|build| rebuild_release(ctx, source, source_refs, build, release, repair)),
            Err(error) => Err(anyhow!("{error:#}")),
        };
        results.push((release.clone(), or_impossible(ctx, release, repair, result)));
        (ctx.progress)(ProgressEvent::Built);
    }
    results
}

/// The reason is public; only the log has the fetched URLs.
fn or_impossible(
    ctx: &CycleContext<'_>,
    release: &Release,
    repair: bool,
    result: anyhow::Result<RebuildOutcome>,
) -> RebuildOutcome {
    result.unwrap_or_else(|error| {
        let (package, version) = (&release.name, &release.version);
        // A comparison says it itself.
        match repair {
            true => tracing::warn!(package, version, "failed to build a published version again: {error:#}"),
            false => tracing::debug!(package, version, "not compared: {error:#}"),
        }
        RebuildOutcome::Impossible(with_recipe_urls(ctx, &format!("{error:#}")))
    })
}

/// The builds of each tag that was planned.
#[derive(Default)]
struct PlannedBuilds(BTreeMap<String, Vec<Build>>);

impl PlannedBuilds {
    fn get(
        &mut self,
        ctx: &CycleContext<'_>,
        source: &Source,
        source_refs: &SourceRefs,
        inputs: &FetchedInputs,
        release: &Release,
    ) -> anyhow::Result<&Build> {
        let Some(git_ref) = source_refs.refs.iter().find(|r| r.tag == release.tag) else {
            let failed = source_refs.rows.iter().find(|row| row.tag == release.tag);
            match failed.map(|row| &row.outcome) {
                Some(Outcome::Failed { reason }) => bail!("{reason}"),
                _ => bail!("upstream no longer has `{}`", release.tag),
            }
        };
        if git_ref.commit.to_string() != release.commit {
            bail!(
                "upstream moved `{}` to commit {}; the version was published from {}",
                release.tag,
                git_ref.commit,
                release.commit
            );
        }
        let builds = match self.0.entry(release.tag.clone()) {
            Entry::Occupied(planned) => planned.into_mut(),
            Entry::Vacant(place) => {
                let refs = std::slice::from_ref(git_ref);
                place.insert(
                    plan_unpublished(ctx, source, &source_refs.clone, refs, &inputs.resources)?.builds,
                )
            }
        };
        builds
            .iter()
            .find(|build| build.name.to_string() == release.name && build.version.as_str() == release.version)
            .context("the recipe no longer makes this version from its commit")
    }
}

fn rebuild_release(
    ctx: &CycleContext<'_>,
    source: &Source,
    source_refs: &SourceRefs,
    build: &Build,
    release: &Release,
    repair: bool,
) -> anyhow::Result<RebuildOutcome> {
    if !release.is_for(&ctx.base_url.to_string()) {
        bail!("it was published for another base URL");
    }
    let clone = &source_refs.clone;
    let differences = &mut CheckoutDifferences::default();
    if repair {
        let staged =
            ctx.store.stage(|sink| build::archive(build, source, clone, ctx.limits, differences, sink))?;
        return repair_or_compare(ctx, &staged, release, repair);
    }
    let sink = build::archive(build, source, clone, ctx.limits, differences, HashingWriter::sink())?;
    Ok(compare(sink.digests(), release))
}

/// Takes an archive from its Composer repository again.
fn download_again(
    ctx: &CycleContext<'_>,
    source: &ComposerSource,
    release: &Release,
    repair: bool,
) -> anyhow::Result<RebuildOutcome> {
    let staged = composer_source::redownload(ctx, source, release)?;
    repair_or_compare(ctx, &staged, release, repair)
}

/// Takes a prebuilt archive from its resource again.
fn reread_prebuilt(
    ctx: &CycleContext<'_>,
    inputs: &FetchedInputs,
    release: &Release,
    repair: bool,
) -> anyhow::Result<RebuildOutcome> {
    let Some(folder) = ctx.recipe.archives.iter().find(|f| f.name == release.source) else {
        match ctx.recipe.source_names().next() {
            Some(_) => bail!("the recipe has no source `{}`", release.source),
            None => bail!("import it again"),
        }
    };
    let read = |path: &str| {
        let file = path.rsplit('/').next().unwrap_or_default();
        inputs.resources.read_archive(&folder.resource, &format!("{}/{file}", folder.path))
    };
    let bytes = match read(&release.path())? {
        Some(bytes) => Some(bytes),
        None => read(&file_names::without_digest(release))?,
    };
    let bytes = bytes.with_context(|| format!("its folder no longer has `{}`", release.path()))?;
    if !repair {
        let (sha1, sha256) = (Sha1::digest(&bytes), Sha256::digest(&bytes));
        return Ok(compare(Digests { sha1, sha256, size: bytes.len() as u64 }, release));
    }
    repair_or_compare(ctx, &ctx.store.stage_bytes(&bytes)?, release, repair)
}

/// Puts staged bytes into the place of a published archive, or compares them with it.
pub(super) fn repair_or_compare(
    ctx: &CycleContext<'_>,
    staged: &StagedArchive,
    release: &Release,
    repair: bool,
) -> anyhow::Result<RebuildOutcome> {
    if repair {
        ctx.store.repair(staged, release)?;
        return Ok(RebuildOutcome::Repaired);
    }
    ctx.store.discard(staged)?;
    Ok(compare(staged.digests, release))
}

fn compare(digests: Digests, release: &Release) -> RebuildOutcome {
    if digests.sha256 == release.sha256 { RebuildOutcome::Equal } else { RebuildOutcome::Different(digests) }
}
