//! One cycle of one repository: fetch, plan, build, publish. The only place where the stages meet.
//!
//! A source that fails is reported and stops nobody else; what was published stays. A cycle that finds nothing new writes
//! nothing here; that it ran is recorded by who starts it.

mod aliases;
mod build_packages;
mod divergence;
mod fetch_clones;
mod nightly;
mod parallel;
mod prebuilt_archives;
mod publish_metadata;
mod read_manifests;
mod rebuild;
mod redact_urls;
mod report;
mod resources;
mod select_refs;
mod shrink_guard;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;
use jiff::Timestamp;

use self::build_packages::{build_source, fingerprint, plan_releases};
use self::fetch_clones::{Clones, UpToDate};
use self::nightly::Night;
use self::redact_urls::outward;
use self::resources::Resources;
use crate::config::{Hints, Metadata};
use crate::git::{BareClone, FetchProgress, Fetcher};
use crate::metadata::{BaseUrl, RepositoryInfo, is_current, pages};
use crate::package::Limits;
use crate::package::plan::{self, Outcome, OutcomeRow, Plan};
use crate::recipe::{Recipe, Source};
use crate::store::snapshot::Snapshot;
use crate::store::{RepositoryStore, Retention};
use crate::util::cancel::CancelFlag;
use crate::util::digest::Sha256;
use crate::util::heap;

pub use rebuild::{RebuildOutcome, rebuild};
pub use report::{Report, SourceReport};

/// What a cycle works on.
pub struct CycleContext<'a> {
    pub store: &'a RepositoryStore,
    /// The folder of the clones.
    pub clones: PathBuf,
    /// All recipes that share the clones, this one among them.
    pub recipes: &'a [&'a Recipe],
    pub base_url: &'a BaseUrl,
    /// How Composer gets the versions of packages.
    pub metadata: Metadata,
    /// What is told beside the packages.
    pub hints: &'a Hints,
    /// Whether only its users may read the repository.
    pub is_private: bool,
    pub recipe: &'a Recipe,
    /// The URL to fetch a source's URL from.
    pub rewrite: &'a (dyn Fn(&str) -> String + Sync),
    pub fetcher: &'a Fetcher,
    /// Stops the fetches, and the cycle between two sources.
    pub cancel: &'a CancelFlag,
    /// Told what is going on, from any thread.
    pub progress: &'a (dyn Fn(ProgressEvent<'_>) + Sync),
    /// Sources fetched at the same time.
    pub fetches: usize,
    /// Packages built at the same time.
    pub workers: usize,
    pub limits: Limits,
    /// More than so many percent of the published versions may not disappear from the metadata.
    pub max_removed: f64,
    /// Which snapshots stay.
    pub retention: Retention,
}

impl CycleContext<'_> {
    fn said(&self) -> RepositoryInfo<'_> {
        RepositoryInfo {
            base: self.base_url,
            metadata: self.metadata,
            hints: self.hints,
            notes: &self.recipe.notes,
            is_private: self.is_private,
        }
    }
}

/// What a cycle is doing.
#[derive(Debug, Clone, Copy)]
pub enum ProgressEvent<'a> {
    /// So many clones will be fetched.
    Started {
        clones: u64,
    },
    Fetching {
        source: &'a str,
        progress: FetchProgress,
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
    /// Everything is built; metadata and pages are made anew.
    Publishing,
}

/// How a cycle ended.
#[derive(Debug)]
pub struct CycleResult {
    pub report: Report,
    /// Package versions that this cycle published.
    pub published: usize,
    /// The snapshot that it published; `None` if nothing changed.
    pub snapshot: Option<Snapshot>,
    /// Archives that could not be read for it, by path, with the reason.
    pub damaged: BTreeMap<String, String>,
    /// Whether the newest snapshot holds the report.
    pub report_in_snapshot: bool,
    /// How long each stage took.
    pub stages: [(&'static str, Duration); 3],
}

/// Fetches and plans all sources, without building; each with its name.
pub fn plan<'r>(job: &CycleContext<'r>) -> anyhow::Result<Vec<(&'r Source, anyhow::Result<Plan>)>> {
    let last = Report::last(job.store.latest_snapshot()?.as_ref(), &job.store.run_history());
    let fetched = Fetched::fetch(job, &last);
    let plan = |source: &'r Source| {
        let plan = fetched.releases(source).and_then(|found| {
            let mut plan = plan_releases(job, source, &found.clone, &found.releases, &fetched.resources);
            plan.lines.splice(0..0, found.lines);
            let rules = fingerprint(job, source, &fetched)?;
            let known = last.sources.get(&source.name);
            if let Some(known) = known.filter(|known| known.rules == Some(rules)) {
                pass_over_built_nights(source, known, &mut plan);
            }
            Ok(plan)
        });
        (source, plan)
    };
    Ok(job.recipe.sources.iter().map(plan).collect())
}

/// A nightly version is planned although it is published, since its branch may have moved; that of which a cycle by the same
/// rules `known` has made all has not.
fn pass_over_built_nights(source: &Source, known: &SourceReport, plan: &mut Plan) {
    let is_there = |build: &plan::Build| {
        let release = &build.release;
        let commit = known.refs.get(&release.tag);
        release.nightly.is_some() && known.is_complete() && commit == Some(&release.commit.to_string())
    };
    for build in plan.builds.extract_if(.., |build| is_there(build)) {
        plan.lines.push(OutcomeRow {
            source: source.name.clone(),
            package: format!("{} {}", build.name, build.version),
            tag: build.release.tag,
            outcome: Outcome::AlreadyPublished,
        });
    }
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
    releases: Vec<plan::ResolvedRef>,
    lines: Vec<OutcomeRow>,
}

impl Fetched {
    fn fetch(job: &CycleContext<'_>, before: &Report) -> Self {
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
        let UpToDate { folder, fetched } = self.clones.get(&source.git)?;
        let clone = BareClone::open(folder)?;
        let (releases, lines) = match source.nightly {
            Some(_) => (vec![self.night.release(source, &self.clones)?], Vec::new()),
            None => select_refs::releases(source, &clone, fetched)?,
        };
        Ok(Found {
            folder: folder.clone(),
            clone,
            releases,
            lines,
        })
    }
}

fn last_report(job: &CycleContext<'_>) -> anyhow::Result<Report> {
    let previous = job.store.latest_snapshot()?;
    Ok(previous.as_ref().map(Report::from_snapshot).unwrap_or_default())
}

/// A cycle was told to stop before its end. What it has built so far is kept, and published by the next one.
#[derive(Debug, thiserror::Error)]
#[error("the cycle was told to stop")]
pub struct Cancelled;

/// Whether the cycle may go on.
///
/// # Errors
/// [`Cancelled`]; the ledger cannot be trusted.
fn proceed(job: &CycleContext<'_>) -> anyhow::Result<()> {
    if job.cancel.is_set() {
        bail!(Cancelled);
    }
    job.store.ensure_writable()
}

/// Runs one cycle.
///
/// # Errors
/// [`Cancelled`]; the store cannot be written. What was published before stays.
pub fn run(job: &CycleContext<'_>) -> anyhow::Result<CycleResult> {
    let previous = job.store.latest_snapshot()?;
    let before = previous.as_ref().map(Report::from_snapshot).unwrap_or_default();
    let began = Instant::now();
    // While a rollback is held, its snapshot does not know what was released since.
    let last = Report::last(previous.as_ref(), &job.store.run_history());
    let fetched = Fetched::fetch(job, &last);
    // What was not fetched for that reason has not failed.
    proceed(job)?;
    let built_from = Instant::now();
    let mut report = Report {
        nightly: fetched.night.date.clone(),
        notes: notes(job)?,
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
                tracing::error!(source = name, "source `{name}`: {error:#}");
                let known = before.sources.get(name).cloned().unwrap_or_default();
                SourceReport {
                    error: Some(outward(job, &format!("{error:#}"))),
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
            prebuilt_archives::publish(job, folder, &fetched.resources, known),
        );
        proceed(job)?;
    }
    for source in &job.recipe.sources {
        let known = before.sources.get(&source.name);
        enter(&source.name, build_source(job, source, &fetched, known));
        heap::trim();
        proceed(job)?;
    }
    if let Some(rule) = &job.recipe.aliases {
        let known = before.sources.get(aliases::NAME);
        enter(aliases::NAME, aliases::publish(job, rule, known));
        proceed(job)?;
    }
    drop(fetched);
    let published_from = Instant::now();
    report.gaps.clone_from(&before.gaps);
    let unchanged = previous.as_ref().is_some_and(|p| {
        report == before
            && p.is_whole
            && job.recipe.retention.is_none()
            && p.manifest.base_url == job.base_url.to_string()
            && std::fs::read(p.folder.join("packages.json")).is_ok_and(|root| is_current(&root, &job.said()))
            && pages::are_current(|path| p.manifest.files.get(path).map(|file| file.sha256))
            && p.manifest.ledger_head == job.store.ledger(|ledger| ledger.head())
    });
    // A repository that never had anything stays unpublished, and its server not ready, instead of being empty.
    let nothing = job.store.ledger(|ledger| ledger.is_empty());
    let held = previous.as_ref().and_then(|p| p.manifest.rollback_to);
    if let Some(to) = held {
        tracing::warn!("the content of snapshot {to} is held: `mirror rollback --end` publishes again");
    }
    let report_in_snapshot = !nothing && held.is_none();
    let (snapshot, damaged) = if unchanged || !report_in_snapshot {
        (None, BTreeMap::new())
    } else {
        (job.progress)(ProgressEvent::Publishing);
        publish_metadata::publish(job, previous.as_ref(), &mut report)?
    };
    job.store.apply_retention(job.retention)?;
    Ok(CycleResult {
        report,
        published,
        snapshot,
        damaged,
        report_in_snapshot,
        stages: [
            ("fetch", built_from - began),
            ("build", published_from - built_from),
            ("publish", published_from.elapsed()),
        ],
    })
}

/// What the pages were made with: they are made anew when it changes.
fn notes(job: &CycleContext<'_>) -> anyhow::Result<Option<Sha256>> {
    let notes = &job.recipe.notes;
    let digest = match (notes.is_empty(), job.is_private) {
        (true, false) => None,
        (false, false) => Some(Sha256::digest(&serde_json::to_vec(notes)?)),
        (_, true) => Some(Sha256::digest(&serde_json::to_vec(&("private", notes))?)),
    };
    Ok(digest)
}

/// The time of a publication, in whole seconds as HTTP's dates are.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}
