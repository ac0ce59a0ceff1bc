//! Compresses published files after each change, in a process of its own with low priority, so that it takes neither memory nor
//! processors from the server. What fails is served uncompressed and tried again.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::backoff::retry_delay;
use super::configuration::Configuration;
use super::{cycle_process, jobs};
use crate::app::cycle_job::{Job, JobEnd, JobResult, Work};
use crate::cycle::Cancelled;
use crate::store::RepositoryStore;

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Compresses after each of the `changes`.
pub(super) fn run(configuration: &Configuration, volume_id: &str, changes: &Receiver<()>) {
    let stop = &configuration.stop;
    let (mut due, mut failures) = (None, 0);
    while !stop.is_set() {
        if changes.try_iter().count() > 0 {
            (due, failures) = (Some(Instant::now()), 0);
        }
        if due.take_if(|due| *due <= Instant::now()).is_some() && !compress_all(configuration, volume_id) {
            failures += 1;
            due = Some(Instant::now() + retry_delay(failures));
        }
        stop.wait(POLL_INTERVAL);
    }
}

/// Returns whether all repositories are compressed.
fn compress_all(configuration: &Configuration, volume_id: &str) -> bool {
    let mut is_complete = true;
    for (repository, store) in configuration.app.names().zip(&configuration.stores) {
        match compress(configuration, volume_id, repository, store) {
            Ok(()) => {}
            Err(error) if error.is::<Cancelled>() => return false,
            Err(error) => {
                tracing::warn!(repository, "failed to compress files, serving uncompressed: {error:#}");
                is_complete = false;
            }
        }
    }
    is_complete
}

fn compress(
    Configuration { app, stop, .. }: &Configuration,
    volume_id: &str,
    repository: &str,
    store: &RepositoryStore,
) -> anyhow::Result<()> {
    let memory = jobs::JobLimits::of(app).memory;
    let job = Job::new(app, volume_id, repository, store, memory, Work::Compress);
    let JobEnd { result, .. } = cycle_process::run(&job, app.config.limits.cycle_deadline, &drop, stop)?;
    match result {
        JobResult::Done(_) => Ok(()),
        JobResult::Interrupted => anyhow::bail!(Cancelled),
        JobResult::Locked(_) => Ok(()),
        JobResult::NotStarted(error) | JobResult::Failed(error) | JobResult::Overtaken(error) => {
            anyhow::bail!(error)
        }
    }
}
