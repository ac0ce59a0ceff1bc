//! The commands that serve: one process that builds on schedule and answers requests, under a configuration that may change.

mod backoff;
mod config_watcher;
mod cycle_progress;
mod help_pages;
mod notifier;
mod repair_queue;
mod repairer;
mod repository_view;
mod runtime;
mod scheduler;
mod scrubber;
pub(crate) mod signals;
mod snapshot_follower;
mod status_publisher;
pub(crate) mod users_watcher;
mod webhook_targets;

use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use self::config_watcher::ConfigWatcher;
use self::cycle_progress::CycleProgress;
use self::notifier::NotifierState;
use self::runtime::{ServerHandles, run_server};
use self::scheduler::Scheduler;
use self::scrubber::scrub;
use self::signals::Signals;
use self::snapshot_follower::SnapshotFollower;
use self::status_publisher::{BuildHandles, StatusPublisher};
use self::webhook_targets::webhook_targets;
use crate::app::compress::make_variants;
use crate::app::cycle_runner::check_not_renamed;
use crate::app::exit::Exit;
use crate::app::{App, own_name};
use crate::store::{RepositoryStore, Scrub, Volume, VolumeLockError};
use crate::util::cancel::CancelFlag;

/// How long a second builder on an empty volume waits for the first one to make it.
const MAKING: Duration = Duration::from_secs(10);

/// How often a server that cannot repair a damaged file says that it is damaged.
const REMINDER: Duration = Duration::from_secs(600);

/// Builds on schedule and serves; `named` is the configuration of the command line. The volume is locked during cycles
/// only, so that several instances may share it: who finds it locked follows what the other one publishes.
pub(crate) fn run(app: App, named: Option<&Path>) -> anyhow::Result<Exit> {
    let (volume, may_build) = open_volume(&app.config.data)?;
    volume.log_warnings();
    volume.warn_orphaned_repositories(app.repositories.iter().map(|repository| &*repository.name));
    let id = volume.id();
    let id = may_build.then_some(id.as_str());
    let stores = open(&app, &volume);
    users_watcher::check(&app)?;
    drop(volume);
    run_server(&app.config.clone(), own_name(named), |seen, signals| {
        let published = seen.published;
        // Anything may mean something else under a new configuration, so then everything is due.
        let mut anew = false;
        let mut told = NotifierState::default();
        let scrubbed = Scrub::default();
        each_configuration(app, stores, named, (seen, signals), |app, stores, over| {
            let running = CycleProgress::default();
            let work = BuildHandles {
                scrub: &scrubbed,
                running: &running,
            };
            std::thread::scope(|scope| {
                let _guard = StopOnPanic(over);
                let (changed, changes) = mpsc::channel();
                if may_build {
                    scope.spawn(|| {
                        let _guard = StopOnPanic(over);
                        compress(app, stores, changes, over);
                    });
                }
                let status = StatusPublisher::new(app, stores, seen, Some(work));
                scope.spawn(|| {
                    let _guard = StopOnPanic(over);
                    status.keep(over);
                });
                scope.spawn(|| {
                    let _guard = StopOnPanic(over);
                    notifier::keep(app, stores, &mut told, over);
                });
                scope.spawn(|| {
                    let _guard = StopOnPanic(over);
                    scrub(app, stores, published, &scrubbed, over);
                });
                if may_build {
                    published.set_webhooks(webhook_targets(app));
                }
                let builder = Scheduler {
                    app,
                    id,
                    follower: SnapshotFollower::new(app, stores, published),
                    changed,
                    running: &running,
                    stop: over,
                };
                builder.run(std::mem::replace(&mut anew, true));
            });
        });
    })
}

/// Sets the flag when the thread that has it panics: what works beside it ends, and with all of it the program.
struct StopOnPanic<'f>(&'f CancelFlag);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set();
        }
    }
}

/// Runs `work` with the configuration, and again with each new one, until the program is to stop. The flag ends `work`.
fn each_configuration(
    mut app: App,
    mut stores: Vec<RepositoryStore>,
    named: Option<&Path>,
    (told, signals): (ServerHandles<'_>, &Signals),
    mut work: impl FnMut(&App, &[RepositoryStore], &CancelFlag),
) {
    let mut watch = ConfigWatcher::new(named, &app, signals.reload.clone());
    while !signals.stop.is_set() {
        let over = CancelFlag::default();
        let new = std::thread::scope(|scope| {
            let _guard = StopOnPanic(&signals.stop);
            let watching = scope.spawn(|| {
                let _guard = StopOnPanic(&over);
                let new = next_configuration(&mut watch, &app, told, &signals.stop);
                over.set();
                new
            });
            work(&app, &stores, &over);
            watching
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        if let Some(new) = new {
            (app, stores) = new;
        }
    }
}

/// Waits for a configuration that can be used, or for the end of the program.
fn next_configuration(
    watch: &mut ConfigWatcher,
    current: &App,
    told: ServerHandles<'_>,
    stop: &CancelFlag,
) -> Option<(App, Vec<RepositoryStore>)> {
    let opened = |new: App| {
        let volume = Volume::open_read_only(&new.config.data)?;
        let stores = open(&new, &volume);
        users_watcher::check(&new)?;
        for repository in &new.repositories {
            check_not_renamed(&new, &volume, repository)?;
        }
        Ok((new, stores))
    };
    while !stop.is_set() {
        if let Some(loaded) = watch.changed(current) {
            let new = loaded.and_then(opened);
            told.metrics.configuration_refused(new.is_err());
            match new {
                Ok(new) => {
                    tracing::info!(repositories = new.1.len(), "configuration loaded anew");
                    return Some(new);
                }
                Err(error) => {
                    tracing::error!("the new configuration is not used, the one before stays: {error:#}");
                }
            }
        }
        stop.wait(Duration::from_millis(200));
    }
    None
}

/// Compresses what is published, again whenever that changes; beside the cycles, and unlocked like every reader.
fn compress(app: &App, stores: &[RepositoryStore], changes: Receiver<()>, stop: &CancelFlag) {
    while changes.recv().is_ok() {
        changes.try_iter().for_each(drop);
        for (repository, store) in app.repositories.iter().zip(stores) {
            make_variants(app, repository, store, stop);
        }
    }
}

/// Opens the volume, making it if need be, and says whether it may be built on.
fn open_volume(root: &Path) -> anyhow::Result<(Volume, bool)> {
    let until = Instant::now() + MAKING;
    loop {
        let error = match Volume::open(root) {
            Ok(volume) => return Ok((volume, true)),
            Err(error) => error,
        };
        let may_build = match error.downcast_ref() {
            Some(VolumeLockError::Held(_)) => true,
            Some(VolumeLockError::ReadOnly(_)) => {
                tracing::warn!("{error:#}; serving only");
                false
            }
            None => return Err(error),
        };
        match Volume::open_read_only(root) {
            Err(_) if may_build && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(100));
            }
            volume => return Ok((volume?, may_build)),
        }
    }
}

/// Serves only, following what another instance publishes.
pub(crate) fn serve(app: App, named: Option<&Path>) -> anyhow::Result<Exit> {
    let volume = Volume::open_read_only(&app.config.data)?;
    let stores = open(&app, &volume);
    users_watcher::check(&app)?;
    run_server(&app.config.clone(), own_name(named), |told, signals| {
        each_configuration(app, stores, named, (told, signals), |app, stores, over| {
            std::thread::scope(|scope| {
                let _guard = StopOnPanic(over);
                let status = StatusPublisher::new(app, stores, told, None);
                scope.spawn(|| {
                    let _guard = StopOnPanic(over);
                    status.keep(over);
                });
                let mut follower = SnapshotFollower::new(app, stores, told.published);
                follower.follow();
                let mut forgot = Instant::now();
                while !over.is_set() {
                    follower.poll();
                    // Who builds repairs what is damaged; here it is said again what still is.
                    if forgot.elapsed() >= REMINDER {
                        told.published.take_damaged();
                        forgot = Instant::now();
                    }
                    over.wait(Duration::from_secs(1));
                }
            });
        });
    })
}

/// One that cannot be opened keeps no other from being served.
fn open(app: &App, volume: &Volume) -> Vec<RepositoryStore> {
    let repositories = app.repositories.iter();
    repositories
        .map(|repository| volume.reader(&repository.name))
        .collect()
}
