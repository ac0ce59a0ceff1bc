//! A cycle of a repository that follows other mirrors instead of building by a recipe.
//!
//! The ledger becomes the followed one's, line for line: what continues it is copied in the same order as a build
//! publishes, archives, then their lines, then the snapshot. Metadata and pages are rendered here, and so are the packages that
//! are bound to a base URL. An answer that contradicts what is published here is refused and reported as a failure of that
//! mirror; the next one is asked.

mod archives;
pub(super) mod bound;
mod check;
mod local;
mod origin;
mod state;

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::Context as _;

use super::CycleResult;
use super::context::{CycleContext, ProgressEvent};
use super::metadata_budget::MetadataBudget;
use super::pass::{Pass, publish_pass};
use super::rebuild::{RebuildOutcome, repair_or_compare};
use super::report::{Report, SourceReport};
use crate::ledger::{Ledger, Release};
use crate::net::with_hint;
use crate::store::StagedArchive;

pub(super) use archives::{ArchiveFetcher, Origins, fetch};
pub(super) use check::{Update, ask_for_update};
pub(super) use local::Local;
pub(super) use origin::{ArchiveRequest, Origin};
pub(super) use state::{FOLLOW_FILE, FollowContent};
pub use state::{FollowState, Followed};

/// Archives are published when this many bytes are there, so that a cycle that is interrupted keeps what it has.
const BATCH_BYTES: u64 = 64 << 20;

/// The same in archives.
const BATCH_ARCHIVES: usize = 200;

/// What a cycle would fetch.
#[derive(Debug, Clone, Default)]
pub struct FollowPlan {
    /// The mirror that it would be fetched from.
    pub origin: Option<String>,
    /// New lines of the ledger.
    pub lines: u64,
    pub archives: usize,
    /// Of the archives.
    pub bytes: u64,
    /// Why mirrors cannot be followed, by their URL.
    pub errors: Vec<(String, String)>,
}

/// Runs one cycle.
pub(super) fn run(ctx: &CycleContext<'_>) -> anyhow::Result<CycleResult> {
    let fetch_began = Instant::now();
    let previous = ctx.store.latest_snapshot()?;
    let known = previous.as_ref().map(Report::to_continue).transpose()?.and_then(|report| report.followed);
    let origins = Origins::new(ctx.follow);
    (ctx.progress)(ProgressEvent::Started { clones: ctx.follow.len() as u64 });
    let update = ask(ctx, &origins, known.as_ref());
    ctx.ensure_can_continue()?;
    let build_began = Instant::now();
    let (mut followed, mut published) = (known, 0);
    if let Some(update) = update {
        published = take_over(ctx, &origins, &update)?;
        let is_same = |known: &Followed| known.state.has_content_of(&update.followed.state);
        // One that says the same as the mirror before changes nothing here.
        if update.followed.digest.is_some() && !followed.as_ref().is_some_and(is_same) {
            followed = Some(update.followed);
        }
    }
    bound::render(ctx)?;
    ctx.ensure_can_continue()?;
    let report = report(&origins, followed);
    publish_pass(ctx, Pass { report, published, is_early: false, fetch_began, build_began })
}

/// What a cycle would fetch, without fetching it.
pub fn plan_follow(ctx: &CycleContext<'_>) -> anyhow::Result<FollowPlan> {
    let previous = ctx.store.latest_snapshot()?;
    let known = previous.as_ref().map(Report::from_snapshot).and_then(|report| report.followed);
    let origins = Origins::new(ctx.follow);
    let update = ask(ctx, &origins, known.as_ref());
    let names = ctx.follow.iter().map(|url| Origin::new(ctx, url).name()).enumerate();
    let errors = names.filter_map(|(index, name)| Some((name, origins.error(index)?))).collect();
    let mut plan = FollowPlan { errors, ..FollowPlan::default() };
    if let Some(update) = update {
        let wanted = missing_archives(ctx, &update);
        plan.lines = update.ledger.len() - ctx.store.ledger(Ledger::len);
        plan.archives = wanted.len();
        plan.bytes = wanted.iter().map(|release| release.size).sum();
        plan.origin = Some(update.followed.origin);
    }
    Ok(plan)
}

/// Asks one mirror after the other, until one continues what is published here.
fn ask(ctx: &CycleContext<'_>, origins: &Origins<'_>, known: Option<&Followed>) -> Option<Update> {
    for (index, url) in origins.urls().iter().enumerate() {
        let origin = Origin::new(ctx, url);
        (ctx.progress)(ProgressEvent::Working { source: Some(&origin.name()) });
        let checked = ask_for_update(ctx, &origin, known);
        (ctx.progress)(ProgressEvent::Working { source: None });
        (ctx.progress)(ProgressEvent::Fetched { source: &origin.name() });
        match checked {
            Ok(update) => return update,
            Err(_) if ctx.cancel.is_set() => return None,
            Err(error) => {
                let reason = with_hint(&error);
                match archives::is_unreachable(&error) {
                    true => tracing::warn!(origin = origin.name(), "cannot follow: {reason}"),
                    false => tracing::error!(origin = origin.name(), "cannot follow: {reason}"),
                }
                origins.exclude(index, &error);
            }
        }
    }
    None
}

/// Publishes withdrawals, archives and lines of the ledger; returns the number of new releases. What cannot be fetched ends it,
/// and is reported as a failure of the mirrors.
pub(super) fn take_over(
    ctx: &CycleContext<'_>,
    origins: &Origins<'_>,
    update: &Update,
) -> anyhow::Result<usize> {
    let before = ctx.store.ledger(Ledger::len);
    if update.followed.digest.is_some() {
        ctx.store.take_over_withdrawals(&update.followed.state.withdrawn)?;
    }
    // What is absent here is so until it has come.
    let absent = update.followed.state.absent();
    ctx.store.record_absent(&absent.union(&ctx.store.absent_releases()?).copied().collect())?;
    let wanted = missing_archives(ctx, update);
    (ctx.progress)(ProgressEvent::Building {
        source: &update.followed.origin,
        packages: wanted.len() as u64,
    });
    let previous = ctx.store.latest_snapshot()?;
    let budget = MetadataBudget::new(ctx.limits, previous.as_ref());
    let mut pending = PendingLines::new(ctx, update, &budget);
    let fetched = archives::fetch(ctx, origins, &wanted, |fetched, release| pending.add(fetched, release));
    // What is before the archive that failed can be published.
    let is_complete = fetched.is_ok();
    ctx.ensure_can_continue()?;
    pending.publish(is_complete)?;
    ctx.store.forget_present()?;
    if let Err(error) = fetched {
        tracing::error!("not everything could be copied: {error:#}");
        let used =
            origins.urls().iter().position(|url| Origin::new(ctx, url).name() == update.followed.origin);
        origins.fail(used.unwrap_or_default(), &error);
    }
    Ok(usize::try_from(ctx.store.ledger(Ledger::len) - before)?)
}

/// The archives that the mirrors serve and that are missing here, in the order of the ledger, each once.
pub(super) fn missing_archives<'u>(ctx: &CycleContext<'_>, update: &'u Update) -> Vec<&'u Release> {
    let mut seen = BTreeSet::new();
    let is_wanted = |release: &&Release| {
        update.followed.state.serves(release)
            && seen.insert(release.path())
            && !std::fs::metadata(ctx.store.archive(release)).is_ok_and(|file| file.len() == release.size)
    };
    update.ledger.releases().iter().filter(is_wanted).collect()
}

/// Lines that were not published yet, and those of their archives that are here.
struct PendingLines<'a> {
    ctx: &'a CycleContext<'a>,
    update: &'a Update,
    budget: &'a MetadataBudget<'a>,
    /// Where the unpublished lines begin, and the number of the first.
    begin: usize,
    first: u64,
    staged: Vec<(StagedArchive, Release)>,
    bytes: u64,
}

impl<'a> PendingLines<'a> {
    fn new(ctx: &'a CycleContext<'a>, update: &'a Update, budget: &'a MetadataBudget<'a>) -> Self {
        let first = ctx.store.ledger(Ledger::len) + 1;
        Self { ctx, update, budget, begin: 0, first, staged: Vec::new(), bytes: 0 }
    }

    fn add(&mut self, fetched: anyhow::Result<StagedArchive>, release: &Release) -> anyhow::Result<()> {
        if release.number < self.first {
            // Its line is here already, so what follows need not wait for it. The record of damage names it.
            return match fetched {
                Ok(staged) => self.ctx.store.repair(&staged, release),
                Err(error) => {
                    tracing::warn!("a missing archive was not fetched: {error:#}");
                    Ok(())
                }
            };
        }
        let staged = fetched?;
        if self.update.followed.state.lists(release.number) {
            self.budget.claim(&staged, release)?;
        }
        self.bytes += release.size;
        self.staged.push((staged, release.clone()));
        match self.bytes >= BATCH_BYTES || self.staged.len() >= BATCH_ARCHIVES {
            true => self.publish(false),
            false => Ok(()),
        }
    }

    /// Publishes the lines up to the last staged archive, or all of them.
    fn publish(&mut self, is_all: bool) -> anyhow::Result<()> {
        self.ctx.ensure_can_continue()?;
        let last = match is_all {
            true => self.update.ledger.len(),
            false => self.staged.last().map_or(self.first - 1, |(_, release)| release.number),
        };
        let count = usize::try_from((last + 1).saturating_sub(self.first))?;
        if count == 0 {
            return Ok(());
        }
        let rest = &self.update.lines[self.begin..];
        let end =
            memchr::memchr_iter(b'\n', rest).nth(count - 1).context("a line of the ledger is missing")? + 1;
        self.ctx.store.publish_lines(&self.staged, &rest[..end])?;
        self.staged.clear();
        (self.begin, self.first, self.bytes) = (self.begin + end, last + 1, 0);
        Ok(())
    }
}

/// The report: each mirror is a source. One that gave no answer is no failure if another one served everything.
fn report(origins: &Origins<'_>, followed: Option<Followed>) -> Report {
    let names = origins.urls().iter().map(|url| crate::net::redacted(url.as_str())).enumerate();
    let source = |index: usize| {
        let (error, is_spare) = (origins.error(index), origins.is_spare(index));
        let (unreachable, error) = if is_spare { (error, None) } else { (None, error) };
        SourceReport { error, unreachable, ..SourceReport::default() }
    };
    Report {
        sources: names.map(|(index, name)| (name, source(index))).collect(),
        followed,
        ..Report::default()
    }
}

/// Fetches these releases again, to compare them with the ledger or to repair damaged archives.
pub(super) fn refetch(
    ctx: &CycleContext<'_>,
    wanted: &[Release],
    repair: bool,
) -> anyhow::Result<Vec<(Release, RebuildOutcome)>> {
    let origins = Origins::new(ctx.follow);
    let fetcher = ArchiveFetcher::new(ctx, &origins, 0);
    (ctx.progress)(ProgressEvent::Building { source: "follow", packages: wanted.len() as u64 });
    let base_url = ctx.base_url.to_string();
    let refetch_one = |release: &Release| -> anyhow::Result<RebuildOutcome> {
        ctx.ensure_can_continue()?;
        let staged = match bound::original(ctx, release) {
            Some(original) => bound::stage(ctx, &original, &base_url)?.0,
            None => fetcher.fetch(release)?,
        };
        repair_or_compare(ctx, &staged, release, repair)
    };
    let outcome = |release: &Release| {
        let outcome = refetch_one(release);
        (ctx.progress)(ProgressEvent::Built);
        (release.clone(), outcome.unwrap_or_else(|error| RebuildOutcome::Impossible(format!("{error:#}"))))
    };
    Ok(wanted.iter().map(outcome).collect())
}
