//! Uploads what is published to the bucket, after each change, in a process of its own. What fails is tried again; the mirror
//! itself is not affected. If another builder was first, a cycle is requested, which takes over what it has published.

use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use super::backoff::retry_delay;
use super::configuration::Configuration;
use super::cycle_progress::CycleProgress;
use super::{cycle_process, jobs};
use crate::app::App;
use crate::app::bucket_upload::bucket_record;
use crate::app::cycle_job::{Job, JobEnd, JobResult, Work};
use crate::cycle::Cancelled;
use crate::server::PublishedSite;
use crate::status::RunningCycle;
use crate::store::{BucketFailure, RepositoryStore};
use crate::util::cancel::CancelFlag;
use crate::util::clock::now;

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Compressed copies are made one after the other, and uploaded together when none was made for so long.
const QUIET: Duration = Duration::from_secs(20);

/// An operator who has repaired a bucket looks for the result.
const MAX_DELAY: Duration = Duration::from_secs(300);

/// The number of the snapshot, when compressed copies last changed, and when a cycle last ended.
type Version = (Option<u64>, Option<SystemTime>, Option<Timestamp>);

/// Uploads under one configuration, until it ends.
pub(super) fn run(
    configuration: &Configuration,
    volume_id: &str,
    published: &PublishedSite,
    progress: &CycleProgress,
) {
    let Configuration { app, stores, stop, .. } = configuration;
    if app.config.bucket.is_none() {
        return;
    }
    let uploads = app.names().zip(stores);
    let mut uploads: Vec<_> =
        uploads.map(|(name, store)| Upload::new(app, name, store, volume_id, progress)).collect();
    while !stop.is_set() {
        for upload in &mut uploads {
            upload.poll(published, stop);
        }
        stop.wait(POLL_INTERVAL);
    }
}

/// Another builder was first.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct TooLate(String);

/// The uploads of one repository.
struct Upload<'a> {
    app: &'a App,
    name: &'a str,
    store: &'a RepositoryStore,
    volume_id: &'a str,
    progress: &'a CycleProgress,
    /// What was uploaded last.
    uploaded: Option<Version>,
    /// What is on the volume, and since when.
    seen: (Version, Instant),
    /// When a cycle last ended, and when its record was written.
    last_cycle: (Option<SystemTime>, Option<Timestamp>),
    failures: u32,
    retry: Option<Instant>,
    /// The last error. Each is logged once.
    error: Option<String>,
}

impl<'a> Upload<'a> {
    fn new(
        app: &'a App,
        name: &'a str,
        store: &'a RepositoryStore,
        volume_id: &'a str,
        progress: &'a CycleProgress,
    ) -> Self {
        let seen = ((None, None, None), Instant::now());
        Self {
            app,
            name,
            store,
            volume_id,
            progress,
            uploaded: None,
            seen,
            last_cycle: (None, None),
            failures: 0,
            retry: None,
            error: None,
        }
    }

    fn poll(&mut self, published: &PublishedSite, stop: &CancelFlag) {
        let Ok(newest) = self.store.newest_snapshot() else { return };
        let number = newest.map(|snapshot| snapshot.manifest.number);
        let ended = self.last_cycle();
        let version = (number, self.store.variants_changed(), ended);
        if self.seen.0 != version {
            self.seen = (version, Instant::now());
        }
        let is_due = match (self.retry, self.uploaded) {
            _ if number.is_none() || stop.is_set() => false,
            (Some(retry), _) => retry <= Instant::now(),
            (None, None) => true,
            (None, Some(uploaded)) => {
                let is_urgent = uploaded.0 != number || uploaded.2 != ended;
                is_urgent || (uploaded != version && self.seen.1.elapsed() >= QUIET)
            }
        };
        if !is_due {
            return;
        }
        match self.upload(stop) {
            Ok(()) => {
                if self.error.take().is_some() {
                    tracing::info!(repository = self.name, "the bucket has what is published again");
                }
                (self.uploaded, self.failures, self.retry) = (Some(version), 0, None);
            }
            Err(error) if error.is::<Cancelled>() => {}
            Err(error) if error.is::<TooLate>() => {
                tracing::info!(repository = self.name, "{error:#}");
                published.request_cycle(self.name);
                self.retry = Some(Instant::now() + retry_delay(1));
            }
            Err(error) => {
                self.failures += 1;
                self.retry = Some(Instant::now() + retry_delay(self.failures).min(MAX_DELAY));
                let error = format!("{error:#}");
                if self.error.as_ref() != Some(&error) {
                    let repository = self.name;
                    tracing::error!(
                        repository,
                        "failed to publish to the bucket, where the last state stays: {error}"
                    );
                }
                self.error = Some(error);
            }
        }
    }

    /// When a cycle last ended.
    fn last_cycle(&mut self) -> Option<Timestamp> {
        let changed = self.store.run_history_modified();
        if self.last_cycle.0 != changed {
            self.last_cycle = (changed, self.store.run_history().last().map(|run| run.ended));
        }
        self.last_cycle.1
    }

    fn upload(&self, stop: &CancelFlag) -> anyhow::Result<()> {
        let work = Work::Upload { probes: self.uploaded.is_none() && self.failures == 0 };
        let memory = jobs::JobLimits::of(self.app).memory;
        let job = Job::new(self.app, self.volume_id, self.name, self.store, memory, work);
        let on_progress = |now: RunningCycle| self.progress.set_upload(self.name, Some(now.objects));
        let ended = cycle_process::run(&job, self.app.config.limits.cycle_deadline, &on_progress, stop);
        self.progress.set_upload(self.name, None);
        match ended {
            Ok(JobEnd { result, .. }) => match result {
                JobResult::Done(_) | JobResult::Locked(_) => Ok(()),
                JobResult::Interrupted => anyhow::bail!(Cancelled),
                JobResult::Overtaken(error) => anyhow::bail!(TooLate(error)),
                JobResult::NotStarted(error) | JobResult::Failed(error) => anyhow::bail!(error),
            },
            Err(error) if error.is::<Cancelled>() => Err(error),
            Err(error) => {
                let error = error.context("the upload was aborted");
                self.record(&error);
                Err(error)
            }
        }
    }

    /// Records that the process of an upload has died; it records other failures itself.
    fn record(&self, error: &anyhow::Error) {
        let Some(config) = &self.app.config.bucket else { return };
        let mut record = bucket_record(config, self.store);
        let since = record.failure.map_or_else(now, |failure| failure.since);
        record.failure = Some(BucketFailure { since, error: format!("{error:#}") });
        if let Err(error) = self.store.record_bucket(&record) {
            tracing::warn!("failed to record the upload for the status page: {error:#}");
        }
    }
}
