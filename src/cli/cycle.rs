//! `mirror cycle`: one job of a running `mirror run`, which starts it as a process of its own.
//!
//! Only this process handles upstream data, so the server continues whatever that does to it. It limits its own memory, and ends
//! soon after the server's process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
use thread_priority::{set_thread_priority_and_policy, thread_native_id};

use crate::app::bucket_upload::BucketJob;
use crate::app::compress::make_variants;
use crate::app::cycle_job::{Job, JobEnd, JobResult, Message, Work};
use crate::app::cycle_runner::{Observer, OpenRepository, check_not_renamed};
use crate::app::exit::Exit;
use crate::app::repair::repair;
use crate::app::{App, Repository};
use crate::bucket::difference::Overtaken;
use crate::cycle::{self, Cancelled, ProgressEvent};
use crate::daemon::signals::on_stop_signal;
use crate::status::RunningCycle;
use crate::store::{RepositoryStore, Volume, VolumeLockError};
use crate::telemetry::{OnBlocked, init_logging};
use crate::util::cancel::CancelFlag;
use crate::util::clock::now;
use crate::util::heap;
use crate::util::threads::{self, ThreadError};

/// How often progress is reported.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// How long a job may take to end after it was interrupted.
const END_GRACE: Duration = Duration::from_millis(500);

/// The kernel lets a thread of the server run at once in place of one with this policy, which no niceness achieves.
const POLICY: ThreadSchedulePolicy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);

/// When memory runs out, the kernel kills this process first. Every user may raise the value.
const OOM_SCORE: &str = "1000";

pub(super) fn run() -> anyhow::Result<Exit> {
    let mut line = String::new();
    io::stdin().read_line(&mut line).context("failed to read the job")?;
    let job = serde_json::from_str::<Job>(&line);
    let mut job = job.context("failed to read the job\nhint: `mirror build` runs a cycle by hand")?;
    let limited = limit(&job);
    init_logging(job.log.format, job.log.level, OnBlocked::Drop)?;
    if let Err(error) = limited {
        tracing::warn!("the memory of this cycle is not limited: {error:#}");
    }
    let end = run_job(&mut job).unwrap_or_else(|error| JobEnd {
        result: JobResult::NotStarted(format!("{error:#}")),
        unwritten: None,
    });
    send(&Message::Ended(end))?;
    Ok(Exit::Complete)
}

fn run_job(job: &mut Job) -> anyhow::Result<JobEnd> {
    let cancel = CancelFlag::default();
    end_with_parent(&cancel)?;
    let app = job.load_app()?;
    let progress = report_progress()?;
    let observer = |event: ProgressEvent<'_>| {
        let mut progress = progress.lock();
        progress.update(event);
        // At once: this process may die of the source.
        if let ProgressEvent::Working { .. } = event {
            let _ = send(&Message::Progress(progress.clone()));
        }
    };
    Ok(work(&app, job, &observer, &cancel))
}

/// Applies the limits that a process can set for itself.
fn limit(job: &Job) -> anyhow::Result<()> {
    // Lists of processes would show it as `exe`.
    let _ = rustix::thread::set_name(match job.work {
        Work::Cycle | Work::Move | Work::Repair(_) => c"mirror",
        Work::Compress => c"mirror-compress",
        Work::Upload { .. } => c"mirror-upload",
    });
    // The threads that this one starts inherit it.
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, POLICY);
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    heap::on_allocation_failure(|| {
        let _ = rustix::io::write(rustix::stdio::stdout(), b"\n\"OutOfMemory\"\n");
    });
    heap::share_arenas();
    let Some(memory) = job.memory else { return Ok(()) };
    let Rlimit { maximum, .. } = getrlimit(Resource::Data);
    let current = Some(memory.min(maximum.unwrap_or(u64::MAX)));
    setrlimit(Resource::Data, Rlimit { current, maximum }).context("failed to set its limit")
}

/// Ends this process on SIGTERM, and when the parent closes the input, at the latest when the parent is killed.
fn end_with_parent(cancel: &CancelFlag) -> anyhow::Result<()> {
    let end = {
        let cancel = cancel.clone();
        move || {
            cancel.set();
            thread::sleep(END_GRACE);
            process::exit(128 + libc::SIGTERM);
        }
    };
    let on_closed = end.clone();
    threads::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        on_closed();
    })?;
    on_stop_signal(move |_| end())
}

/// Reports the returned progress periodically if it has changed.
fn report_progress() -> Result<Arc<Mutex<RunningCycle>>, ThreadError> {
    let progress = Arc::new(Mutex::new(RunningCycle::new(now())));
    let shared = Arc::clone(&progress);
    threads::spawn(move || -> () {
        let mut sent = shared.lock().clone();
        loop {
            thread::sleep(PROGRESS_INTERVAL);
            // Locked while it is sent, so that none is sent after a later one.
            let current = shared.lock();
            if *current != sent && send(&Message::Progress(current.clone())).is_ok() {
                sent.clone_from(&current);
            }
        }
    })?;
    Ok(progress)
}

fn send(message: &Message) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut output = io::stdout().lock();
    output.write_all(&line).and_then(|()| output.flush()).context("failed to report to `mirror run`")
}

/// The repository of a job, locked unless it is only to be compressed.
struct OpenJob<'a> {
    repository: &'a Repository,
    volume: Volume,
    store: RepositoryStore,
}

fn work(app: &App, job: &Job, observer: Observer<'_>, cancel: &CancelFlag) -> JobEnd {
    let OpenJob { repository, volume, store } = match open(app, job) {
        Ok(opened) => opened,
        Err(error) => {
            let result = match error.downcast_ref() {
                Some(VolumeLockError::Held(folder)) => JobResult::Locked(folder.clone()),
                _ => JobResult::NotStarted(format!("{error:#}")),
            };
            return JobEnd { result, unwritten: None };
        }
    };
    let opened = OpenRepository { app, volume: &volume, repository, store: &store };
    let result = match &job.work {
        Work::Cycle => match opened.run_cycle(observer, cancel) {
            Ok(_) => JobResult::Done(BTreeMap::new()),
            Err(error) if error.is::<Cancelled>() => JobResult::Interrupted,
            Err(error) => JobResult::Failed(format!("{error:#}")),
        },
        Work::Move => match opened.with_cycle_context(observer, cancel, cycle::move_to_base_url) {
            Ok(_) => JobResult::Done(BTreeMap::new()),
            Err(error) => JobResult::Failed(format!("{error:#}")),
        },
        Work::Repair(files) => match repair(&opened, files, cancel) {
            _ if cancel.is_set() => JobResult::Interrupted,
            damaged => JobResult::Done(damaged),
        },
        Work::Compress => match make_variants(repository, &store, app.config.serve.compression, cancel) {
            Ok(()) => JobResult::Done(BTreeMap::new()),
            Err(error) => JobResult::Failed(format!("{error:#}")),
        },
        Work::Upload { probes } => {
            let (store, volume_id, probes) = (&store, job.volume_id.as_str(), *probes);
            match (BucketJob { app, repository, store, volume_id, probes, observer }).run(cancel) {
                Ok(_) => JobResult::Done(BTreeMap::new()),
                Err(_) if cancel.is_set() => JobResult::Interrupted,
                Err(error) if error.is::<Overtaken>() => JobResult::Overtaken(format!("{error:#}")),
                Err(error) => JobResult::Failed(format!("{error:#}")),
            }
        }
    };
    JobEnd { result, unwritten: store.unwritten_history() }
}

fn open<'a>(app: &'a App, job: &Job) -> anyhow::Result<OpenJob<'a>> {
    let repository = app.repository(Some(&job.repository))?;
    let volume = match job.work {
        Work::Cycle | Work::Move | Work::Repair(_) => Volume::open_shared(&job.data, &job.volume_id)?,
        // Variants are written without a lock, and uploads write no more than their record.
        Work::Compress | Work::Upload { .. } => Volume::open_read_only(&job.data)?,
    };
    // Before the folder of the repository would be created: it may have been renamed.
    check_not_renamed(app, &volume, repository)?;
    let store = volume.repository_with(&repository.name, job.intact)?;
    Ok(OpenJob { repository, volume, store })
}
