//! Composer repositories as sources: each version that the recipe takes is published with the bytes of its archive.
//!
//! The first bytes are final. What the repository has under a published version later is compared and recorded. A version that
//! cannot be had is a failed row; the others are published.

mod archive;
mod changed;
mod closure;
mod listing;
mod plan;
mod stand_ins;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use parking_lot::Mutex;
use url::Url;

use self::archive::{Staged, stage};
use self::closure::UpstreamState;
use self::listing::{Listing, WantedVersion};
use super::batch::{Batch, Published};
use super::context::{CycleContext, ProgressEvent};
use super::held_back::{self, Candidate, Provided, Requirements};
use super::metadata_budget::MetadataBudget;
use super::planning::PublishedVersions;
use super::report::SourceReport;
use crate::composer_repository::{Access, ComposerRepository, MAX_REQUESTS, Versions};
use crate::config::Limits;
use crate::net::{USER_AGENT, redacted};
use crate::package::plan::{ExclusionRule, Outcome, OutcomeRow, VersionOwner};
use crate::recipe::ComposerSource;
use crate::util::digest::Sha256;
use crate::util::parallel;

pub(super) use archive::{download, redownload};
pub use plan::{ComposerPlan, plan_composer};
pub(super) use stand_ins::compare as compare_stand_ins;

/// Changes with what a report says, so that an update of the program asks again.
const REPORT_FORMAT: &str = "composer 1";

/// Whether the repository will be asked for anything.
pub(super) fn is_asked(source: &ComposerSource, waiting: &BTreeSet<String>) -> bool {
    source.stands_in_for.is_none() || !waiting.is_empty()
}

/// Publishes the new versions of a Composer repository; returns its report and how many are new. One that stands in for a git
/// source is only asked for its tags that are `waiting`.
pub(super) fn publish(
    ctx: &CycleContext<'_>,
    source: &ComposerSource,
    waiting: &BTreeSet<String>,
    previous: Option<&SourceReport>,
    budget: &MetadataBudget<'_>,
) -> anyhow::Result<(SourceReport, usize)> {
    let rules = Sha256::digest(&serde_json::to_vec(&(REPORT_FORMAT, source, ctx.base_url.to_string()))?);
    if !is_asked(source, waiting) {
        let rows = published_rows(ctx, source, &BTreeSet::new());
        let report = SourceReport::new(rules, BTreeMap::new(), rows);
        return Ok((SourceReport { listed: Some(BTreeMap::new()), ..report }, 0));
    }
    let repository = open(ctx, source)?;
    let listing = match source.is_closure() {
        true => closure::read(ctx, source, &repository, previous)?,
        false => listing::read(ctx, source, waiting, &repository)?,
    };
    let digests = listing.digests();
    // A closure also reports what is not taken, and what became of published versions.
    let is_unchanged = |report: &&SourceReport| {
        !source.is_closure()
            && report.is_current(rules, &BTreeMap::new())
            && report.listed.as_ref() == Some(&digests)
    };
    if let Some(unchanged) = previous.filter(is_unchanged) {
        finish(&repository);
        return Ok((unchanged.clone(), 0));
    }
    let (changed, examined) = changed::find(ctx, source, &repository, &listing, previous)?;
    let mut listing = listing;
    let (unused, upstream) = (std::mem::take(&mut listing.unused), std::mem::take(&mut listing.upstream));
    let published: BTreeSet<_> = listing.wanted.iter().map(WantedVersion::package).collect();
    let batch = collect(ctx, source, &repository, listing, &Requirements::of_source(ctx)?, budget)?;
    let Published { mut rows, notices, count } = batch.publish(ctx)?;
    rows.extend(published_rows(ctx, source, &published));
    finish(&repository);
    if source.is_closure() {
        closure::follow_flags(ctx, source, &upstream.withdrawn)?;
    }
    log_news(source, previous, &unused, &upstream);
    let mut report = SourceReport::new(rules, BTreeMap::new(), rows);
    report.notices = notices;
    if let Some(previous) = previous.filter(|_| source.is_closure()) {
        report.notices.extend(previous.notices.iter().cloned());
    }
    report.listed = Some(digests);
    report.unlisted = upstream.unlisted;
    report.abandoned = upstream.abandoned;
    report.unused = unused;
    report.examined = examined;
    report.diverged = changed;
    Ok((report, count))
}

fn log_news(
    source: &ComposerSource,
    previous: Option<&SourceReport>,
    unused: &[String],
    upstream: &UpstreamState,
) {
    let subject = if source.is_closure() { "the closure is incomplete" } else { "the recipe is out of date" };
    let is_known = |unused: &String| {
        source.is_closure() && previous.is_some_and(|previous| previous.unused.contains(unused))
    };
    for unused in unused.iter().filter(|unused| !is_known(unused)) {
        tracing::warn!(source = source.name, "{subject}: {unused}");
    }
    let is_new = |package: &&String| previous.is_none_or(|previous| !previous.unlisted.contains(*package));
    for package in upstream.unlisted.iter().filter(is_new) {
        tracing::warn!(
            source = source.name,
            package,
            "upstream does not list it any more, so the metadata does not either"
        );
    }
}

/// Publishes the versions of these rows.
pub(super) fn publish_held_back(
    ctx: &CycleContext<'_>,
    source: &ComposerSource,
    requirements: &Requirements<'_>,
    rows: &[OutcomeRow],
    budget: &MetadataBudget<'_>,
) -> anyhow::Result<Published> {
    let repository = open(ctx, source)?;
    let tags = rows.iter().map(|row| row.tag.clone()).collect();
    let mut listing = listing::read(ctx, source, &tags, &repository)?;
    listing.rows.clear();
    listing.wanted.retain(|wanted| rows.iter().any(|row| row.package == wanted.package()));
    collect(ctx, source, &repository, listing, requirements, budget)?.publish(ctx)
}

/// Downloads and stages what is not published yet.
fn collect<'a>(
    ctx: &CycleContext<'_>,
    source: &'a ComposerSource,
    repository: &ComposerRepository<'_>,
    listing: Listing,
    requirements: &Requirements<'_>,
    budget: &'a MetadataBudget<'a>,
) -> anyhow::Result<Batch<'a>> {
    let known = PublishedVersions::new(ctx);
    let mut batch = Batch::new(&source.name, listing.rows, budget);
    let mut new = Vec::new();
    for wanted in listing.wanted {
        match outcome_by_owner(ctx, &known, source, &wanted) {
            Some(outcome) => batch.add_row(wanted.version.as_str(), wanted.package(), outcome),
            None => new.push(wanted),
        }
    }
    (ctx.progress)(ProgressEvent::Building { source: &source.name, packages: new.len() as u64 });
    let deadline = Instant::now() + ctx.network.total_timeout;
    let one_in_memory = Mutex::new(());
    let results = parallel::map(
        &new,
        requests(ctx),
        || Ok(()),
        |(): &(), wanted| {
            ctx.ensure_can_continue()?;
            ensure!(
                Instant::now() < deadline,
                "its source took longer than {} s\nhint: the limit is `git.total_timeout` in the configuration",
                ctx.network.total_timeout.as_secs()
            );
            let staged = stage(ctx, source, repository, wanted, &one_in_memory);
            (ctx.progress)(ProgressEvent::Built);
            staged
        },
    );
    let (mut metapackages, mut provided) = (Vec::new(), Provided::new());
    for (wanted, staged) in new.into_iter().zip(results) {
        match staged {
            // What those of a closure pin may be published in another repository.
            Ok(staged) if !staged.requires.is_empty() && !source.is_closure() => {
                metapackages.push(Candidate {
                    package: wanted.exact_version(),
                    requires: staged.requires.clone(),
                    is_metapackage: true,
                    value: staged,
                });
            }
            Ok(staged) => {
                provided.insert(held_back::key(&wanted.exact_version()));
                add(&mut batch, staged);
            }
            Err(error) => batch.add_row(wanted.version.as_str(), wanted.package(), Outcome::failed(&error)),
        }
    }
    let (complete, incomplete) = requirements.split(metapackages, &provided);
    complete.into_iter().for_each(|candidate| add(&mut batch, candidate.value));
    for (Candidate { package, value, .. }, missing) in incomplete {
        ctx.store.discard(&value.archive)?;
        batch.add_row(&package.version, package.to_string(), held_back::outcome(missing));
    }
    Ok(batch)
}

fn add(batch: &mut Batch<'_>, staged: Staged) {
    let Staged { archive, release, notice, .. } = staged;
    let (tag, package) = (release.tag.clone(), release.package());
    batch.add_notices(notice);
    batch.add(&tag, package, Ok(Some((archive, release))));
}

/// A row for each version of the source that is published and not among `others`.
fn published_rows(
    ctx: &CycleContext<'_>,
    source: &ComposerSource,
    others: &BTreeSet<String>,
) -> Vec<OutcomeRow> {
    ctx.store.ledger(|ledger| {
        let releases = ledger.releases().iter().filter(|release| release.source == source.name);
        let rows = releases.map(|release| OutcomeRow {
            source: source.name.clone(),
            tag: release.tag.clone(),
            package: release.package(),
            outcome: Outcome::AlreadyPublished,
        });
        rows.filter(|row| !others.contains(&row.package)).collect()
    })
}

/// The outcome of a version that must not be published: it is, or its package belongs to another source.
fn outcome_by_owner(
    ctx: &CycleContext<'_>,
    known: &PublishedVersions,
    source: &ComposerSource,
    wanted: &WantedVersion,
) -> Option<Outcome> {
    let WantedVersion { name, version, .. } = wanted;
    match known.owner(ctx, &source.name, name, version) {
        VersionOwner::Nobody { .. } => None,
        VersionOwner::Imported => Some(Outcome::AlreadyPublished),
        VersionOwner::ThisSource(same) if same.version == version.as_str() => Some(Outcome::AlreadyPublished),
        VersionOwner::ThisSource(same) => {
            let reason = format!("Composer reads it as {}, which is published", same.version);
            Some(Outcome::Excluded { rule: ExclusionRule::AnotherSpelling, reason })
        }
        VersionOwner::OtherSource(_) if source.stands_in_for.is_some() => Some(Outcome::AlreadyPublished),
        VersionOwner::PrebuiltArchives(other)
        | VersionOwner::OtherSource(other)
        | VersionOwner::StandIn(other) => {
            let reason = format!("published by source `{other}`");
            Some(Outcome::Excluded { rule: ExclusionRule::OtherSource, reason })
        }
        VersionOwner::OwnerOfName(owner) => Some(Outcome::Failed {
            reason: format!(
                "the package belongs to source `{owner}`, which published it first; if this source may publish it, too, the recipe says so with `takes_over: [{owner}]`"
            ),
        }),
    }
}

/// Opens the repository of a source.
fn open<'a>(ctx: &CycleContext<'a>, source: &ComposerSource) -> anyhow::Result<ComposerRepository<'a>> {
    let url = (ctx.rewrite)(&source.url);
    let url = Url::parse(&url).with_context(|| format!("`{}` is not a url", redacted(&url)))?;
    let cache = ctx.store.root().join("composer").join(&source.name);
    ComposerRepository::open(&url, access(ctx, ctx.limits, Some(cache)))
}

/// How Composer repositories are reached. Packagist asks for the program, the mirror and its operator's contact.
pub(super) fn access<'a>(ctx: &CycleContext<'a>, limits: &'a Limits, cache: Option<PathBuf>) -> Access<'a> {
    let contact = ctx.site.contact.as_ref().map(|contact| format!("; {contact}")).unwrap_or_default();
    let agent = format!("{USER_AGENT} (+{}{contact})", ctx.base_url);
    let user_agent = agent.chars().filter(|c| c.is_ascii() && !c.is_ascii_control()).collect();
    Access { git: ctx.network, limits, cancel: ctx.cancel, user_agent, cache, deadline: ctx.deadline }
}

/// The versions of each of these packages, several asked for at a time.
pub(super) fn versions(
    ctx: &CycleContext<'_>,
    repository: &ComposerRepository<'_>,
    names: &[String],
    with_branches: bool,
) -> anyhow::Result<Vec<anyhow::Result<Versions>>> {
    let ask = |(): &(), name: &String| {
        ctx.ensure_can_continue()?;
        repository.versions(name, with_branches)
    };
    let answers = parallel::map(names, requests(ctx), || Ok(()), ask);
    ctx.ensure_can_continue()?;
    Ok(answers)
}

/// The next cycle asks for more than necessary if this fails.
fn finish(repository: &ComposerRepository<'_>) {
    if let Err(error) = repository.finish() {
        tracing::warn!("failed to keep what was learnt from a Composer repository: {error:#}");
    }
}

/// How many requests run at the same time.
pub(super) fn requests(ctx: &CycleContext<'_>) -> usize {
    ctx.fetches.min(MAX_REQUESTS)
}
