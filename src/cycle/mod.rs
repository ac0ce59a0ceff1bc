//! One cycle of one repository: fetch, plan, build, publish. The only place where the stages meet.
//!
//! A source that fails is reported and stops nobody else; what was published stays. A cycle that finds nothing new writes
//! nothing.

mod metadata;
mod refs;
mod report;
mod workers;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use jiff::Timestamp;

use self::refs::UpToDate;
use crate::composer::{PackageName, Version};
use crate::digest::Sha256;
use crate::ledger::Release;
use crate::package::build;
use crate::package::plan::{self, Build, Claim, Line, Outcome, Plan};
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
    pub sources: Vec<&'a Source>,
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

/// Fetches and plans a source, without building.
///
/// # Errors
/// A source that cannot be fetched or read.
pub fn plan_source(job: &Job<'_>, source: &Source) -> anyhow::Result<Plan> {
    let up_to_date = refs::fetch(job, source)?;
    let clone = BareClone::open(&up_to_date.folder)?;
    let (releases, mut lines) = refs::releases(source, &clone, &up_to_date.fetched)?;
    let mut plan = plan_releases(job.store, source, &clone, &releases);
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
        &job.sources,
        job.fetches,
        || Ok(()),
        |(), source| refs::fetch(job, source),
    );
    let mut report = Report::default();
    let mut published = 0;
    for (source, fetched) in job.sources.iter().zip(fetched) {
        let known = before.sources.get(&source.name);
        let entry = match fetched.and_then(|up_to_date| build_source(job, source, &up_to_date, known)) {
            Ok((entry, new)) => {
                published += new;
                entry
            }
            Err(error) => {
                tracing::error!(source = source.name, "{error:#}");
                SourceReport {
                    error: Some(format!("{error:#}")),
                    ..known.cloned().unwrap_or_default()
                }
            }
        };
        report.sources.insert(source.name.clone(), entry);
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

fn plan_releases(store: &Repository, source: &Source, clone: &BareClone, releases: &[plan::Release]) -> Plan {
    plan::plan(source, releases, clone, &|name, version| {
        claim(store, source, name, version)
    })
}

fn claim(store: &Repository, source: &Source, name: &PackageName, version: &Version) -> Claim {
    store.ledger(
        |ledger| match ledger.find(&name.to_string(), &version.to_string()) {
            None => Claim::Free,
            Some(release) if release.source == source.name => Claim::Own,
            Some(release) => Claim::Other(release.source.clone()),
        },
    )
}

/// Plans and builds one source; answers its report and how many versions are new.
fn build_source(
    job: &Job<'_>,
    source: &Source,
    up_to_date: &UpToDate,
    known: Option<&SourceReport>,
) -> anyhow::Result<(SourceReport, usize)> {
    let clone = BareClone::open(&up_to_date.folder)?;
    let (releases, mut lines) = refs::releases(source, &clone, &up_to_date.fetched)?;
    let rules = Recipe::fingerprint(source);
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
    let mut plan = plan_releases(job.store, source, &clone, &releases);
    lines.append(&mut plan.lines);
    let open = || Ok(BareClone::open(&up_to_date.folder)?);
    (job.progress)(Step::Building {
        source: &source.name,
        packages: plan.builds.len() as u64,
    });
    let built = workers::map(&plan.builds, job.workers, open, |clone, build| {
        let staged = stage(job.store, source, clone, build);
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
    store: &Repository,
    source: &Source,
    clone: &BareClone,
    build: &Build,
) -> anyhow::Result<(Staged, Release)> {
    let staged = store.stage(|sink| build::archive(build, source, clone, sink))?;
    let release = Release {
        number: 0,
        previous: Sha256([0; 32]),
        name: build.name.to_string(),
        version: build.version.to_string(),
        sha1: staged.digests.sha1,
        sha256: staged.digests.sha256,
        size: staged.digests.size,
        source: source.name.clone(),
        tag: build.release.tag.clone(),
        commit: build.release.commit.to_string(),
        tree: build.tree.to_string(),
        committed: Timestamp::from_second(build.release.time).context("the commit has an impossible date")?,
        time: Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default(),
    };
    Ok((staged, release))
}

fn publish(job: &Job<'_>, previous: Option<&Snapshot>, report: &Report) -> anyhow::Result<Option<Snapshot>> {
    let releases = job.store.ledger(|ledger| ledger.releases().to_vec());
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
