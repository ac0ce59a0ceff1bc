//! Metapackages that wait for what they require.
//!
//! A published version is final, so a metapackage whose exact requirements nobody provides is not published: upstream may
//! have forgotten a tag, or may still change the requirement. It is a row of the report, and each cycle looks again. What
//! counts are packages of the vendors that the repository publishes; the others come from elsewhere anyway.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::batch::Published;
use super::context::CycleContext;
use super::inputs::FetchedInputs;
use super::metadata_budget::MetadataBudget;
use super::report::Report;
use super::{SourcePlan, build_packages, composer_source, prebuilt_archives};
use crate::composer::{PackageName, Version};
use crate::ledger::Release;
use crate::package::plan::{Build, ExactVersion, Outcome, OutcomeRow};
use crate::recipe::Source;
use crate::store::snapshot::Snapshot;

/// How many missing versions a reason names; the report has all.
const NAMED: usize = 3;

/// Decides what a metapackage lacks.
pub(super) struct Requirements<'a> {
    ctx: &'a CycleContext<'a>,
    latest: Option<Snapshot>,
    /// The vendors whose packages must be provided; `None` while they are not known: then it is all of them.
    vendors: Option<BTreeSet<String>>,
    /// What clients can install from this repository. Most packages require no exact versions, and never ask.
    published: OnceCell<Provided>,
}

/// Names with normalized versions that are provided beside what is published.
pub(super) type Provided = BTreeSet<(String, String)>;

/// A metapackage that may be published if it lacks nothing.
pub(super) struct Candidate<T> {
    pub package: ExactVersion,
    pub requires: Vec<ExactVersion>,
    /// A package of another type, such as a project, only waits for metapackages that are held back.
    pub is_metapackage: bool,
    pub value: T,
}

/// A candidate with the versions that it lacks.
type Incomplete<T> = (Candidate<T>, Vec<ExactVersion>);

impl Candidate<()> {
    pub(super) fn new<T>(build: &Build, value: T) -> Candidate<T> {
        let (package, requires) = (build.exact_version(), build.requires.clone());
        Candidate { package, requires, is_metapackage: build.is_metapackage, value }
    }
}

impl<'a> Requirements<'a> {
    /// For one source of a cycle that has not built all others yet.
    pub(super) fn of_source(ctx: &'a CycleContext<'a>) -> anyhow::Result<Self> {
        Self::new(ctx, None)
    }

    fn new(ctx: &'a CycleContext<'a>, vendors: Option<BTreeSet<String>>) -> anyhow::Result<Self> {
        Ok(Self { ctx, latest: ctx.store.latest_snapshot()?, vendors, published: OnceCell::new() })
    }

    /// Separates the candidates that are complete once all of these are published, and the others with what each lacks.
    pub(super) fn split<T>(
        &self,
        candidates: Vec<Candidate<T>>,
        provided: &Provided,
    ) -> (Vec<Candidate<T>>, Vec<Incomplete<T>>) {
        let keys: Vec<_> = candidates.iter().map(|candidate| key(&candidate.package)).collect();
        let mut offers = HashMap::<_, usize>::new();
        keys.iter().for_each(|key| *offers.entry(key).or_default() += 1);
        let mut lacks = vec![Vec::new(); candidates.len()];
        // Who requires what another candidate offers.
        let mut dependents = HashMap::<_, Vec<_>>::new();
        for (index, candidate) in candidates.iter().enumerate() {
            for required in self.missing(&candidate.package, &candidate.requires, provided) {
                let key = key(&required);
                match offers.contains_key(&key) {
                    true => dependents.entry(key).or_default().push((index, required)),
                    false if candidate.is_metapackage => lacks[index].push(required),
                    false => {}
                }
            }
        }
        let mut order: Vec<_> = (0..candidates.len()).filter(|index| !lacks[*index].is_empty()).collect();
        let mut round = 0..order.len();
        while !round.is_empty() {
            let mut next = BTreeSet::new();
            for index in &order[round.clone()] {
                let left = offers.entry(&keys[*index]).or_default();
                *left -= 1;
                let gone = if *left == 0 { dependents.remove(&keys[*index]) } else { None };
                for (dependent, required) in gone.unwrap_or_default() {
                    if lacks[dependent].is_empty() || next.contains(&dependent) {
                        lacks[dependent].push(required);
                        next.insert(dependent);
                    }
                }
            }
            order.extend(next);
            round = round.end..order.len();
        }
        let (mut complete, mut incomplete) = (Vec::new(), BTreeMap::new());
        for (index, (candidate, lacks)) in candidates.into_iter().zip(lacks).enumerate() {
            match lacks.is_empty() {
                true => complete.push(candidate),
                false => drop(incomplete.insert(index, (candidate, lacks))),
            }
        }
        (complete, order.iter().filter_map(|index| incomplete.remove(index)).collect())
    }

    /// The required versions that hold a package back.
    fn missing(
        &self,
        package: &ExactVersion,
        requires: &[ExactVersion],
        provided: &Provided,
    ) -> Vec<ExactVersion> {
        if self.ctx.recipe.publishes_incomplete(&package.name, &package.version) {
            return Vec::new();
        }
        let is_missing = |required: &&ExactVersion| {
            let key = key(required);
            self.vendors.as_ref().is_none_or(|vendors| vendors.contains(required.vendor()))
                && !self.ctx.recipe.is_external(&required.name)
                && !provided.contains(&key)
                && !self.published().contains(&key)
        };
        requires.iter().filter(is_missing).cloned().collect()
    }

    fn published(&self) -> &Provided {
        self.published.get_or_init(|| {
            let (base_url, withdrawn) = (self.ctx.base_url.to_string(), self.ctx.store.withdrawals());
            let is_withdrawn = |release: &&Release| {
                self.latest.as_ref().is_some_and(|latest| latest.manifest.withdraws(release.number))
                    || withdrawn.iter().any(|withdrawal| withdrawal.is_of(&release.name, &release.version))
            };
            self.ctx.store.ledger(|ledger| {
                let published = ledger.published(&base_url).filter(|release| !is_withdrawn(release));
                published.map(|release| (release.name.clone(), normalize(&release.version))).collect()
            })
        })
    }

    /// Takes the rows that lack nothing any more; the others are left with what they still lack.
    fn take_complete(&self, rows: &mut Vec<OutcomeRow>, states: &States) -> Vec<OutcomeRow> {
        let is_complete = |row: &mut OutcomeRow| {
            let (Outcome::HeldBack { reason, waits_for }, Some(package)) =
                (&mut row.outcome, package_of(&row.package))
            else {
                return false;
            };
            if waits_for.is_empty() {
                return false;
            }
            *waits_for = self.missing(&package, waits_for, &Provided::new());
            *reason = describe(waits_for, states);
            waits_for.is_empty()
        };
        rows.extract_if(.., is_complete).collect()
    }
}

/// The outcome of a version that lacks what it requires.
pub(super) fn outcome(missing: Vec<ExactVersion>) -> Outcome {
    Outcome::HeldBack { reason: describe(&missing, &States::new()), waits_for: missing }
}

/// Publishes what was held back and lacks nothing any more, until there is nothing more; returns the number of new
/// versions. The rows of the others then name what they wait for.
pub(super) fn publish_complete(
    ctx: &CycleContext<'_>,
    inputs: &FetchedInputs,
    report: &mut Report,
    budget: &MetadataBudget<'_>,
) -> anyhow::Result<usize> {
    let mut published = 0;
    loop {
        if report.sources.values().all(|source| source.held_back.is_empty()) {
            return Ok(published);
        }
        let vendors = Some(vendors(ctx, report));
        let requirements = Requirements::new(ctx, vendors)?;
        let states = states(report);
        let mut new = 0;
        let available = report.sources.iter_mut().filter(|(_, source)| source.error.is_none());
        for (name, source) in available {
            let complete = requirements.take_complete(&mut source.held_back, &states);
            if complete.is_empty() {
                continue;
            }
            let dates = source.added.clone().unwrap_or_default();
            let result = publish(&ctx.for_source(), inputs, &requirements, name, &dates, &complete, budget);
            let Published { rows, notices, count } = result.unwrap_or_else(|error| {
                tracing::error!(source = name, "source `{name}`: {error:#}");
                let failed = |row| OutcomeRow { outcome: Outcome::failed(&error), ..row };
                Published { rows: complete.into_iter().map(failed).collect(), ..Published::default() }
            });
            source.add_rows(rows);
            source.notices.extend(notices);
            new += count;
            ctx.ensure_can_continue()?;
        }
        if new == 0 {
            return Ok(published);
        }
        published += new;
    }
}

/// Warns of what is held back for a reason that the previous report does not have.
pub(super) fn log_new(report: &Report, previous: &Report) {
    for (name, source) in &report.sources {
        let known = previous.sources.get(name);
        for row in
            source.held_back.iter().filter(|row| known.is_none_or(|known| !known.held_back.contains(row)))
        {
            if let Outcome::HeldBack { reason, .. } = &row.outcome {
                tracing::warn!(source = name, tag = row.tag, package = row.package, "held back: {reason}");
            }
        }
    }
}

/// Builds and publishes the packages of these rows of a source or folder of prebuilt archives.
fn publish(
    ctx: &CycleContext<'_>,
    inputs: &FetchedInputs,
    requirements: &Requirements<'_>,
    name: &str,
    dates: &BTreeMap<String, Timestamp>,
    rows: &[OutcomeRow],
    budget: &MetadataBudget<'_>,
) -> anyhow::Result<Published> {
    if let Some(folder) = ctx.recipe.archives.iter().find(|folder| folder.name == name) {
        let resources = &inputs.resources;
        return prebuilt_archives::publish_held_back(
            ctx,
            folder,
            resources,
            dates,
            requirements,
            rows,
            budget,
        );
    }
    if let Some(source) = ctx.recipe.composer.iter().find(|source| source.name == name) {
        return composer_source::publish_held_back(ctx, source, requirements, rows, budget);
    }
    match ctx.recipe.sources.iter().find(|source| source.name == name) {
        Some(source) => build_packages::build_held_back(ctx, source, inputs, requirements, rows, budget),
        None => Ok(Published::default()),
    }
}

/// Moves the builds that a cycle would hold back to the rows of their plans.
pub(super) fn hold_planned(
    ctx: &CycleContext<'_>,
    inputs: &FetchedInputs,
    plans: &mut [(&Source, anyhow::Result<SourcePlan>)],
) -> anyhow::Result<()> {
    let builds = || {
        let plans =
            plans.iter().enumerate().filter_map(|(at, (_, plan))| Some((at, &plan.as_ref().ok()?.plan)));
        plans.flat_map(|(at, plan)| {
            plan.builds.iter().enumerate().map(move |(index, build)| ((at, index), build))
        })
    };
    let candidates = || {
        let metapackages = builds().filter(|(_, build)| !build.requires.is_empty());
        metapackages.map(|(value, build)| Candidate::new(build, value)).collect::<Vec<_>>()
    };
    let mut vendors = published_vendors(ctx);
    vendors.extend(builds().map(|(_, build)| vendor(&build.name.to_string())));
    let requirements = Requirements::new(ctx, Some(vendors))?;
    let packages = builds().filter(|(_, build)| build.requires.is_empty());
    let mut provided: Provided = packages.map(|(_, build)| key(&build.exact_version())).collect();
    if requirements.split(candidates(), &provided).1.is_empty() {
        return Ok(());
    }
    // The archives of an empty volume are only read if it matters.
    for folder in &ctx.recipe.archives {
        // A folder that cannot be read provides nothing.
        let versions = prebuilt_archives::versions(ctx, folder, &inputs.resources).unwrap_or_default();
        provided.extend(versions.iter().map(key));
    }
    let (_, mut incomplete) = requirements.split(candidates(), &provided);
    // From the end, so that the indices of the others stay.
    incomplete.sort_by_key(|(candidate, _)| std::cmp::Reverse(candidate.value));
    for (Candidate { value: (at, index), .. }, missing) in incomplete {
        if let (source, Ok(SourcePlan { plan, .. })) = &mut plans[at] {
            let build = plan.builds.remove(index);
            let (package, source) = (build.package(), source.name.clone());
            plan.rows.push(OutcomeRow { source, tag: build.git_ref.tag, package, outcome: outcome(missing) });
        }
    }
    Ok(())
}

/// How [`Provided`] knows a version.
pub(super) fn key(package: &ExactVersion) -> (String, String) {
    (package.name.clone(), normalize(&package.version))
}

fn normalize(version: &str) -> String {
    version.parse::<Version>().map_or_else(|_| version.to_owned(), |version| version.normalized().to_owned())
}

/// The package version of a row; `None` if the row is about something else.
fn package_of(package: &str) -> Option<ExactVersion> {
    let (name, version) = package.split_once(' ')?;
    name.parse::<PackageName>().ok()?;
    Some(ExactVersion { name: name.to_owned(), version: version.to_owned() })
}

/// The vendors whose packages this repository has or tries to have.
fn vendors(ctx: &CycleContext<'_>, report: &Report) -> BTreeSet<String> {
    let rows = report.sources.values().flat_map(|source| source.failed.iter().chain(&source.held_back));
    let mut vendors = published_vendors(ctx);
    vendors.extend(rows.filter_map(|row| Some(vendor(&package_of(&row.package)?.name))));
    vendors
}

fn published_vendors(ctx: &CycleContext<'_>) -> BTreeSet<String> {
    ctx.store.ledger(|ledger| ledger.releases().iter().map(|release| vendor(&release.name)).collect())
}

fn vendor(name: &str) -> String {
    name.split('/').next().unwrap_or_default().to_owned()
}

/// What became of package versions that are not published.
type States = BTreeMap<String, &'static str>;

fn states(report: &Report) -> States {
    let sources = report.sources.values();
    let rows =
        sources.flat_map(|source| source.excluded.iter().chain(&source.failed).chain(&source.held_back));
    let state = |row: &OutcomeRow| {
        let state = match row.outcome {
            Outcome::Excluded { .. } => "excluded",
            Outcome::Failed { .. } => "failed",
            Outcome::HeldBack { .. } => "held back",
            Outcome::Published | Outcome::AlreadyPublished => return None,
        };
        Some((row.package.clone(), state))
    };
    rows.filter_map(state).collect()
}

/// Why a version is held back, and what an operator can do.
fn describe(missing: &[ExactVersion], states: &States) -> String {
    let named = missing.iter().take(NAMED).map(|package| match states.get(&package.to_string()) {
        Some(state) => format!("{package} ({state})"),
        None => package.to_string(),
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let more = match missing.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "nobody provides {named}{more}; it is published once they exist, or by `publish_incomplete` in the recipe"
    )
}
