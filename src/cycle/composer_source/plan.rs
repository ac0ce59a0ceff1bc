//! What a cycle would take from Composer repositories, before it is taken.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::listing::{self, WantedVersion};
use super::{closure, finish, open, outcome_by_owner, requests};
use crate::composer_repository::ComposerRepository;
use crate::cycle::SourcePlan;
use crate::cycle::context::CycleContext;
use crate::cycle::planning::PublishedVersions;
use crate::cycle::report::{Report, tags_waiting_for_files};
use crate::package::plan::{ExactVersion, ExclusionRule, Outcome, OutcomeRow};
use crate::recipe::{ComposerSource, Source};
use crate::util::parallel;

/// How many archives are asked for their size: repositories list none.
const MAX_SAMPLE: usize = 20;

/// What a cycle would do with a Composer repository.
#[derive(Debug, Default)]
pub struct ComposerPlan {
    /// Packages with a version that the recipe takes, and these versions.
    pub packages: usize,
    pub versions: usize,
    /// The versions among them that are published.
    pub published: usize,
    /// Those that would be taken now; each is one request.
    pub new: Vec<ExactVersion>,
    /// The average size of some new archives in bytes, and how many these are.
    pub sample: Option<(u64, usize)>,
    /// Versions that are not taken, failures included.
    pub rows: Vec<OutcomeRow>,
    /// Patterns that match nothing; for a closure, what is required and cannot be had.
    pub unmet: Vec<String>,
    /// How many packages were asked for, how many at once, and how long that took.
    pub asked: usize,
    pub at_once: usize,
    pub took: Duration,
}

impl ComposerPlan {
    /// How many versions are not taken by a rule.
    pub fn excluded(&self, by: ExclusionRule) -> usize {
        let is_by = |row: &&OutcomeRow| matches!(row.outcome, Outcome::Excluded { rule, .. } if rule == by);
        self.rows.iter().filter(is_by).count()
    }

    /// How many rows are failures.
    pub fn failed(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row.outcome, Outcome::Failed { .. })).count()
    }

    /// How long the archives would take at the pace of this plan, if it has asked for anything.
    pub fn estimated_time(&self) -> Option<Duration> {
        let asked = u32::try_from(self.asked).ok().filter(|asked| *asked > 0)?;
        (self.took / asked).checked_mul(u32::try_from(self.new.len()).ok()?)
    }

    /// How many bytes all new archives have, as far as the sample tells.
    pub fn estimated_size(&self) -> Option<u64> {
        let (average, _) = self.sample?;
        average.checked_mul(self.new.len() as u64)
    }
}

/// Plans the Composer repositories of the recipe, after its git sources, for whose waiting tags one may stand in. The packages are
/// asked for, as in a cycle.
pub fn plan_composer<'r>(
    ctx: &CycleContext<'r>,
    sources: &[(&Source, anyhow::Result<SourcePlan>)],
) -> anyhow::Result<Vec<(&'r ComposerSource, anyhow::Result<ComposerPlan>)>> {
    let previous = Report::last(ctx.store.latest_snapshot()?.as_ref(), &ctx.store.run_history());
    let waiting = |stand_in: &ComposerSource| {
        let of = sources.iter().find(|(source, _)| stand_in.stands_in_for.as_ref() == Some(&source.name));
        let planned = of.and_then(|(_, plan)| plan.as_ref().ok());
        tags_waiting_for_files(planned.into_iter().flat_map(|planned| &planned.plan.rows))
    };
    let all = ctx.recipe.composer.iter();
    Ok(all.map(|source| (source, plan(ctx, source, &waiting(source), &previous))).collect())
}

fn plan(
    ctx: &CycleContext<'_>,
    source: &ComposerSource,
    waiting: &BTreeSet<String>,
    previous: &Report,
) -> anyhow::Result<ComposerPlan> {
    let at_once = requests(ctx);
    if source.stands_in_for.is_some() && waiting.is_empty() {
        return Ok(ComposerPlan { at_once, ..ComposerPlan::default() });
    }
    let began = Instant::now();
    let repository = open(ctx, source)?;
    let listing = match source.is_closure() {
        true => closure::read(ctx, source, &repository, previous.sources.get(&source.name))?,
        false => listing::read(ctx, source, waiting, &repository)?,
    };
    let took = began.elapsed();
    let known = PublishedVersions::new(ctx);
    let packages: BTreeSet<_> = listing.wanted.iter().map(|wanted| &wanted.name).collect();
    let (mut rows, mut published, mut new) = (listing.rows, 0, Vec::new());
    for wanted in &listing.wanted {
        match outcome_by_owner(ctx, &known, source, wanted) {
            None => new.push(wanted),
            Some(Outcome::AlreadyPublished) => published += 1,
            Some(outcome) => rows.push(OutcomeRow {
                source: source.name.clone(),
                tag: wanted.version.to_string(),
                package: wanted.package(),
                outcome,
            }),
        }
    }
    let sample = sample(ctx, &repository, &new);
    finish(&repository);
    Ok(ComposerPlan {
        packages: packages.len(),
        versions: listing.wanted.len(),
        published,
        new: new.into_iter().map(WantedVersion::exact_version).collect(),
        sample,
        asked: listing.upstream.asked,
        at_once,
        took,
        rows,
        unmet: listing.unused,
    })
}

/// The average size of some archives, evenly chosen, and how many have one that is known.
fn sample(
    ctx: &CycleContext<'_>,
    repository: &ComposerRepository<'_>,
    new: &[&WantedVersion],
) -> Option<(u64, usize)> {
    let with_archive: Vec<_> = new.iter().filter(|wanted| wanted.listed.dist.is_some()).collect();
    let step = with_archive.len().div_ceil(MAX_SAMPLE).max(1);
    let chosen: Vec<_> = with_archive.into_iter().step_by(step).collect();
    let size = |(): &(), wanted: &&&WantedVersion| {
        ctx.ensure_can_continue()?;
        Ok(repository.archive_size(&wanted.listed))
    };
    let sizes = parallel::map(&chosen, requests(ctx), || Ok(()), size);
    let sizes: Vec<u64> = sizes.into_iter().filter_map(|size| size.ok()?).collect();
    let total: u64 = sizes.iter().fold(0, |total, size| total.saturating_add(*size));
    Some((total.checked_div(sizes.len() as u64)?, sizes.len()))
}
