//! Builds the packages of one source: several archives at a time, published together.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::Context as _;
use jiff::Timestamp;

use super::batch::{Batch, Published};
use super::context::{CycleContext, ProgressEvent};
use super::divergence::Diverged;
use super::held_back::{Candidate, Requirements};
use super::inputs::{FetchedInputs, SourceRefs};
use super::metadata_budget::MetadataBudget;
use super::name_owners::NameOwners;
use super::planning::plan_refs;
use super::report::SourceReport;
use super::{composer_source, file_names, held_back};
use crate::git::{BareClone, BlobCache};
use crate::ledger::{Release, ReleaseKind};
use crate::package::build;
use crate::package::checkout_differences::CheckoutDifferences;
use crate::package::limits;
use crate::package::plan::{Build, Notice, Outcome, OutcomeRow, ResolvedRef, describe_omitted};
use crate::package::uncovered_manifests::{self, UncoveredManifests};
use crate::recipe::Source;
use crate::store::StagedArchive;
use crate::util::clock::now;
use crate::util::digest::Sha256;
use crate::util::parallel;

/// Plans and builds one source; returns its report and the number of new versions.
///
/// A source whose rules and refs are those of its previous complete report is not planned again. If refs were only
/// added, only these are planned.
pub(super) fn build_source(
    ctx: &CycleContext<'_>,
    source: &Source,
    inputs: &FetchedInputs,
    previous: Option<&SourceReport>,
    budget: &MetadataBudget<'_>,
) -> anyhow::Result<(SourceReport, usize)> {
    let mut source_refs = inputs.source_refs(ctx, source)?;
    let mut rows = std::mem::take(&mut source_refs.rows);
    let passed_over = std::mem::take(&mut source_refs.passed_over);
    let rules = inputs.fingerprint(ctx, source)?;
    let commits: BTreeMap<_, _> =
        source_refs.refs.iter().map(|git_ref| (git_ref.tag.clone(), git_ref.commit.to_string())).collect();
    // A ref that cannot be resolved must be reported by every cycle.
    let previous_report = previous.filter(|_| rows.is_empty());
    if let Some(unchanged) = previous_report.filter(|report| report.is_current(rules, &commits)) {
        return Ok((SourceReport { passed_over, ..unchanged.clone() }, 0));
    }
    let kept = previous_report.filter(|report| report.is_part_of(rules, &commits));
    let new_refs: Vec<_> = source_refs
        .refs
        .iter()
        .filter(|git_ref| kept.is_none_or(|report| !report.refs.contains_key(&git_ref.tag)))
        .cloned()
        .collect();
    let mut plan = plan_refs(ctx, source, &source_refs.clone, &new_refs, &inputs.resources)?;
    inputs.nightly.refuse_unreadable(source, &mut plan);
    if kept.is_some() {
        // The rules that match nothing in the new refs still match the old ones.
        plan.unused.clear();
    }
    for unused in &plan.unused {
        tracing::warn!(source = source.name, "the recipe is out of date: {unused}");
    }
    rows.append(&mut plan.rows);
    // Before anything is published.
    let is_listed =
        |row: &&OutcomeRow| !matches!(row.outcome, Outcome::Published | Outcome::AlreadyPublished);
    limits::check_report(ctx.limits, passed_over.len() + rows.iter().filter(is_listed).count())?;
    let mut batch = Batch::new(&source.name, rows, budget);
    batch.add_notices(std::mem::take(&mut plan.notices));
    let requirements = Requirements::of_source(ctx)?;
    build_archives(ctx, source, &source_refs, &requirements, &plan.builds, &mut batch)?;
    let Published { rows, notices, count } = batch.publish(ctx)?;
    let mut report = SourceReport::new(rules, commits, rows);
    let built: Vec<_> = plan.builds.iter().map(|b| (b.git_ref.tag.clone(), b.name.to_string())).collect();
    report.add_notices(notices, previous, &built);
    report.passed_over = passed_over;
    report.uncovered = uncovered(ctx, source, &source_refs, rules, previous)?;
    report.unused = plan.unused;
    if let Some(kept) = kept {
        report.published += kept.published;
        report.excluded.splice(0..0, kept.excluded.iter().cloned());
        report.held_back.splice(0..0, kept.held_back.iter().cloned());
    }
    let resources = &inputs.resources;
    Diverged::find(ctx, source, &source_refs, resources, previous)?.record(ctx, &mut report)?;
    composer_source::compare_stand_ins(ctx, source, &source_refs, resources, rules, previous, &mut report)?;
    Ok((report, count))
}

/// The manifests that no rule covers. Those of refs that have not changed since the previous report, by the same rules, are
/// taken from it.
fn uncovered(
    ctx: &CycleContext<'_>,
    source: &Source,
    source_refs: &SourceRefs,
    rules: Sha256,
    previous: Option<&SourceReport>,
) -> anyhow::Result<UncoveredManifests> {
    let known = previous.filter(|report| report.rules == Some(rules));
    let is_known = |git_ref: &&ResolvedRef| {
        known.is_some_and(|report| report.refs.get(&git_ref.tag) == Some(&git_ref.commit.to_string()))
    };
    let (unchanged, new): (Vec<_>, Vec<_>) = source_refs.refs.iter().partition(is_known);
    let new: Vec<_> = new.into_iter().cloned().collect();
    let mut found = uncovered_manifests::find(source, &new, &source_refs.clone, ctx.limits, &|| {
        ctx.ensure_can_continue()
    })?;
    let unchanged: HashSet<_> = unchanged.into_iter().map(|git_ref| &git_ref.tag).collect();
    for (path, tags) in known.iter().flat_map(|report| &report.uncovered) {
        let kept: Vec<_> = tags.iter().filter(|tag| unchanged.contains(tag)).cloned().collect();
        if !kept.is_empty() {
            found.entry(path.clone()).or_default().splice(0..0, kept);
        }
    }
    Ok(found)
}

/// Plans the refs of these rows again and builds their packages.
pub(super) fn build_held_back(
    ctx: &CycleContext<'_>,
    source: &Source,
    inputs: &FetchedInputs,
    requirements: &Requirements<'_>,
    rows: &[OutcomeRow],
    budget: &MetadataBudget<'_>,
) -> anyhow::Result<Published> {
    let source_refs = inputs.source_refs(ctx, source)?;
    let packages: BTreeSet<_> = rows.iter().map(|row| (row.tag.as_str(), row.package.as_str())).collect();
    let is_held_back = |tag: &str, package: &str| packages.contains(&(tag, package));
    let tags: HashSet<_> = rows.iter().map(|row| &row.tag).collect();
    let refs = source_refs.refs.iter().filter(|git_ref| tags.contains(&git_ref.tag));
    let refs: Vec<_> = refs.cloned().collect();
    let mut plan = plan_refs(ctx, source, &source_refs.clone, &refs, &inputs.resources)?;
    plan.builds.retain(|build| is_held_back(&build.git_ref.tag, &build.package()));
    plan.rows.retain(|row| is_held_back(&row.tag, &row.package));
    let mut batch = Batch::new(&source.name, plan.rows, budget);
    build_archives(ctx, source, &source_refs, requirements, &plan.builds, &mut batch)?;
    batch.publish(ctx)
}

/// Stages the archives of these builds, the metapackages last.
fn build_archives(
    ctx: &CycleContext<'_>,
    source: &Source,
    source_refs: &SourceRefs,
    requirements: &Requirements<'_>,
    builds: &[Build],
    batch: &mut Batch<'_>,
) -> anyhow::Result<()> {
    (ctx.progress)(ProgressEvent::Building { source: &source.name, packages: builds.len() as u64 });
    let (metapackages, mut packages): (Vec<_>, Vec<_>) =
        (0..builds.len()).partition(|&index| !builds[index].requires.is_empty());
    // Build the versions of one package after each other: they share blobs.
    packages.sort_by_key(|&index| &builds[index].name);
    let mut staged = stage_all(ctx, source, source_refs, builds, &packages);
    let provided = staged.iter().filter(|(_, result)| result.is_ok());
    let provided = provided.map(|(&index, _)| held_back::key(&builds[index].exact_version())).collect();
    let candidates = |indices: Vec<usize>| {
        indices.into_iter().map(|index| Candidate::new(&builds[index], index)).collect::<Vec<_>>()
    };
    let (complete, mut incomplete) = requirements.split(candidates(metapackages), &provided);
    let complete: Vec<_> = complete.into_iter().map(|candidate| candidate.value).collect();
    staged.extend(stage_all(ctx, source, source_refs, builds, &complete));
    // Metapackages may require each other, and one of them may have failed.
    let built = complete.into_iter().filter(|index| staged[index].is_ok()).collect();
    incomplete.extend(requirements.split(candidates(built), &provided).1);
    let mut lacks: BTreeMap<_, _> =
        incomplete.into_iter().map(|(candidate, missing)| (candidate.value, missing)).collect();
    for (index, build) in builds.iter().enumerate() {
        let (tag, package) = (&build.git_ref.tag, build.package());
        match (staged.remove(&index), lacks.remove(&index)) {
            (staged, Some(missing)) => {
                if let Some(Ok((Some((archive, _)), _))) = staged {
                    ctx.store.discard(&archive)?;
                }
                batch.add_row(tag, package, held_back::outcome(missing));
            }
            (Some(result), None) => {
                let result = result.map(|(staged, notices)| {
                    batch.add_notices(notices);
                    staged
                });
                batch.add(tag, package, result);
            }
            (None, None) => {}
        }
    }
    Ok(())
}

/// Stages some of the builds, several at a time; returns the results by index.
fn stage_all(
    ctx: &CycleContext<'_>,
    source: &Source,
    source_refs: &SourceRefs,
    builds: &[Build],
    indices: &[usize],
) -> BTreeMap<usize, anyhow::Result<Staged>> {
    let (recent, owners) = (BlobCache::default(), NameOwners::new(ctx));
    // A clone is not shared between threads.
    let folder = &source_refs.folder;
    let open = || Ok(BareClone::open(folder, ctx.limits.tree)?.with_blob_cache(&recent));
    let results = parallel::map(indices, ctx.workers, open, |clone, &index| {
        ctx.ensure_can_continue()?;
        let staged = stage(ctx, source, clone, &owners, &builds[index]);
        (ctx.progress)(ProgressEvent::Built);
        staged
    });
    indices.iter().copied().zip(results).collect()
}

/// A staged archive with its release; `None` if it is a nightly version that is published with the same bytes and was not
/// withdrawn. Beside it, what users of the version should know.
type Staged = (Option<(StagedArchive, Release)>, Vec<Notice>);

/// Writes one archive to the staging folder.
fn stage(
    ctx: &CycleContext<'_>,
    source: &Source,
    clone: &BareClone,
    owners: &NameOwners,
    build: &Build,
) -> anyhow::Result<Staged> {
    let mut differences = CheckoutDifferences::default();
    let staged =
        ctx.store.stage(|sink| build::archive(build, source, clone, ctx.limits, &mut differences, sink))?;
    let manifest = build::unchecked_manifest(build, source, clone, ctx.limits)?;
    let reasons = differences
        .describe()
        .into_iter()
        .chain(describe_omitted(&manifest.omitted_fields()))
        .chain(owners.describe_replaced(ctx, &source.name, &manifest.replaced_packages()));
    let (tag, package) = (&build.git_ref.tag, build.package());
    let notices =
        reasons.map(|reason| Notice { tag: tag.clone(), package: package.clone(), reason }).collect();
    let (name, version) = (build.name.to_string(), build.version.to_string());
    let base_url = ctx.base_url.to_string();
    let published = ctx.store.ledger(|ledger| ledger.find_for(&name, &version, &base_url).cloned());
    let latest = ctx.store.latest_snapshot()?;
    let is_withdrawn =
        |release: &Release| latest.as_ref().is_some_and(|latest| latest.manifest.withdraws(release.number));
    if let Some(published) = &published
        && published.sha256 == staged.digests.sha256
        && !is_withdrawn(published)
    {
        return Ok((None, notices));
    }
    // A version has one file for each URL that it was bound to, and a nightly version has one for each state.
    let suffix = match published {
        Some(_) => Some(staged.digests.sha256),
        None => build.bound.then(|| Sha256::digest(base_url.as_bytes())),
    };
    let tree = build.folder.as_ref().map_or(build.git_ref.tree, |folder| folder.tree);
    let mut release = Release {
        number: 0,
        previous: Sha256([0; 32]),
        kind: match build.git_ref.nightly {
            Some(_) => ReleaseKind::Dev,
            None => ReleaseKind::Package,
        },
        file: suffix.map(|digest| format!("packages/{name}-{version}-{}.zip", &digest.to_string()[..8])),
        name,
        version,
        bound: build.bound.then_some(base_url),
        sha1: staged.digests.sha1,
        sha256: staged.digests.sha256,
        size: staged.digests.size,
        source: source.name.clone(),
        tag: build.git_ref.tag.clone(),
        commit: build.git_ref.commit.to_string(),
        tree: tree.to_string(),
        committed: Timestamp::from_second(build.git_ref.time).context("the commit has an impossible date")?,
        time: now(),
        upstream: None,
    };
    file_names::avoid_published(ctx, &mut release);
    ctx.store.check_free(&staged, &release)?;
    Ok((Some((staged, release)), notices))
}
