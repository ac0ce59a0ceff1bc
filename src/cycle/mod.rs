//! One cycle of one repository: fetch, plan, build, publish. The only place where the stages meet.
//!
//! A source that fails is reported and stops nobody else; what was published stays. A cycle that finds nothing new writes
//! nothing.

mod aliases;
mod artifacts;
mod metadata;
mod refs;
mod report;
mod resources;
mod workers;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use jiff::Timestamp;

use self::refs::UpToDate;
use self::resources::Resources;
use crate::composer::{PackageName, Version};
use crate::digest::Sha256;
use crate::ledger::{Kind, Release};
use crate::package::build;
use crate::package::plan::{self, Build, Claim, Line, Outcome, Plan, Surroundings};
use crate::recipe::{Recipe, Source};
use crate::repository::BaseUrl;
use crate::source::{BareClone, CancelFlag, Fetcher, Progress};
use crate::store::snapshot::{Contents, Snapshot};
use crate::store::{Repository, Staged};

pub use report::{Report, SourceReport};

/// What a cycle works on.
pub struct Job<'a> {
    pub store: &'a Repository,
    /// The folder of this repository's clones.
    pub clones: PathBuf,
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
pub fn plan(job: &Job<'_>) -> Vec<(String, anyhow::Result<Plan>)> {
    let resources = Resources::fetch(job);
    let planned = |source: &Source| (source.name.clone(), plan_source(job, source, &resources));
    job.recipe.sources.iter().map(planned).collect()
}

fn plan_source(job: &Job<'_>, source: &Source, resources: &Resources) -> anyhow::Result<Plan> {
    let up_to_date = refs::fetch(job, source)?;
    let clone = BareClone::open(&up_to_date.folder)?;
    let (releases, mut lines) = refs::releases(source, &clone, &up_to_date.fetched)?;
    let mut plan = plan_releases(job, source, &clone, &releases, resources);
    lines.append(&mut plan.lines);
    Ok(Plan {
        builds: plan.builds,
        lines,
    })
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
    let fetched = workers::map(
        &job.recipe.sources,
        job.fetches,
        || Ok(()),
        |(), source| refs::fetch(job, source),
    );
    let resources = Resources::fetch(job);
    let mut report = Report::default();
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
        enter(&folder.name, artifacts::publish(job, folder, &resources, known));
    }
    for (source, fetched) in job.recipe.sources.iter().zip(fetched) {
        let known = before.sources.get(&source.name);
        let result = fetched.and_then(|up_to_date| build_source(job, source, &up_to_date, &resources, known));
        enter(&source.name, result);
    }
    if let Some(rule) = &job.recipe.aliases {
        let known = before.sources.get(aliases::NAME);
        enter(aliases::NAME, aliases::publish(job, rule, known));
    }
    let unchanged = previous.as_ref().is_some_and(|p| {
        report == before
            && p.manifest.base_url == job.base_url.to_string()
            && p.manifest.ledger_head == job.store.ledger(|ledger| ledger.head())
    });
    // A repository that never had anything stays unpublished, and its server not ready, instead of being empty.
    let nothing = job.store.ledger(|ledger| ledger.is_empty());
    let snapshot = if unchanged || nothing {
        None
    } else {
        publish(job, previous.as_ref(), &report)?
    };
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
    let around = Surroundings {
        claimed: &|name, version| claim(job, source, name, version),
        resource: &|name, path| resources.read(name, path),
        base_url: &job.base_url.to_string(),
    };
    plan::plan(source, releases, clone, &around)
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
    up_to_date: &UpToDate,
    resources: &Resources,
    known: Option<&SourceReport>,
) -> anyhow::Result<(SourceReport, usize)> {
    let clone = BareClone::open(&up_to_date.folder)?;
    let (releases, mut lines) = refs::releases(source, &clone, &up_to_date.fetched)?;
    let mut depends = vec![job.base_url.to_string()];
    depends.extend(if source.uses_resources() {
        resources.commits()
    } else {
        Vec::new()
    });
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
    let mut plan = plan_releases(job, source, &clone, &releases, resources);
    lines.append(&mut plan.lines);
    let open = || Ok(BareClone::open(&up_to_date.folder)?);
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
            Ok(staged) => {
                batch.push(staged);
                Outcome::Published
            }
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
    Ok((SourceReport::new(rules, commits, lines), new))
}

fn stage(
    job: &Job<'_>,
    source: &Source,
    clone: &BareClone,
    build: &Build,
) -> anyhow::Result<(Staged, Release)> {
    let staged = job
        .store
        .stage(|sink| build::archive(build, source, clone, sink))?;
    let bound = build.bound.then(|| job.base_url.to_string());
    // One version has one file for each URL that it was bound to.
    let file = bound.as_ref().map(|url| {
        let mark = &Sha256::of(url.as_bytes()).to_string()[..8];
        format!("packages/{}-{}-{mark}.zip", build.name, build.version)
    });
    let release = Release {
        number: 0,
        kind: Kind::Package,
        previous: Sha256([0; 32]),
        name: build.name.to_string(),
        version: build.version.to_string(),
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
    Ok((staged, release))
}

/// The time of a publication, in whole seconds as HTTP's dates are.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}

fn publish(job: &Job<'_>, previous: Option<&Snapshot>, report: &Report) -> anyhow::Result<Option<Snapshot>> {
    let base_url = job.base_url.to_string();
    let releases = job
        .store
        .ledger(|ledger| ledger.published(&base_url).cloned().collect::<Vec<_>>());
    let packages = metadata::read(job.store, &releases)?;
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
    };
    job.store.commit_snapshot(previous, &contents)
}
