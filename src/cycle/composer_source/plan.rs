//! What a cycle would take for a closure, before it is taken.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{closure, finish, open, requests};
use crate::cycle::context::CycleContext;
use crate::cycle::report::Report;
use crate::package::plan::{ExclusionRule, Outcome, OutcomeRow};
use crate::recipe::ComposerSource;

/// What a cycle would do with a closure.
#[derive(Debug)]
pub struct ClosurePlan {
    /// Packages with a version to take, and these versions.
    pub packages: usize,
    pub versions: usize,
    /// The versions among them that are not published yet: each is one request. Their sizes are not known before.
    pub new: usize,
    /// Versions that are not taken, failures included.
    pub rows: Vec<OutcomeRow>,
    /// What is required and cannot be had.
    pub unmet: Vec<String>,
    /// How many packages were asked for, how many at once, and how long that took.
    pub asked: usize,
    pub at_once: usize,
    pub took: Duration,
}

impl ClosurePlan {
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
    pub fn estimate(&self) -> Option<Duration> {
        let asked = u32::try_from(self.asked).ok().filter(|asked| *asked > 0)?;
        (self.took / asked).checked_mul(u32::try_from(self.new).ok()?)
    }
}

/// Plans the closures of the recipe. The packages are asked for, as in a cycle.
pub fn plan_closures<'r>(
    ctx: &CycleContext<'r>,
) -> anyhow::Result<Vec<(&'r ComposerSource, anyhow::Result<ClosurePlan>)>> {
    let previous = Report::last(ctx.store.latest_snapshot()?.as_ref(), &ctx.store.run_history());
    let closures = ctx.recipe.composer.iter().filter(|source| source.is_closure());
    Ok(closures.map(|source| (source, plan(ctx, source, &previous))).collect())
}

fn plan(ctx: &CycleContext<'_>, source: &ComposerSource, previous: &Report) -> anyhow::Result<ClosurePlan> {
    let began = Instant::now();
    let repository = open(ctx, source)?;
    let listing = closure::read(ctx, source, &repository, previous.sources.get(&source.name))?;
    let took = began.elapsed();
    finish(&repository);
    let is_new = |name: &str, version: &str| ctx.store.ledger(|ledger| ledger.find(name, version).is_none());
    let new = listing.wanted.iter().filter(|w| is_new(&w.name.to_string(), w.version.as_str())).count();
    let packages: BTreeSet<_> = listing.wanted.iter().map(|wanted| &wanted.name).collect();
    Ok(ClosurePlan {
        packages: packages.len(),
        versions: listing.wanted.len(),
        new,
        asked: listing.upstream.asked,
        at_once: requests(ctx),
        took,
        rows: listing.rows,
        unmet: listing.unused,
    })
}
