//! The commands that end by themselves.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use anyhow::bail;
use jiff::Timestamp;

use super::named::unused_rewrites;
use super::output::Output;
use super::progress::Display;
use super::publisher::make_variants;
use super::setup::{Repository, Setup};
use super::summary;
use super::{Exit, SchemaOf};
use crate::config;
use crate::cycle::{self, Cancelled, CycleContext, CycleResult, ProgressEvent, RebuildOutcome};
use crate::git::{self, Fetcher};
use crate::ledger::Release;
use crate::package::Limits;
use crate::package::plan::Outcome;
use crate::recipe::Recipe;
use crate::status::plural;
use crate::store::{self, Volume};
use crate::util::cancel::CancelFlag;
use crate::util::heap;

/// Told each step of a cycle, from any thread.
pub(super) type Observer<'a> = &'a (dyn Fn(ProgressEvent<'_>) + Sync);

/// Nobody looks but at the terminal.
pub(super) const NOBODY: Observer<'static> = &|_| {};

/// Runs one cycle of `repository`, tells `observer` its steps, logs its summary and answers how it ended.
pub(super) fn run_cycle(
    setup: &Setup,
    volume: &Volume,
    repository: &Repository,
    store: &store::Repository,
    observer: Observer<'_>,
    cancel: &CancelFlag,
) -> anyhow::Result<CycleResult> {
    // Before anything is recorded in a folder that is to have another one's place.
    refuse_successor(setup, volume, repository)?;
    let finished = recorded(store, || {
        with_job(setup, volume, repository, store, observer, cancel, cycle::run)
    });
    heap::give_back();
    let finished = finished?;
    for (source, report) in &finished.report.sources {
        for line in &report.failed {
            if let Outcome::Failed { reason } = &line.outcome {
                tracing::error!(
                    repository = repository.name,
                    source,
                    tag = line.tag,
                    package = line.package,
                    "failed: {reason}"
                );
            }
        }
    }
    let count =
        |of: fn(&cycle::SourceReport) -> usize| finished.report.sources.values().map(of).sum::<usize>();
    tracing::info!(
        repository = repository.name,
        new = finished.published,
        published = count(|s| s.published),
        excluded = count(|s| s.excluded.len()),
        failed = count(|s| s.failed.len() + usize::from(s.error.is_some())),
        gaps = finished.report.gaps.len(),
        diverged = count(|s| s.diverged.len()),
        snapshot = finished.snapshot.as_ref().map(|s| s.manifest.number),
        "cycle finished"
    );
    Ok(finished)
}

/// Runs a cycle and leaves a record of it for the status page; one that cannot be written stops nothing. A cycle that is told to
/// stop stands as one that runs, for the next start to take up.
fn recorded(
    store: &store::Repository,
    cycle: impl FnOnce() -> anyhow::Result<CycleResult>,
) -> anyhow::Result<CycleResult> {
    let warn = |written: anyhow::Result<()>| {
        if let Err(error) = written {
            tracing::warn!("the status page will not know of this cycle: {error:#}");
        }
    };
    let began = now();
    warn(store.cycle_begins(began));
    let result = cycle();
    if result.as_ref().is_err_and(|error| error.is::<Cancelled>()) {
        return result;
    }
    warn(look_for_damage(store, result.as_ref().ok()));
    warn(match &result {
        Ok(finished) => record(store, ended(began), finished),
        Err(error) => given_up(store, began, error),
    });
    result
}

/// Records which archives are damaged, as far as that costs no reading of those that a cycle had no use for.
fn look_for_damage(store: &store::Repository, finished: Option<&CycleResult>) -> anyhow::Result<()> {
    let mut damaged = store.missing_archives()?;
    damaged.extend(finished.iter().flat_map(|finished| finished.damaged.clone()));
    store.recheck_damaged(damaged)
}

/// Leaves a record of a cycle that could not even begin; none where the repository's folder is gone.
pub(super) fn not_begun(store: &store::Repository, error: &anyhow::Error) {
    if !store.root().exists() {
        return;
    }
    if let Err(error) = given_up(store, now(), error) {
        tracing::warn!("the status page will not know of this cycle: {error:#}");
    }
}

fn given_up(store: &store::Repository, began: Timestamp, error: &anyhow::Error) -> anyhow::Result<()> {
    let error = Some(store.within(&format!("{error:#}")));
    let cycle = store::Cycle {
        error,
        ..ended(began)
    };
    store.cycle_ended(cycle, store.cycles().report)
}

/// Now, with nothing done.
fn ended(began: Timestamp) -> store::Cycle {
    store::Cycle {
        began,
        ended: now(),
        published: 0,
        stages: BTreeMap::new(),
        complete: false,
        error: None,
    }
}

fn record(store: &store::Repository, ended: store::Cycle, finished: &CycleResult) -> anyhow::Result<()> {
    let milliseconds = |took: &Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let stages = finished.stages.iter();
    let cycle = store::Cycle {
        published: finished.published,
        stages: stages
            .map(|(stage, took)| ((*stage).to_owned(), milliseconds(took)))
            .collect(),
        complete: finished.report.is_complete() && store.cycles().damaged.is_empty(),
        ..ended
    };
    let beside = (!finished.report_in_snapshot).then_some(&finished.report);
    store.cycle_ended(cycle, beside.map(serde_json::to_value).transpose()?)
}

/// In whole seconds.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}

/// See [`Volume::refuse_successor`].
pub(super) fn refuse_successor(
    setup: &Setup,
    volume: &Volume,
    repository: &Repository,
) -> anyhow::Result<()> {
    let names = setup.repositories.iter().map(|repository| &*repository.name);
    volume.refuse_successor(&repository.name, &repository.base_url.to_string(), names)
}

/// Does `work` on a repository under the configuration. A panic is an error like any other: the server goes on.
pub(super) fn with_job<T>(
    setup: &Setup,
    volume: &Volume,
    repository: &Repository,
    store: &store::Repository,
    observer: Observer<'_>,
    cancel: &CancelFlag,
    work: impl FnOnce(&CycleContext<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    refuse_successor(setup, volume, repository)?;
    let (git, limits) = (&setup.config.git, &setup.config.limits);
    let fetcher = Fetcher::new(setup.fetch_settings()?);
    let display = Display::new();
    let job = CycleContext {
        store,
        clones: volume.git(),
        recipes: &setup.repositories.iter().map(|r| &r.recipe).collect::<Vec<_>>(),
        base_url: &repository.base_url,
        metadata: repository.metadata,
        hints: &repository.hints,
        is_private: repository.is_private,
        recipe: &repository.recipe,
        rewrite: &|url| git.rewrite(url),
        fetcher: &fetcher,
        cancel,
        progress: &|step| {
            display.step(step);
            observer(step);
        },
        fetches: git.parallel.get(),
        workers: setup.config.build.workers().get(),
        limits: Limits {
            manifest: limits.manifest as u64,
            file: limits.file as u64,
            package: limits.package as u64,
            entries: limits.entries.get() as u64,
            depth: limits.depth.get(),
        },
        max_removed: setup.config.build.max_removed.0,
        retention: store::Retention {
            snapshots: setup.config.snapshots.keep.get(),
            grace: setup.config.snapshots.grace,
        },
    };
    catch_unwind(AssertUnwindSafe(|| work(&job))).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<&str>().copied();
        let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        bail!(
            "the work was given up by a defect of this program: {}",
            words.unwrap_or_default()
        )
    })
}

/// Builds published versions again; see [`cycle::rebuild`].
pub(super) fn build_again(
    setup: &Setup,
    volume: &Volume,
    repository: &Repository,
    store: &store::Repository,
    releases: &[Release],
    mend: bool,
    cancel: &CancelFlag,
) -> anyhow::Result<Vec<(Release, RebuildOutcome)>> {
    with_job(setup, volume, repository, store, NOBODY, cancel, |job| {
        cycle::rebuild(job, releases, mend)
    })
}

/// One cycle of each repository.
pub(super) fn build(setup: &Setup) -> anyhow::Result<Exit> {
    let volume = Volume::open(&setup.config.data)?;
    volume.warn();
    volume.warn_of_others(setup.repositories.iter().map(|repository| &*repository.name));
    let (mut complete, mut published) = (true, false);
    for repository in &setup.repositories {
        let store = match volume.repository(&repository.name) {
            Ok(store) => store,
            Err(error) => {
                tracing::error!(repository = repository.name, "{error:#}");
                not_begun(&volume.reader(&repository.name), &error);
                complete = false;
                continue;
            }
        };
        let began = Instant::now();
        match run_cycle(setup, &volume, repository, &store, NOBODY, &CancelFlag::default()) {
            Ok(finished) => {
                summary::print(&repository.name, &finished, began.elapsed());
                let damaged = store.cycles().damaged;
                for (file, because) in damaged
                    .iter()
                    .filter(|(file, _)| !finished.damaged.contains_key(*file))
                {
                    tracing::error!(repository = repository.name, file, "an archive {because}");
                }
                complete &= finished.report.is_complete() && damaged.is_empty();
                // Servers that may not write to the volume have what is made here.
                make_variants(setup, repository, &store, &CancelFlag::default());
                published |= store.newest_snapshot()?.is_some_and(|s| s.manifest.releases > 0);
            }
            Err(error) => {
                tracing::error!(repository = repository.name, "{error:#}");
                complete = false;
            }
        }
    }
    Ok(match (complete, published) {
        (true, _) => Exit::Complete,
        (false, true) => Exit::Incomplete,
        (false, false) => Exit::Failed,
    })
}

/// What the configuration means.
pub(super) fn check(setup: &Setup) -> anyhow::Result<Exit> {
    let mut out = Output;
    let config = &setup.config;
    let listen: Vec<_> = config.serve.listen.iter().map(ToString::to_string).collect();
    writeln!(
        out,
        "The configuration is valid. Data in {}, listening on {}.",
        config.data.display(),
        listen.join(", ")
    )?;
    if let Some(name) = &config.site.name {
        let contact = config
            .site
            .contact
            .as_deref()
            .map(|c| format!(", {c}"))
            .unwrap_or_default();
        writeln!(out, "Run by {name}{contact}.")?;
    }
    for repository in &setup.repositories {
        let schedule = &repository.schedule;
        writeln!(
            out,
            "Repository {} at {}: {}.",
            repository.name,
            repository.base_url,
            plural(repository.recipe.sources.len(), "source")
        )?;
        let next = schedule
            .next_after(Timestamp::now())
            .map_or("never".to_owned(), |t| {
                t.strftime("%Y-%m-%d %H:%M %Z").to_string()
            });
        writeln!(out, "  Builds {}; next: {next}.", schedule.describe())?;
        for source in &repository.recipe.sources {
            writeln!(
                out,
                "  {} from {}",
                source.name,
                git::redacted(&config.git.rewrite(&source.git))
            )?;
        }
    }
    for prefix in unused_rewrites(setup) {
        writeln!(
            out,
            "Warning: `git.rewrite` has `{prefix}`, which no URL of a recipe begins with."
        )?;
    }
    Ok(Exit::Complete)
}

/// The JSON Schema of a kind of file.
pub(super) fn schema(of: SchemaOf) -> anyhow::Result<Exit> {
    let schema = match of {
        SchemaOf::Config => config::json_schema(),
        SchemaOf::Recipe => Recipe::json_schema(),
    };
    writeln!(Output, "{schema:#}")?;
    Ok(Exit::Complete)
}
