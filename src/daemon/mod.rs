//! The daemon: what `mirror run` and `mirror serve` do besides answering requests.
//!
//! Each task has a thread of its own. All of them run under one configuration; when it changes, they end and start again
//! under the new one, while the server keeps running.

mod backoff;
mod config_watcher;
mod cycle_process;
mod cycle_progress;
mod help_pages;
mod jobs;
mod notifier;
mod repair_queue;
mod repository_view;
mod runtime;
mod scheduler;
mod scrubber;
pub(crate) mod signals;
mod snapshot_follower;
mod status_publisher;
pub(crate) mod users_watcher;
mod webhook_targets;

use std::mem;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use self::config_watcher::ConfigWatcher;
use self::cycle_progress::CycleProgress;
use self::notifier::NotifierState;
use self::runtime::{ServerHandles, run_server};
use self::scheduler::Scheduler;
use self::signals::Signals;
use self::snapshot_follower::SnapshotFollower;
use self::status_publisher::{BuildHandles, StatusPublisher};
use self::users_watcher::UsersWatcher;
use self::webhook_targets::webhook_targets;
use crate::app::compress::make_variants;
use crate::app::cycle_runner::{OpenRepository, check_not_renamed};
use crate::app::exit::Exit;
use crate::app::{App, local_socket};
use crate::store::{RepositoryStore, Scrub, Volume, VolumeLockError};
use crate::util::cancel::CancelFlag;

/// How long a second instance waits until the first one has created the volume.
const CREATION_TIMEOUT: Duration = Duration::from_secs(10);

/// How often `mirror serve`, which repairs nothing, reports the same damaged file again.
const DAMAGE_REPORT_INTERVAL: Duration = Duration::from_secs(600);

/// Builds on schedule and serves. The volume is locked only during cycles, so that several instances can share it: an
/// instance that finds it locked follows what the other one publishes.
pub(crate) fn run(app: App, path: Option<&Path>) -> anyhow::Result<Exit> {
    let (volume, may_build) = open_volume(&app.config.data)?;
    volume.log_warnings();
    volume.warn_orphaned_repositories(app.names());
    let id = volume.id();
    let volume_id = may_build.then_some(id.as_str());
    let stores = open_stores(&app, &volume);
    users_watcher::check(&app)?;
    for (repository, store) in app.repositories.iter().zip(&stores) {
        if may_build && store.root().exists() {
            OpenRepository { app: &app, volume: &volume, repository, store }.close_to_others();
        }
    }
    drop(volume);
    run_server(&app.config.clone(), local_socket(path), |server, signals| {
        // A new configuration can change everything, so all cycles are due after a reload.
        let mut is_reloaded = false;
        let mut notifications = NotifierState::default();
        let scrub = Scrub::default();
        for_each_configuration(app, stores, path, server, signals, |app, stores, stop| {
            app.log_warnings();
            let progress = CycleProgress::default();
            let build = BuildHandles { scrub: &scrub, progress: &progress };
            let period = app.config.verify.scrub;
            thread::scope(|scope| {
                let _guard = StopOnPanic(stop);
                let (site_changed, changes) = mpsc::channel();
                if may_build {
                    spawn(scope, stop, move || compress(app, stores, &changes, stop));
                }
                spawn_status_threads(scope, app, stores, server, Some(build), stop);
                spawn(scope, stop, || {
                    notifier::run(app, stores, &mut notifications, stop);
                });
                spawn(scope, stop, || {
                    scrubber::run(period, stores, server.published, &scrub, stop);
                });
                if may_build {
                    server.published.set_webhooks(webhook_targets(app));
                }
                let scheduler = Scheduler {
                    app,
                    volume_id,
                    follower: SnapshotFollower::new(app, stores, server.published),
                    site_changed,
                    progress: &progress,
                    stop,
                };
                scheduler.run(mem::replace(&mut is_reloaded, true));
            });
        });
    })
}

/// Serves what another instance publishes.
pub(crate) fn serve(app: App, path: Option<&Path>) -> anyhow::Result<Exit> {
    let volume = Volume::open_read_only(&app.config.data)?;
    let stores = open_stores(&app, &volume);
    users_watcher::check(&app)?;
    run_server(&app.config.clone(), local_socket(path), |server, signals| {
        for_each_configuration(app, stores, path, server, signals, |app, stores, stop| {
            thread::scope(|scope| {
                let _guard = StopOnPanic(stop);
                spawn_status_threads(scope, app, stores, server, None, stop);
                let mut follower = SnapshotFollower::new(app, stores, server.published);
                follower.follow();
                let mut reported = Instant::now();
                while !stop.is_set() {
                    follower.poll();
                    // Taking the damaged files makes the server report each of them again.
                    if reported.elapsed() >= DAMAGE_REPORT_INTERVAL {
                        server.published.take_damaged();
                        reported = Instant::now();
                    }
                    stop.wait(Duration::from_secs(1));
                }
            });
        });
    })
}

/// Starts the threads that watch users and publish the status. Both have done their first round when this returns.
fn spawn_status_threads<'scope>(
    scope: &'scope Scope<'scope, '_>,
    app: &'scope App,
    stores: &'scope [RepositoryStore],
    server: ServerHandles<'scope>,
    build: Option<BuildHandles<'scope>>,
    stop: &'scope CancelFlag,
) {
    let users = UsersWatcher::load(app, server.published);
    let status = StatusPublisher::new(app, stores, server, build);
    spawn(scope, stop, move || users.run(stop));
    spawn(scope, stop, move || status.run(stop));
}

fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    stop: &'scope CancelFlag,
    work: impl FnOnce() + Send + 'scope,
) {
    scope.spawn(move || {
        let _guard = StopOnPanic(stop);
        work();
    });
}

/// Sets the flag when its thread panics, so that the other threads end, and the process with them.
struct StopOnPanic<'a>(&'a CancelFlag);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.set();
        }
    }
}

/// Runs `work` with the configuration, and again with each new one, until the process stops. `work` must end when its flag is
/// set.
fn for_each_configuration(
    mut app: App,
    mut stores: Vec<RepositoryStore>,
    path: Option<&Path>,
    server: ServerHandles<'_>,
    signals: &Signals,
    mut work: impl FnMut(&App, &[RepositoryStore], &CancelFlag),
) {
    let mut watcher = ConfigWatcher::new(path, &app, signals.reload.clone());
    while !signals.stop.is_set() {
        let stop = CancelFlag::default();
        let next = thread::scope(|scope| {
            let _guard = StopOnPanic(&signals.stop);
            let next = scope.spawn(|| {
                let _guard = StopOnPanic(&stop);
                let next = next_configuration(&mut watcher, &app, server, &signals.stop);
                stop.set();
                next
            });
            work(&app, &stores, &stop);
            next.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        if let Some(next) = next {
            (app, stores) = next;
        }
    }
}

/// Waits for a usable configuration; `None` when the process stops.
fn next_configuration(
    watcher: &mut ConfigWatcher,
    current: &App,
    server: ServerHandles<'_>,
    stop: &CancelFlag,
) -> Option<(App, Vec<RepositoryStore>)> {
    while !stop.is_set() {
        if let Some(loaded) = watcher.poll(current) {
            let next = loaded.and_then(prepare);
            server.metrics.set_configuration_rejected(next.is_err());
            match next {
                Ok(next) => {
                    tracing::info!(repositories = next.1.len(), "configuration reloaded");
                    return Some(next);
                }
                Err(error) => {
                    tracing::error!("new configuration rejected, keeping the current one: {error:#}");
                }
            }
        }
        stop.wait(Duration::from_millis(200));
    }
    None
}

/// Opens the repositories of a new configuration, and checks what can only be checked on the volume.
fn prepare(app: App) -> anyhow::Result<(App, Vec<RepositoryStore>)> {
    let volume = Volume::open_read_only(&app.config.data)?;
    let stores = open_stores(&app, &volume);
    users_watcher::check(&app)?;
    for repository in &app.repositories {
        check_not_renamed(&app, &volume, repository)?;
    }
    Ok((app, stores))
}

/// Compresses published files after each change. It needs no lock on the volume.
fn compress(app: &App, stores: &[RepositoryStore], changes: &Receiver<()>, stop: &CancelFlag) {
    while changes.recv().is_ok() {
        changes.try_iter().for_each(drop);
        for (repository, store) in app.repositories.iter().zip(stores) {
            make_variants(repository, store, app.config.serve.compression, stop);
        }
    }
}

/// Opens the volume, or creates it. Returns whether this process may build on it.
fn open_volume(root: &Path) -> anyhow::Result<(Volume, bool)> {
    let deadline = Instant::now() + CREATION_TIMEOUT;
    loop {
        let error = match Volume::open(root) {
            Ok(volume) => return Ok((volume, true)),
            Err(error) => error,
        };
        let may_build = match error.downcast_ref() {
            Some(VolumeLockError::Held(_)) => true,
            Some(VolumeLockError::ReadOnly(_)) => {
                tracing::warn!("serving without building: {error:#}");
                false
            }
            None => return Err(error),
        };
        match Volume::open_read_only(root) {
            Err(_) if may_build && Instant::now() < deadline => thread::sleep(Duration::from_millis(100)),
            volume => return Ok((volume?, may_build)),
        }
    }
}

/// Opens all repositories. One that cannot be read does not keep the others from being served.
fn open_stores(app: &App, volume: &Volume) -> Vec<RepositoryStore> {
    app.names().map(|name| volume.reader(name)).collect()
}
