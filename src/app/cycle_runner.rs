//! Runs cycles, plans and rebuilds of one repository, records how a cycle ended and logs its result.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use anyhow::anyhow;
use jiff::Timestamp;
use url::Url;

use super::progress_bar::ProgressBars;
use super::{App, Repository};
use crate::cycle::{
    self, Cancelled, CycleContext, CycleResult, FailureGroup, Imported, NamedFailure, ProgressEvent,
    RebuildOutcome, SourceReport, group_failures,
};
use crate::git::Fetcher;
use crate::ledger::Release;
use crate::package::plan::OutcomeRow;
use crate::store::{RepositoryStore, Run, SnapshotRetention, Volume, durable_fs};
use crate::util::cancel::CancelFlag;
use crate::util::clock::now;
use crate::util::heap;

/// Receives the progress events of a cycle, from any thread.
pub(crate) type Observer<'a> = &'a (dyn Fn(ProgressEvent<'_>) + Sync);

pub(crate) const NO_OBSERVER: Observer<'static> = &|_| {};

/// A repository on an opened volume.
#[derive(Clone, Copy)]
pub(crate) struct OpenRepository<'a> {
    pub(crate) app: &'a App,
    pub(crate) volume: &'a Volume,
    pub(crate) repository: &'a Repository,
    pub(crate) store: &'a RepositoryStore,
}

impl OpenRepository<'_> {
    /// Takes over what the bucket has, runs one cycle, records it for the status page and logs its result.
    pub(crate) fn run_cycle(
        &self,
        observer: Observer<'_>,
        cancel: &CancelFlag,
    ) -> anyhow::Result<CycleResult> {
        // Checked before the record is written: the folder may belong to a renamed repository.
        check_not_renamed(self.app, self.volume, self.repository)?;
        self.close_to_others();
        let _rollback = self.rollback_span()?.entered();
        let cycle = |context: &CycleContext<'_>| {
            self.catch_up(context)?;
            cycle::run(context)
        };
        let result = self.record_run(|| self.with_cycle_context(observer, cancel, cycle));
        heap::trim();
        let result = result?;
        log_result(&self.repository.name, &result);
        Ok(result)
    }

    /// Closes the folders of a private repository, and the clones that it is built from, to other users of the machine.
    pub(crate) fn close_to_others(&self) {
        let folders = [self.store.root().to_owned(), self.volume.clones()];
        for folder in folders.iter().filter(|_| self.repository.is_private) {
            if let Err(error) = durable_fs::close_to_others(folder) {
                tracing::warn!(repository = self.repository.name, "{error:#}");
            }
        }
    }

    /// Runs a cycle and records it for the status page. A cancelled cycle stays recorded as running, so that the next start
    /// resumes it.
    fn record_run(&self, cycle: impl FnOnce() -> anyhow::Result<CycleResult>) -> anyhow::Result<CycleResult> {
        let (store, began) = (self.store, now());
        match store.record_run_start(began) {
            Ok(Some(interrupted)) => log_interrupted(&self.repository.name, interrupted),
            started => warn_unrecorded(started.map(drop)),
        }
        let result = cycle();
        if result.as_ref().is_err_and(anyhow::Error::is::<Cancelled>) {
            return result;
        }
        warn_unrecorded(record_damage(store, result.as_ref().ok()));
        warn_unrecorded(match &result {
            Ok(result) => record_result(store, began, result),
            Err(error) => record_failure(store, began, error),
        });
        result
    }

    /// Imports a bundle and records that as a cycle. A bundle that is refused changes nothing, and is not recorded.
    pub(crate) fn import(&self, from: &Url) -> anyhow::Result<Imported> {
        let began = now();
        check_not_renamed(self.app, self.volume, self.repository)?;
        self.close_to_others();
        let imported = self.run_command(|context| cycle::import(context, from))?;
        warn_unrecorded(record_damage(self.store, Some(&imported.result)));
        warn_unrecorded(record_result(self.store, began, &imported.result));
        Ok(imported)
    }

    /// A span whose field is in every log line of a cycle during a rollback.
    fn rollback_span(&self) -> anyhow::Result<tracing::Span> {
        let latest = self.store.latest_snapshot()?;
        let target = latest.and_then(|snapshot| snapshot.manifest.rollback_to);
        Ok(match target {
            Some(rollback_to) => tracing::error_span!("cycle", rollback_to),
            None => tracing::Span::none(),
        })
    }

    /// Rebuilds published versions; see [`cycle::rebuild`].
    pub(crate) fn rebuild(
        &self,
        releases: &[Release],
        repair: bool,
        cancel: &CancelFlag,
    ) -> anyhow::Result<Vec<(Release, RebuildOutcome)>> {
        self.with_cycle_context(NO_OBSERVER, cancel, |context| cycle::rebuild(context, releases, repair))
    }

    /// Runs the work of a command, which nobody observes or cancels.
    pub(crate) fn run_command<T>(
        &self,
        work: impl FnOnce(&CycleContext<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.with_cycle_context(NO_OBSERVER, &CancelFlag::default(), work)
    }

    /// Runs `work` with the context of a cycle. A panic becomes an error, so that the server continues.
    pub(crate) fn with_cycle_context<T>(
        &self,
        observer: Observer<'_>,
        cancel: &CancelFlag,
        work: impl FnOnce(&CycleContext<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let Self { app, volume, repository, store } = *self;
        check_not_renamed(app, volume, repository)?;
        let config = &app.config;
        let fetcher = Fetcher::new(&config.git, &config.limits)?;
        let bars = ProgressBars::new();
        let volume_id = volume.id();
        let context = CycleContext {
            store,
            clones: volume.clones(),
            recipes: &app.repositories.iter().map(|r| &r.recipe).collect::<Vec<_>>(),
            base_url: &repository.base_url,
            metadata: repository.metadata,
            hints: &repository.hints,
            is_private: repository.is_private,
            is_trial: app.is_trial(),
            recipe: &repository.recipe,
            follow: &repository.follow,
            bucket: None,
            network: &config.git,
            site: &config.site,
            // Without a lock: the other repository may be built at this time.
            other: &|name| Volume::open_read_only(&config.data)?.repository(name)?.newest_snapshot(),
            volume_id: &volume_id,
            rewrite: &|url| config.git.rewrite(url),
            fetcher: &fetcher,
            cancel,
            progress: &|event| {
                bars.update(event);
                observer(event);
            },
            fetches: config.git.parallel.get(),
            workers: config.build.workers().get(),
            limits: &config.limits,
            deadline: None,
            max_removed: config.build.max_removed.0,
            retention: SnapshotRetention {
                snapshots: config.snapshots.keep.get(),
                grace: config.snapshots.grace,
            },
        };
        catch_unwind(AssertUnwindSafe(|| work(&context))).unwrap_or_else(|panic| {
            let message = panic.downcast_ref::<&str>().copied();
            let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            let message = message.unwrap_or("unknown");
            Err(anyhow!("the work panicked, which is a bug of this program: {message}"))
        })
    }
}

/// See [`Volume::check_not_renamed`].
pub(crate) fn check_not_renamed(app: &App, volume: &Volume, repository: &Repository) -> anyhow::Result<()> {
    let names = app.repositories.iter().map(|repository| &*repository.name);
    volume.check_not_renamed(&repository.name, &repository.base_url.to_string(), names)
}

/// Records a cycle that failed before it could start, or whose process has died. Nothing is recorded if the repository has
/// no folder.
pub(crate) fn record_failed_run(store: &RepositoryStore, began: Timestamp, error: &anyhow::Error) {
    if store.root().exists() {
        warn_unrecorded(record_failure(store, began, error));
    }
}

fn warn_unrecorded(written: anyhow::Result<()>) {
    if let Err(error) = written {
        tracing::warn!("failed to record the cycle for the status page: {error:#}");
    }
}

/// Records missing archives and those that the cycle found damaged. The others are not read.
fn record_damage(store: &RepositoryStore, result: Option<&CycleResult>) -> anyhow::Result<()> {
    let mut damaged = store.missing_archives()?;
    damaged.extend(result.iter().flat_map(|result| result.damaged.clone()));
    store.recheck_damaged(damaged)
}

fn record_failure(store: &RepositoryStore, began: Timestamp, error: &anyhow::Error) -> anyhow::Result<()> {
    let run = Run { error: Some(store.strip_volume_path(&format!("{error:#}"))), ..empty_run(began) };
    store.record_run_end(run, store.run_history().report)
}

fn record_result(store: &RepositoryStore, began: Timestamp, result: &CycleResult) -> anyhow::Result<()> {
    let milliseconds = |took: &Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let stages = result.stages.iter();
    let run = Run {
        published: result.published,
        stages: stages.map(|(stage, took)| ((*stage).to_owned(), milliseconds(took))).collect(),
        complete: result.report.is_complete() && store.run_history().damaged.is_empty(),
        ..empty_run(began)
    };
    let report = (!result.report_in_snapshot).then_some(&result.report);
    store.record_run_end(run, report.map(serde_json::to_value).transpose()?)
}

/// A run that ends now and did nothing.
fn empty_run(began: Timestamp) -> Run {
    Run { began, ended: now(), published: 0, stages: BTreeMap::new(), complete: false, error: None }
}

/// Only the holder of the repository's lock asks, so the other cycle does not run any more.
fn log_interrupted(repository: &str, began: Timestamp) {
    tracing::warn!(
        repository,
        %began,
        "the previous cycle did not end: its process was stopped or killed, or the machine went down; \
         what it published stays, and this cycle does the rest"
    );
}

fn log_result(repository: &str, result: &CycleResult) {
    let sources = &result.report.sources;
    log_failed_packages(repository, sources.values().flat_map(|report| &report.failed));
    let count = |count: fn(&SourceReport) -> usize| sources.values().map(count).sum::<usize>();
    // A macro, because the level of an event is fixed.
    macro_rules! log {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                repository,
                new = result.published,
                published = result.versions.values().sum::<usize>(),
                excluded = count(SourceReport::excluded_versions),
                failed = count(SourceReport::failed_versions),
                failed_sources = count(|s| usize::from(s.error.is_some())),
                held_back = count(SourceReport::held_back_versions),
                damaged = result.damaged.len(),
                gaps = result.report.gaps.len(),
                diverged = result.report.diverged().count(),
                tag_entries = count(|s| s.published + s.excluded.len() + s.failed.len() + s.held_back.len()),
                snapshot = result.snapshot.as_ref().map(|s| s.manifest.number),
                $message
            )
        };
    }
    match result.report.is_complete() && result.damaged.is_empty() {
        true => log!(info, "cycle finished"),
        false => log!(warn, "cycle finished with failures"),
    }
    if result.report.is_complete() && result.versions.is_empty() {
        tracing::warn!(
            repository,
            "no source gives a version to publish\nhint: `mirror plan` says what each of them gives"
        );
    }
}

fn log_failed_packages<'r>(repository: &str, failed: impl Iterator<Item = &'r OutcomeRow>) {
    let failure =
        |row: &OutcomeRow| Some(NamedFailure { name: row.name(), reason: row.outcome.reason()?.to_owned() });
    let (single, groups) = group_failures(failed.filter_map(failure).collect());
    for NamedFailure { name, reason } in single {
        tracing::error!(repository, package = name, "failed: {reason}");
    }
    for FailureGroup { count, names, reason } in groups {
        tracing::error!(repository, packages = names, "{count} failed: {reason}");
    }
}
