//! The packages of one source: planned, built several at a time, published together.

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::Timestamp;

use super::resources::Resources;
use super::{CycleContext, Fetched, Found, ProgressEvent, SourceReport, divergence, now, parallel};
use crate::composer::{PackageName, Version};
use crate::git::{BareClone, BlobCache};
use crate::ledger::{Ledger, Release, ReleaseKind};
use crate::package::plan::{self, Build, Outcome, OutcomeRow, Plan, PlanContext, VersionOwner};
use crate::package::{build, planner};
use crate::recipe::Source;
use crate::store::Staged;
use crate::util::digest::Sha256;

pub(super) fn plan_releases(
    job: &CycleContext<'_>,
    source: &Source,
    clone: &BareClone,
    releases: &[plan::ResolvedRef],
    resources: &Resources,
) -> Plan {
    let claimed = |name: &_, version: &_| claim(job, source, name, version);
    plan_with(job, source, clone, releases, resources, &claimed)
}

pub(super) fn plan_with(
    job: &CycleContext<'_>,
    source: &Source,
    clone: &BareClone,
    releases: &[plan::ResolvedRef],
    resources: &Resources,
    claimed: &dyn Fn(&PackageName, &Version) -> VersionOwner,
) -> Plan {
    let around = PlanContext {
        claimed,
        resource: &|name, path| resources.read(name, path),
        base_url: &job.base_url.to_string(),
        limits: &job.limits,
    };
    planner::plan(source, releases, clone, &around)
}

fn claim(job: &CycleContext<'_>, source: &Source, name: &PackageName, version: &Version) -> VersionOwner {
    let base_url = job.base_url.to_string();
    let by = job.store.ledger(|ledger| {
        let release = ledger.find_for(&name.to_string(), version.as_str(), &base_url);
        release.map(|release| release.source.clone())
    });
    match by {
        None => VersionOwner::Nobody,
        Some(by) if by == source.name => VersionOwner::ThisSource,
        Some(by) if job.recipe.archives.iter().any(|folder| folder.name == by) => {
            VersionOwner::PrebuiltArchives(by)
        }
        Some(by) => VersionOwner::OtherSource(by),
    }
}

/// What the versions of a source are made by, beside its refs.
pub(super) fn fingerprint(
    job: &CycleContext<'_>,
    source: &Source,
    fetched: &Fetched,
) -> anyhow::Result<Sha256> {
    let mut depends = vec![job.base_url.to_string()];
    if source.resources().next().is_some() {
        depends.extend(fetched.resources.commits());
    }
    if source.nightly.is_some() {
        depends.extend(fetched.night.date.clone());
        depends.push(serde_json::to_string(&*fetched.night.pins)?);
    }
    Ok(source.fingerprint(&depends))
}

/// Plans and builds one source; answers its report and how many versions are new.
pub(super) fn build_source(
    job: &CycleContext<'_>,
    source: &Source,
    fetched: &Fetched,
    known: Option<&SourceReport>,
) -> anyhow::Result<(SourceReport, usize)> {
    let mut found = fetched.releases(source)?;
    let mut lines = std::mem::take(&mut found.lines);
    let Found {
        folder,
        clone,
        releases,
        ..
    } = &found;
    let rules = fingerprint(job, source, fetched)?;
    let commits: BTreeMap<_, _> = releases
        .iter()
        .map(|r| (r.tag.clone(), r.commit.to_string()))
        .collect();
    let is_known = |k: &&SourceReport| k.is_complete() && k.rules == Some(rules) && k.refs == commits;
    if let Some(known) = known.filter(is_known)
        && lines.is_empty()
    {
        return Ok((known.clone(), 0));
    }
    let known_part = known.filter(|known| lines.is_empty() && known.is_part_of(rules, &commits));
    let is_new =
        |release: &&plan::ResolvedRef| known_part.is_none_or(|known| !known.refs.contains_key(&release.tag));
    let new: Vec<_> = releases.iter().filter(is_new).cloned().collect();
    let mut plan = plan_releases(job, source, clone, &new, &fetched.resources);
    if known_part.is_some() {
        // What a rule matches in other refs it matches still.
        plan.unused.clear();
    }
    for unused in &plan.unused {
        tracing::warn!(source = source.name, "the recipe is out of date: {unused}");
    }
    lines.append(&mut plan.lines);
    let recent = BlobCache::default();
    let open = || Ok(BareClone::open(folder)?.with_blob_cache(&recent));
    (job.progress)(ProgressEvent::Building {
        source: &source.name,
        packages: plan.builds.len() as u64,
    });
    // The versions of a package one after the other: they share blobs.
    let mut order: Vec<_> = (0..plan.builds.len()).collect();
    order.sort_by_key(|&i| &plan.builds[i].name);
    let built = parallel::map(&order, job.workers, open, |clone, &i| {
        let staged = stage(job, source, clone, &plan.builds[i]);
        (job.progress)(ProgressEvent::Built);
        staged
    });
    let built: BTreeMap<_, _> = order.into_iter().zip(built).collect();
    let mut batch = Vec::new();
    for (build, result) in plan.builds.iter().zip(built.into_values()) {
        let outcome = match result {
            Ok(Some(staged)) => {
                batch.push(staged);
                Outcome::Published
            }
            Ok(None) => Outcome::AlreadyPublished,
            Err(error) => Outcome::Failed {
                reason: format!("{error:#}"),
            },
        };
        lines.push(OutcomeRow {
            source: source.name.clone(),
            tag: build.release.tag.clone(),
            package: format!("{} {}", build.name, build.version),
            outcome,
        });
    }
    let new = batch.len();
    if new > 0 {
        job.store.publish(batch)?;
    }
    let mut report = SourceReport {
        unused: plan.unused,
        ..SourceReport::new(rules, commits, lines)
    };
    if let Some(known) = known_part {
        report.published += known.published;
        report.excluded.splice(0..0, known.excluded.iter().cloned());
    }
    divergence::examine(job, source, &found, &fetched.resources, known, &mut report)?;
    Ok((report, new))
}

/// Writes the archive aside; `None` if it is a nightly version that is published with the same bytes, and not withdrawn since.
fn stage(
    job: &CycleContext<'_>,
    source: &Source,
    clone: &BareClone,
    build: &Build,
) -> anyhow::Result<Option<(Staged, Release)>> {
    let staged = job
        .store
        .stage(|sink| build::archive(build, source, clone, &job.limits, sink))?;
    let (name, version) = (build.name.to_string(), build.version.to_string());
    let base_url = job.base_url.to_string();
    let kind = match build.release.nightly {
        Some(_) => ReleaseKind::Dev,
        None => ReleaseKind::Package,
    };
    let before = |ledger: &Ledger| ledger.find_for(&name, &version, &base_url).cloned();
    let before = job.store.ledger(before);
    let latest = job.store.latest_snapshot()?;
    let stands = |before: &Release| {
        let latest = latest.as_ref().map(|latest| &latest.manifest);
        latest.is_none_or(|latest| !latest.withdraws(before.number))
    };
    let is_same = |before: &Release| before.sha256 == staged.digests.sha256 && stands(before);
    if before.as_ref().is_some_and(is_same) {
        return Ok(None);
    }
    // One version has one file for each URL that it was bound to, and each later state of a nightly one has its own.
    let mark = match before {
        Some(_) => Some(staged.digests.sha256),
        None => build.bound.then(|| Sha256::digest(base_url.as_bytes())),
    };
    let file = mark.map(|mark| format!("packages/{name}-{version}-{}.zip", &mark.to_string()[..8]));
    let release = Release {
        number: 0,
        kind,
        previous: Sha256([0; 32]),
        name,
        version,
        file,
        bound: build.bound.then_some(base_url),
        sha1: staged.digests.sha1,
        sha256: staged.digests.sha256,
        size: staged.digests.size,
        source: source.name.clone(),
        tag: build.release.tag.clone(),
        commit: build.release.commit.to_string(),
        tree: build
            .folder
            .as_ref()
            .map_or(build.release.tree, |folder| folder.tree)
            .to_string(),
        committed: Timestamp::from_second(build.release.time).context("the commit has an impossible date")?,
        time: now(),
    };
    job.store.check_free(&staged, &release)?;
    Ok(Some((staged, release)))
}
