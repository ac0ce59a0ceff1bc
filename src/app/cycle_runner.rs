//! The commands that end by themselves.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;

use super::progress_bar::ProgressBars;
use super::{App, Repository};
use crate::cycle::{self, Cancelled, CycleContext, CycleResult, ProgressEvent, RebuildOutcome};
use crate::git::Fetcher;
use crate::ledger::Release;
use crate::package::Limits;
use crate::package::plan::Outcome;
use crate::store::{self, Volume};
use crate::util::cancel::CancelFlag;
use crate::util::heap;

/// Told each step of a cycle, from any thread.
pub(crate) type Observer<'a> = &'a (dyn Fn(ProgressEvent<'_>) + Sync);

/// Nobody looks but at the terminal.
pub(crate) const NO_OBSERVER: Observer<'static> = &|_| {};

/// Runs one cycle of `repository`, tells `observer` its steps, logs its summary and answers how it ended.
pub(crate) fn run_cycle(
    app: &App,
    volume: &Volume,
    repository: &Repository,
    store: &store::RepositoryStore,
    observer: Observer<'_>,
    cancel: &CancelFlag,
) -> anyhow::Result<CycleResult> {
    // Before anything is recorded in a folder that is to have another one's place.
    check_not_renamed(app, volume, repository)?;
    let finished = recorded(store, || {
        with_cycle_context(app, volume, repository, store, observer, cancel, cycle::run)
    });
    heap::trim();
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
    store: &store::RepositoryStore,
    cycle: impl FnOnce() -> anyhow::Result<CycleResult>,
) -> anyhow::Result<CycleResult> {
    let warn = |written: anyhow::Result<()>| {
        if let Err(error) = written {
            tracing::warn!("the status page will not know of this cycle: {error:#}");
        }
    };
    let began = now();
    warn(store.record_run_start(began));
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
fn look_for_damage(store: &store::RepositoryStore, finished: Option<&CycleResult>) -> anyhow::Result<()> {
    let mut damaged = store.missing_archives()?;
    damaged.extend(finished.iter().flat_map(|finished| finished.damaged.clone()));
    store.recheck_damaged(damaged)
}

/// Leaves a record of a cycle that could not even begin; none where the repository's folder is gone.
pub(crate) fn record_failed_start(store: &store::RepositoryStore, error: &anyhow::Error) {
    if !store.root().exists() {
        return;
    }
    if let Err(error) = given_up(store, now(), error) {
        tracing::warn!("the status page will not know of this cycle: {error:#}");
    }
}

fn given_up(store: &store::RepositoryStore, began: Timestamp, error: &anyhow::Error) -> anyhow::Result<()> {
    let error = Some(store.strip_volume_path(&format!("{error:#}")));
    let cycle = store::Run {
        error,
        ..ended(began)
    };
    store.record_run_end(cycle, store.run_history().report)
}

/// Now, with nothing done.
fn ended(began: Timestamp) -> store::Run {
    store::Run {
        began,
        ended: now(),
        published: 0,
        stages: BTreeMap::new(),
        complete: false,
        error: None,
    }
}

fn record(store: &store::RepositoryStore, ended: store::Run, finished: &CycleResult) -> anyhow::Result<()> {
    let milliseconds = |took: &Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let stages = finished.stages.iter();
    let cycle = store::Run {
        published: finished.published,
        stages: stages
            .map(|(stage, took)| ((*stage).to_owned(), milliseconds(took)))
            .collect(),
        complete: finished.report.is_complete() && store.run_history().damaged.is_empty(),
        ..ended
    };
    let beside = (!finished.report_in_snapshot).then_some(&finished.report);
    store.record_run_end(cycle, beside.map(serde_json::to_value).transpose()?)
}

/// In whole seconds.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}

/// See [`Volume::check_not_renamed`].
pub(crate) fn check_not_renamed(app: &App, volume: &Volume, repository: &Repository) -> anyhow::Result<()> {
    let names = app.repositories.iter().map(|repository| &*repository.name);
    volume.check_not_renamed(&repository.name, &repository.base_url.to_string(), names)
}

/// Does `work` on a repository under the configuration. A panic is an error like any other: the server goes on.
pub(crate) fn with_cycle_context<T>(
    app: &App,
    volume: &Volume,
    repository: &Repository,
    store: &store::RepositoryStore,
    observer: Observer<'_>,
    cancel: &CancelFlag,
    work: impl FnOnce(&CycleContext<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    check_not_renamed(app, volume, repository)?;
    let (git, limits) = (&app.config.git, &app.config.limits);
    let fetcher = Fetcher::new(&app.config.git, app.config.limits.refs.get())?;
    let display = ProgressBars::new();
    let job = CycleContext {
        store,
        clones: volume.clones(),
        recipes: &app.repositories.iter().map(|r| &r.recipe).collect::<Vec<_>>(),
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
        workers: app.config.build.workers().get(),
        limits: Limits {
            manifest: limits.manifest as u64,
            file: limits.file as u64,
            package: limits.package as u64,
            entries: limits.entries.get() as u64,
            depth: limits.depth.get(),
        },
        max_removed: app.config.build.max_removed.0,
        retention: store::Retention {
            snapshots: app.config.snapshots.keep.get(),
            grace: app.config.snapshots.grace,
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
pub(crate) fn rebuild(
    app: &App,
    volume: &Volume,
    repository: &Repository,
    store: &store::RepositoryStore,
    releases: &[Release],
    mend: bool,
    cancel: &CancelFlag,
) -> anyhow::Result<Vec<(Release, RebuildOutcome)>> {
    with_cycle_context(app, volume, repository, store, NO_OBSERVER, cancel, |job| {
        cycle::rebuild(job, releases, mend)
    })
}
