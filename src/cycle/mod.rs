//! One cycle of one repository: fetch, plan, build, publish. The only place where these stages meet.
//!
//! A source that fails is reported and does not stop the others; what was published stays. A cycle that finds nothing new
//! writes nothing here; the caller records that it ran.

mod aliases;
mod batch;
mod build_packages;
mod bundle;
mod composer_source;
mod confirm_imports;
mod context;
mod divergence;
mod export;
mod failure_groups;
mod fetch_clones;
mod file_names;
mod follow;
mod held_back;
mod import;
mod inputs;
mod log_findings;
mod metadata_budget;
mod name_owners;
mod nightly;
mod pass;
mod planning;
mod prebuilt_archives;
mod publish_metadata;
mod read_manifests;
mod rebuild;
mod redact_urls;
mod report;
mod republish;
mod resources;
mod restore;
mod rollback;
mod select_refs;
mod shrink_guard;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use self::divergence::Diverged;
use self::fetch_clones::{Clones, Fetches, STILL_FETCHING};
use self::inputs::FetchedInputs;
use self::metadata_budget::MetadataBudget;
use self::pass::{Pass, publish_pass};
use self::redact_urls::with_recipe_urls;
use self::report::ALIASES;
use crate::ledger::Ledger;
use crate::net::with_hint;
use crate::package::limits;
use crate::package::plan::Plan;
use crate::package::uncovered_manifests;
use crate::recipe::{Aliases, ComposerSource, Source};
use crate::store::Divergence;
use crate::store::snapshot::Snapshot;
use crate::util::digest::Sha256;
use crate::util::heap;
use crate::util::text::shortened;
use crate::util::threads;

pub use composer_source::{ComposerPlan, plan_composer};
pub use confirm_imports::ImportReport;
pub use context::{Cancelled, CycleContext, ProgressEvent, PublishedBucket};
pub use export::{Exported, Since, Wanted, export};
pub use failure_groups::{FailureGroup, NamedFailure, group_failures};
pub use follow::{FollowPlan, FollowState, Followed, plan_follow};
pub use import::{Imported, import};
pub use rebuild::{RebuildOutcome, rebuild};
pub use report::{Report, SourceReport, count_versions, lost_by_tag, nothing_released};
pub use republish::{follow_withdrawals, move_to_base_url, roll_back};
pub use restore::{Restored, restore, take_over_published};
pub use rollback::tell_of_rollback;

/// In characters: an error may quote what upstream wrote.
const MAX_ERROR: usize = 5000;

/// The result of a cycle.
#[derive(Debug)]
pub struct CycleResult {
    pub report: Report,
    /// The number of package versions that this cycle published.
    pub published: usize,
    /// The number of published package versions of each source after it.
    pub versions: BTreeMap<String, usize>,
    /// The snapshot that it published; `None` if nothing changed.
    pub snapshot: Option<Snapshot>,
    /// Archives that could not be read, by path, with the reason.
    pub damaged: BTreeMap<String, String>,
    /// Whether the newest snapshot holds the report.
    pub report_in_snapshot: bool,
    /// The duration of each stage.
    pub stages: [(&'static str, Duration); 3],
}

/// What a cycle would do with a source.
#[derive(Debug)]
pub struct SourcePlan {
    pub plan: Plan,
    /// The published versions that its moved tags would change.
    pub diverged: Vec<Divergence>,
}

/// Fetches and plans all sources without building; returns a plan for each source.
pub fn plan<'r>(ctx: &CycleContext<'r>) -> anyhow::Result<Vec<(&'r Source, anyhow::Result<SourcePlan>)>> {
    let previous = Report::last(ctx.store.latest_snapshot()?.as_ref(), &ctx.store.run_history());
    let inputs = FetchedInputs::fetch(ctx, &previous);
    let plan_source = |source: &'r Source| {
        let refs = inputs.source_refs(ctx, source)?;
        let ctx = &ctx.for_source();
        let mut plan = planning::plan_refs(ctx, source, &refs.clone, &refs.refs, &inputs.resources)?;
        plan.rows.splice(0..0, refs.rows.iter().cloned());
        let uncovered = uncovered_manifests::find(source, &refs.refs, &refs.clone, ctx.limits, &|| {
            ctx.ensure_can_continue()
        })?;
        plan.unused.extend(uncovered.iter().map(|(path, tags)| uncovered_manifests::describe(path, tags)));
        let has_refs = !refs.refs.is_empty() || !refs.rows.is_empty();
        plan.unused.extend(nothing_released(has_refs, !refs.passed_over.is_empty()).map(str::to_owned));
        plan.passed_over.clone_from(&refs.passed_over);
        inputs.nightly.refuse_unreadable(source, &mut plan);
        let rules = inputs.fingerprint(ctx, source)?;
        let report = previous.sources.get(&source.name);
        if let Some(report) = report.filter(|report| report.rules == Some(rules)) {
            nightly::skip_unmoved_branches(source, report, &mut plan);
        }
        let diverged = Diverged::find(ctx, source, &refs, &inputs.resources, report)?.all();
        Ok(SourcePlan { plan, diverged })
    };
    let sources = ctx.recipe.sources.iter();
    let mut plans: Vec<_> = sources.map(|source| (source, plan_source(source))).collect();
    held_back::hold_planned(ctx, &inputs, &mut plans)?;
    Ok(plans)
}

/// Runs one cycle.
///
/// # Errors
/// [`Cancelled`], or a store that cannot be written. What was published before stays.
pub fn run(ctx: &CycleContext<'_>) -> anyhow::Result<CycleResult> {
    // Before anything is fetched, which may take long. What fails here is done again when that is done.
    if let Err(error) = move_to_base_url(ctx) {
        tracing::warn!("failed to publish for the new base URL before fetching: {error:#}");
    }
    if !ctx.builds() {
        return follow::run(ctx);
    }
    let (fetches, span) = (Fetches::new(ctx), tracing::Span::current());
    thread::scope(|scope| {
        // Also ends the fetches that are not waited for if this fails.
        let _cancel = CancelOnDrop(&fetches);
        threads::spawn_scoped(scope, || span.in_scope(|| fetches.run()))?;
        let mut result = None;
        loop {
            let fetch_began = Instant::now();
            let clones = fetches.wait();
            let is_last = clones.is_complete();
            result = Some(run_pass(ctx, fetch_began, clones)?.after(result));
            if let Some(result) = result.take_if(|_| is_last) {
                return Ok(result);
            }
        }
    })
}

/// Builds and publishes what is fetched. The last pass of a cycle has all clones; an earlier one, without the slowest, only
/// publishes what is new.
fn run_pass(ctx: &CycleContext<'_>, fetch_began: Instant, clones: Clones) -> anyhow::Result<CycleResult> {
    let is_last = clones.is_complete();
    let previous = ctx.store.latest_snapshot()?;
    let previous_report = previous.as_ref().map(Report::to_continue).transpose()?.unwrap_or_default();
    // During a rollback, the newest snapshot's report is older than the last cycle's.
    let last_report = Report::last(previous.as_ref(), &ctx.store.run_history());
    let inputs = FetchedInputs::new(ctx, clones, &last_report);
    // A cancelled fetch must not be reported as a failed source.
    ctx.ensure_can_continue()?;
    let build_began = Instant::now();
    let budget = MetadataBudget::new(ctx.limits, previous.as_ref());
    let (mut report, published) = build_all(ctx, &inputs, &previous_report, &budget)?;
    if is_last {
        confirm_imports::confirm(ctx, &inputs, &mut report, &previous_report)?;
    }
    let is_early = !is_last && published == 0;
    if !is_early {
        log_findings::log_new(&report, &last_report);
        held_back::log_new(&report, &previous_report);
    }
    drop(inputs);
    publish_pass(ctx, Pass { report, published, is_early, fetch_began, build_began })
}

/// Ends the fetches that nobody waits for any more.
struct CancelOnDrop<'a>(&'a Fetches<'a>);

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl CycleResult {
    /// The result of this pass and those before it.
    fn after(self, earlier: Option<Self>) -> Self {
        let Some(mut earlier) = earlier else { return self };
        for (stage, earlier) in earlier.stages.iter_mut().zip(self.stages) {
            stage.1 += earlier.1;
        }
        earlier.damaged.extend(self.damaged);
        Self {
            published: self.published + earlier.published,
            snapshot: self.snapshot.or(earlier.snapshot),
            damaged: earlier.damaged,
            stages: earlier.stages,
            ..self
        }
    }
}

/// Builds and publishes the packages of all sources; returns the report and the number of new versions.
fn build_all(
    ctx: &CycleContext<'_>,
    inputs: &FetchedInputs,
    previous: &Report,
    budget: &MetadataBudget<'_>,
) -> anyhow::Result<(Report, usize)> {
    let mut report =
        Report { nightly: inputs.nightly.date.clone(), notes: notes_digest(ctx)?, ..Report::default() };
    let (mut published, mut failures) = (0, Vec::new());
    let begin = |source| (ctx.progress)(ProgressEvent::Working { source: Some(source) });
    // Prebuilt archives come first: the versions that they hold are not built.
    for folder in &ctx.recipe.archives {
        begin(&folder.name);
        let known = previous.sources.get(&folder.name);
        let result = prebuilt_archives::publish(&ctx.for_source(), folder, &inputs.resources, known, budget);
        published += add_result(ctx, &mut report, &mut failures, &folder.name, known, result)?;
    }
    for source in &ctx.recipe.sources {
        begin(&source.name);
        let known = previous.sources.get(&source.name);
        let result = build_packages::build_source(&ctx.for_source(), source, inputs, known, budget);
        heap::trim();
        published += add_result(ctx, &mut report, &mut failures, &source.name, known, result)?;
    }
    for (index, source) in ctx.recipe.composer.iter().enumerate() {
        let known = previous.sources.get(&source.name);
        let waiting = report.waiting_tags(source);
        // It may stand in for a source that is still being fetched.
        let result = match inputs.is_complete() {
            true => {
                if composer_source::is_asked(source, &waiting) {
                    publish_before(ctx, &ctx.recipe.composer[index..], &report, previous)?;
                }
                begin(&source.name);
                composer_source::publish(&ctx.for_source(), source, &waiting, known, budget)
            }
            false => Err(anyhow!(STILL_FETCHING)),
        };
        published += add_result(ctx, &mut report, &mut failures, &source.name, known, result)?;
    }
    (ctx.progress)(ProgressEvent::Working { source: None });
    // What a metapackage lacks is known with the last source.
    if inputs.is_complete() {
        published += held_back::publish_complete(ctx, inputs, &mut report, budget)?;
    }
    if let Some(rule) = &ctx.recipe.aliases {
        published += publish_aliases(ctx, inputs, rule, previous, &mut report, budget)?;
    }
    // An earlier pass has errors that the last one has again.
    if inputs.is_complete() {
        log_failed_sources(failures);
    }
    Ok((report, published))
}

/// Publishes what is in the ledger before these Composer repositories are asked, which may take long, or more memory than there is.
fn publish_before(
    ctx: &CycleContext<'_>,
    sources: &[ComposerSource],
    report: &Report,
    previous: &Report,
) -> anyhow::Result<()> {
    let snapshot = ctx.store.latest_snapshot()?;
    let is_held = snapshot.as_ref().is_some_and(|snapshot| snapshot.manifest.rollback_to.is_some());
    let published = snapshot.map_or(0, |snapshot| snapshot.manifest.releases);
    if is_held || ctx.store.ledger(Ledger::len) <= published {
        return Ok(());
    }
    let mut report = report.clone();
    let others = sources.iter().map(|source| source.name.as_str());
    for name in others.chain(ctx.recipe.aliases.as_ref().map(|_| ALIASES)) {
        let known = previous.sources.get(name).cloned().unwrap_or_default();
        let error = Some(STILL_FETCHING.to_owned());
        report.sources.insert(name.to_owned(), SourceReport { error, ..known });
    }
    let now = Instant::now();
    publish_pass(ctx, Pass { report, published: 0, is_early: false, fetch_began: now, build_began: now })?;
    Ok(())
}

/// Publishes the aliases, and what waited for one of them, which may need aliases itself.
fn publish_aliases(
    ctx: &CycleContext<'_>,
    inputs: &FetchedInputs,
    rule: &Aliases,
    previous: &Report,
    report: &mut Report,
    budget: &MetadataBudget<'_>,
) -> anyhow::Result<usize> {
    let (mut published, mut failures) = (0, Vec::new());
    loop {
        let known = report.sources.remove(ALIASES).or_else(|| previous.sources.get(ALIASES).cloned());
        // An alias must not move to the highest version of some sources, and back.
        let result = match inputs.is_complete() {
            true => aliases::publish(ctx, rule, known.as_ref(), budget),
            false => Err(anyhow!(STILL_FETCHING)),
        };
        let new = add_result(ctx, report, &mut failures, ALIASES, known.as_ref(), result)?;
        let completed = if new > 0 { held_back::publish_complete(ctx, inputs, report, budget)? } else { 0 };
        published += new + completed;
        if completed == 0 {
            if inputs.is_complete() {
                log_failed_sources(failures);
            }
            return Ok(published);
        }
    }
}

/// Adds the report of one source, or its last one with an error; returns the number of new versions.
fn add_result(
    ctx: &CycleContext<'_>,
    report: &mut Report,
    failures: &mut Vec<NamedFailure>,
    name: &str,
    known: Option<&SourceReport>,
    result: anyhow::Result<(SourceReport, usize)>,
) -> anyhow::Result<usize> {
    let result = result.and_then(|built| limits::check_report(ctx.limits, built.0.entries()).map(|()| built));
    let (source_report, published) = result.unwrap_or_else(|error| {
        let reason = shortened(&with_hint(&error), MAX_ERROR).into_owned();
        let error = Some(with_recipe_urls(ctx, &reason));
        failures.push(NamedFailure { name: name.to_owned(), reason });
        (SourceReport { error, ..known.cloned().unwrap_or_default() }, 0)
    });
    report.sources.insert(name.to_owned(), source_report);
    ctx.ensure_can_continue()?;
    Ok(published)
}

/// Logs why sources failed, with the URLs that were fetched.
fn log_failed_sources(failures: Vec<NamedFailure>) {
    let (single, groups) = group_failures(failures);
    for NamedFailure { name, reason } in single {
        tracing::error!(source = name, "source `{name}`: {reason}");
    }
    for FailureGroup { count, names, reason } in groups {
        tracing::error!(sources = names, "{count} sources: {reason}");
    }
}

/// The digest of what pages and gaps depend on beside the packages: they are made again when it changes.
fn notes_digest(ctx: &CycleContext<'_>) -> anyhow::Result<Option<Sha256>> {
    let recipe = ctx.recipe;
    let text = (ctx.is_private, ctx.site, recipe.page_content(), &recipe.external_packages);
    Ok(Some(Sha256::digest(&serde_json::to_vec(&text)?)))
}
