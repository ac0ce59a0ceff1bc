//! One cycle of one repository: fetch, plan, build, publish. The only place where the stages meet.
//!
//! A source that fails is reported and stops nobody else; what was published stays. A cycle that finds nothing new writes
//! nothing.

mod again;
mod aliases;
mod artifacts;
mod clones;
mod fuse;
mod metadata;
mod moved;
mod nightly;
mod refs;
mod report;
mod resources;
mod workers;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use jiff::Timestamp;

use self::clones::{Clones, UpToDate};
use self::nightly::Night;
use self::resources::Resources;
use crate::composer::{PackageName, Version};
use crate::digest::Sha256;
use crate::ledger::{Kind, Release};
use crate::package::plan::{self, Build, Claim, Line, Outcome, Plan, Surroundings};
use crate::package::{build, planner};
use crate::recipe::{Recipe, Source};
use crate::repository::BaseUrl;
use crate::source::{BareClone, CancelFlag, Fetcher, Progress};
use crate::store::snapshot::{Contents, Snapshot};
use crate::store::{Repository, Retention, Staged};

pub use again::{Again, again};
pub use report::{Report, SourceReport};

/// What a cycle works on.
pub struct Job<'a> {
    pub store: &'a Repository,
    /// The folder of the clones.
    pub clones: PathBuf,
    /// All recipes that share the clones, this one among them.
    pub recipes: &'a [&'a Recipe],
    pub base_url: &'a BaseUrl,
    pub recipe: &'a Recipe,
    /// The URL to fetch a source's URL from.
    pub rewrite: &'a (dyn Fn(&str) -> String + Sync),
    pub fetcher: &'a Fetcher,
    /// Stops the fetches.
    pub cancel: &'a CancelFlag,
    /// Told what is going on, from any thread.
    pub progress: &'a (dyn Fn(Step<'_>) + Sync),
    /// Sources fetched at the same time.
    pub fetches: usize,
    /// Packages built at the same time.
    pub workers: usize,
    /// More than so many percent of the published versions may not disappear from the metadata.
    pub max_removed: f64,
    /// Which snapshots stay.
    pub retention: Retention,
}

/// What a cycle is doing.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    Fetching {
        source: &'a str,
        progress: Progress,
    },
    /// A source is up to date, or could not be fetched.
    Fetched {
        source: &'a str,
    },
    /// So many package versions of the source will be built.
    Building {
        source: &'a str,
        packages: u64,
    },
    Built,
}

/// How a cycle ended.
#[derive(Debug)]
pub struct Finished {
    pub report: Report,
    /// Package versions that this cycle published.
    pub published: usize,
    /// The snapshot that it published; `None` if nothing changed.
    pub snapshot: Option<Snapshot>,
}

/// Fetches and plans all sources, without building; each with its name.
pub fn plan<'r>(job: &Job<'r>) -> anyhow::Result<Vec<(&'r Source, anyhow::Result<Plan>)>> {
    let before = last_report(job)?;
    let fetched = Fetched::fetch(job, &before);
    let plan = |source: &'r Source| {
        let plan = fetched.releases(source).map(|found| {
            let mut plan = plan_releases(job, source, &found.clone, &found.releases, &fetched.resources);
            plan.lines.splice(0..0, found.lines);
            plan
        });
        (source, plan)
    };
    Ok(job.recipe.sources.iter().map(plan).collect())
}

/// What a cycle works from: everything that the recipe names, as it stands now.
struct Fetched {
    clones: Clones,
    resources: Resources,
    night: Night,
}

/// The releases of a source, and a line for each ref that gives none.
struct Found {
    folder: PathBuf,
    clone: BareClone,
    releases: Vec<plan::Release>,
    lines: Vec<Line>,
}

impl Fetched {
    fn fetch(job: &Job<'_>, before: &Report) -> Self {
        let clones = Clones::fetch(job);
        let resources = Resources::open(job.recipe, &clones);
        let night = Night::of(job, &clones, &resources, before);
        Self {
            clones,
            resources,
            night,
        }
    }

    fn releases(&self, source: &Source) -> anyhow::Result<Found> {
        let UpToDate { folder, fetched } = self
            .clones
            .get(&source.git)
            .with_context(|| format!("source `{}`", source.name))?;
        let clone = BareClone::open(folder)?;
        let (releases, lines) = match source.nightly {
            Some(_) => (vec![self.night.release(source, &self.clones)?], Vec::new()),
            None => refs::releases(source, &clone, fetched)?,
        };
        Ok(Found {
            folder: folder.clone(),
            clone,
            releases,
            lines,
        })
    }
}

fn last_report(job: &Job<'_>) -> anyhow::Result<Report> {
    let previous = job.store.newest_snapshot()?;
    Ok(previous
        .as_ref()
        .map(|snapshot| Report::load(&snapshot.folder))
        .unwrap_or_default())
}

/// Runs one cycle.
///
/// # Errors
/// The store cannot be written; what was published before stays.
pub fn run(job: &Job<'_>) -> anyhow::Result<Finished> {
    let previous = job.store.newest_snapshot()?;
    let before = previous
        .as_ref()
        .map(|snapshot| Report::load(&snapshot.folder))
        .unwrap_or_default();
    let fetched = Fetched::fetch(job, &before);
    let mut report = Report {
        nightly: fetched.night.date.clone(),
        ..Report::default()
    };
    let mut published = 0;
    let mut enter = |name: &str, result: anyhow::Result<(SourceReport, usize)>| {
        let entry = match result {
            Ok((entry, new)) => {
                published += new;
                entry
            }
            Err(error) => {
                tracing::error!(source = name, "{error:#}");
                let known = before.sources.get(name).cloned().unwrap_or_default();
                SourceReport {
                    error: Some(format!("{error:#}")),
                    ..known
                }
            }
        };
        report.sources.insert(name.to_owned(), entry);
    };
    // Finished archives go first: what they hold is not built.
    for folder in &job.recipe.archives {
        let known = before.sources.get(&folder.name);
        enter(
            &folder.name,
            artifacts::publish(job, folder, &fetched.resources, known),
        );
        job.store.ensure_sound()?;
    }
    for source in &job.recipe.sources {
        let known = before.sources.get(&source.name);
        enter(&source.name, build_source(job, source, &fetched, known));
        job.store.ensure_sound()?;
    }
    if let Some(rule) = &job.recipe.aliases {
        let known = before.sources.get(aliases::NAME);
        enter(aliases::NAME, aliases::publish(job, rule, known));
        job.store.ensure_sound()?;
    }
    report.gaps.clone_from(&before.gaps);
    let unchanged = previous.as_ref().is_some_and(|p| {
        report == before
            && job.recipe.retention.is_none_or(|kept| kept.days.is_none())
            && p.manifest.base_url == job.base_url.to_string()
            && p.manifest.ledger_head == job.store.ledger(|ledger| ledger.head())
    });
    // A repository that never had anything stays unpublished, and its server not ready, instead of being empty.
    let nothing = job.store.ledger(|ledger| ledger.is_empty());
    let held = previous.as_ref().and_then(|p| p.manifest.rollback_to);
    if let Some(to) = held {
        tracing::warn!("the content of snapshot {to} is held: `mirror rollback --end` publishes again");
    }
    let snapshot = if unchanged || nothing || held.is_some() {
        None
    } else {
        publish(job, previous.as_ref(), &mut report)?
    };
    job.store.collect(job.retention)?;
    Ok(Finished {
        report,
        published,
        snapshot,
    })
}

fn plan_releases(
    job: &Job<'_>,
    source: &Source,
    clone: &BareClone,
    releases: &[plan::Release],
    resources: &Resources,
) -> Plan {
    let claimed = |name: &_, version: &_| claim(job, source, name, version);
    plan_with(job, source, clone, releases, resources, &claimed)
}

fn plan_with(
    job: &Job<'_>,
    source: &Source,
    clone: &BareClone,
    releases: &[plan::Release],
    resources: &Resources,
    claimed: &dyn Fn(&PackageName, &Version) -> Claim,
) -> Plan {
    let around = Surroundings {
        claimed,
        resource: &|name, path| resources.read(name, path),
        base_url: &job.base_url.to_string(),
    };
    planner::plan(source, releases, clone, &around)
}

fn claim(job: &Job<'_>, source: &Source, name: &PackageName, version: &Version) -> Claim {
    let base_url = job.base_url.to_string();
    let by = job.store.ledger(|ledger| {
        let release = ledger.find(&name.to_string(), version.as_str())?;
        release.is_for(&base_url).then(|| release.source.clone())
    });
    match by {
        None => Claim::Free,
        Some(by) if by == source.name => Claim::Own,
        Some(by) if job.recipe.archives.iter().any(|folder| folder.name == by) => Claim::Archives(by),
        Some(by) => Claim::Other(by),
    }
}

/// Plans and builds one source; answers its report and how many versions are new.
fn build_source(
    job: &Job<'_>,
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
    let mut depends = vec![job.base_url.to_string()];
    if source.uses_resources() {
        depends.extend(fetched.resources.commits());
    }
    if source.nightly.is_some() {
        depends.extend(fetched.night.date.clone());
    }
    let rules = source.fingerprint(&depends);
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
    let mut plan = plan_releases(job, source, clone, releases, &fetched.resources);
    for unused in &plan.unused {
        tracing::warn!(source = source.name, "the recipe is out of date: {unused}");
    }
    lines.append(&mut plan.lines);
    let open = || Ok(BareClone::open(folder)?);
    (job.progress)(Step::Building {
        source: &source.name,
        packages: plan.builds.len() as u64,
    });
    let built = workers::map(&plan.builds, job.workers, open, |clone, build| {
        let staged = stage(job, source, clone, build);
        (job.progress)(Step::Built);
        staged
    });
    let mut batch = Vec::new();
    for (build, result) in plan.builds.iter().zip(built) {
        let outcome = match result {
            Ok(Some(staged)) => {
                batch.push(staged);
                Outcome::Published
            }
            Ok(None) => Outcome::AlreadyPublished,
            Err(error) => Outcome::Failed {
                because: format!("{error:#}"),
            },
        };
        lines.push(Line {
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
    moved::examine(job, source, &found, &fetched.resources, known, &mut report)?;
    Ok((report, new))
}

/// Writes the archive aside; `None` if it is a nightly version that is published with the same bytes.
fn stage(
    job: &Job<'_>,
    source: &Source,
    clone: &BareClone,
    build: &Build,
) -> anyhow::Result<Option<(Staged, Release)>> {
    let staged = job
        .store
        .stage(|sink| build::archive(build, source, clone, sink))?;
    let (name, version) = (build.name.to_string(), build.version.to_string());
    let bound = build.bound.then(|| job.base_url.to_string());
    let kind = match build.release.nightly {
        Some(_) => Kind::Dev,
        None => Kind::Package,
    };
    let before = job.store.ledger(|ledger| ledger.find(&name, &version).cloned());
    if before.as_ref().is_some_and(|b| b.sha256 == staged.digests.sha256) {
        return Ok(None);
    }
    // One version has one file for each URL that it was bound to, and each state of a nightly one has its own.
    let mark = match (&bound, &before) {
        (Some(url), _) => Some(Sha256::of(url.as_bytes())),
        (None, before) => before.as_ref().map(|_| staged.digests.sha256),
    };
    let file = mark.map(|mark| format!("packages/{name}-{version}-{}.zip", &mark.to_string()[..8]));
    let release = Release {
        number: 0,
        kind,
        previous: Sha256([0; 32]),
        name,
        version,
        file,
        bound,
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

/// The time of a publication, in whole seconds as HTTP's dates are.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}

/// What the repository publishes now.
fn releases(job: &Job<'_>) -> Vec<Release> {
    let base_url = job.base_url.to_string();
    let published = job
        .store
        .ledger(|ledger| ledger.published(&base_url).cloned().collect());
    nightly::retained(job.recipe, published)
}

fn publish(
    job: &Job<'_>,
    previous: Option<&Snapshot>,
    report: &mut Report,
) -> anyhow::Result<Option<Snapshot>> {
    let packages = metadata::read(job.store, &releases(job))?;
    if let Some(previous) = previous {
        fuse::check(job, previous, &packages)?;
    }
    report.gaps = crate::repository::gaps(&packages);
    for gap in &report.gaps {
        tracing::warn!("{gap}");
    }
    let mut files = crate::repository::render(job.base_url, packages)?;
    // A client that read the last packages.json may still ask for the include that it names.
    for path in previous
        .iter()
        .flat_map(|p| p.manifest.files.keys())
        .filter(|path| path.starts_with("include/"))
    {
        if let (Some(previous), false) = (previous, files.contains_key(path)) {
            let file = previous.folder.join(path);
            let bytes =
                std::fs::read(&file).with_context(|| format!("failed to read `{}`", file.display()))?;
            files.insert(path.clone(), bytes);
        }
    }
    let contents = Contents {
        base_url: &job.base_url.to_string(),
        files,
        report: &report.to_json()?,
        releases: job.store.ledger(|ledger| ledger.len()),
        rollback_to: None,
    };
    job.store.commit_snapshot(previous, &contents)
}
