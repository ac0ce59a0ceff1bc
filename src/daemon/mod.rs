//! The daemon: what `mirror run` and `mirror serve` do besides answering requests.
//!
//! Each task has a thread of its own. After a reload each one switches to the new configuration by itself: none waits for
//! another, and the server keeps running. Users change first, before anything of a new configuration is served.

mod backoff;
mod bucket_follower;
mod bucket_publisher;
mod certificate_renewal;
mod compressor;
mod config_watcher;
mod configuration;
mod configured_status;
mod cycle_process;
mod cycle_progress;
mod help_pages;
mod jobs;
mod notifier;
mod release_notifier;
mod repair_queue;
mod replica;
mod repository_view;
mod runtime;
mod scheduled_repository;
mod scheduler;
mod scrubber;
mod service_manager;
pub(crate) mod signals;
mod snapshot_follower;
mod status_publisher;
mod tasks;
pub(crate) mod users_watcher;
mod webhook_delivery;
mod webhook_targets;

use std::mem;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;

use self::config_watcher::ConfigWatcher;
use self::configuration::{Configuration, CurrentConfiguration};
use self::cycle_progress::CycleProgress;
use self::replica::Replica;
use self::runtime::{ServerHandles, run_server};
use self::scheduler::Scheduler;
use self::signals::Signals;
use self::snapshot_follower::SnapshotFollower;
use self::status_publisher::BuildHandles;
use self::tasks::Tasks;
use self::users_watcher::UsersWatcher;
use self::webhook_targets::webhook_targets;
use crate::app::cycle_runner::{OpenRepository, check_not_renamed};
use crate::app::exit::Exit;
use crate::app::{App, local_socket};
use crate::store::{RepositoryStore, Scrub, Volume, VolumeLockError};
use crate::util::cancel::CancelFlag;
use crate::util::heap;
use crate::util::threads::ThreadError;

/// How long a second instance waits until the first one has created the volume.
const CREATION_TIMEOUT: Duration = Duration::from_secs(10);

/// How often `mirror serve`, which repairs nothing, reports the same damaged file again.
const DAMAGE_REPORT_INTERVAL: Duration = Duration::from_secs(600);

/// Builds on schedule and serves. The volume is locked only during cycles, so that several instances can share it: an
/// instance that finds it locked follows what the other one publishes.
pub(crate) fn run(app: App, path: Option<&Path>) -> anyhow::Result<Exit> {
    heap::share_arenas();
    let (volume, may_build) = match app.is_trial() {
        true => open_trial_volume(&app)?,
        false => open_volume(&app.config.data)?,
    };
    volume.log_warnings();
    volume.warn_orphaned_repositories(app.names());
    let id = volume.id();
    let volume_id = may_build.then_some(id.as_str());
    let stores = open_stores(&app, &volume);
    users_watcher::check(&app)?;
    if may_build {
        close_private_folders(&app, &volume, &stores);
    }
    drop(volume);
    run_server(&app.config.clone(), local_socket(path), |server, signals| {
        let daemon = Daemon::new(Configuration::new(app, stores), path, server, signals);
        let (scrub, progress) = (Scrub::default(), CycleProgress::default());
        let build = BuildHandles { scrub: &scrub, progress: &progress };
        let (site_changed, changes) = mpsc::channel();
        let configurations = &daemon.configurations;
        // A new configuration can change everything, so all cycles are due after a reload.
        let mut is_reloaded = false;
        daemon.run(
            Some(build),
            |tasks| {
                tasks.start(|| notifier::run(configurations))?;
                tasks.start(|| release_notifier::run(configurations, server.published))?;
                tasks
                    .start(|| configurations.for_each(|now| scrubber::run(now, server.published, &scrub)))?;
                let Some(id) = volume_id else { return Ok(()) };
                let (published, progress) = (server.published, &progress);
                certificate_renewal::start(tasks, configurations, published)?;
                tasks.start(move || {
                    configurations.for_each(|now| bucket_publisher::run(now, id, published, progress));
                })?;
                tasks.start(move || {
                    configurations.for_each(|now| compressor::run(now, id, &changes));
                })
            },
            |Configuration { app, stores, stop, .. }| {
                app.log_warnings();
                if volume_id.is_some() {
                    server.published.set_webhooks(webhook_targets(app));
                }
                let scheduler = Scheduler {
                    app,
                    volume_id,
                    follower: SnapshotFollower::new(app, stores, server.published),
                    site_changed: &site_changed,
                    progress: &progress,
                    stop,
                };
                scheduler.run(mem::replace(&mut is_reloaded, true));
            },
        )
    })
}

/// Other users of the machine cannot read private repositories.
fn close_private_folders(app: &App, volume: &Volume, stores: &[RepositoryStore]) {
    for (repository, store) in app.repositories.iter().zip(stores) {
        if store.root().exists() {
            OpenRepository { app, volume, repository, store }.close_to_others();
        }
    }
}

/// Serves what another instance publishes: on the volume, or without one in the bucket.
pub(crate) fn serve(app: App, path: Option<&Path>) -> anyhow::Result<Exit> {
    heap::share_arenas();
    let first = open_published(app, &[])?;
    if let Some(bucket) = first.app.config.bucket.as_ref().filter(|_| first.is_replica()) {
        let data = first.app.config.data.display();
        tracing::info!(
            bucket = bucket.url(),
            "serving from the bucket, because there is no volume at `{data}`"
        );
    }
    users_watcher::check(&first.app)?;
    run_server(&first.app.config.clone(), local_socket(path), |server, signals| {
        let daemon = Daemon::new(first, path, server, signals);
        daemon.run(
            None,
            |_| Ok(()),
            |configuration| match configuration.is_replica() {
                true => bucket_follower::run(configuration, server),
                false => follow_volume(configuration, server),
            },
        )
    })
}

/// Serves the newest snapshots on the volume under one configuration, until it ends.
fn follow_volume(Configuration { app, stores, stop, .. }: &Configuration, server: ServerHandles<'_>) {
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
}

/// What `mirror serve` serves: the volume if there is one, else the bucket. What `before` has read from it is kept.
fn open_published(app: App, before: &[Replica]) -> anyhow::Result<Configuration> {
    if app.config.bucket.is_some() && !Volume::exists(&app.config.data)? {
        let stop = CancelFlag::default();
        let replicas = Replica::open_all(&app, before, &stop)?;
        return Ok(Configuration { app, stores: Vec::new(), replicas, stop });
    }
    let volume = Volume::open_read_only(&app.config.data)?;
    let stores = open_stores(&app, &volume);
    Ok(Configuration::new(app, stores))
}

/// What `mirror run` and `mirror serve` have in common.
struct Daemon<'a> {
    configurations: CurrentConfiguration<'a>,
    users: UsersWatcher<'a>,
    path: Option<&'a Path>,
    server: ServerHandles<'a>,
    signals: &'a Signals,
}

impl<'a> Daemon<'a> {
    fn new(
        first: Configuration,
        path: Option<&'a Path>,
        server: ServerHandles<'a>,
        signals: &'a Signals,
    ) -> Self {
        let users = UsersWatcher::new(server.published);
        users.configure(&first.app);
        let configurations = CurrentConfiguration::new(first, &signals.stop);
        Self { configurations, users, path, server, signals }
    }

    /// Runs until the process stops: `work` on this thread, again for each configuration, and in parallel the tasks that `start`
    /// starts.
    fn run<'env>(
        &'env self,
        build: Option<BuildHandles<'env>>,
        start: impl for<'scope> FnOnce(Tasks<'scope, 'env>) -> Result<(), ThreadError>,
        work: impl FnMut(&Configuration),
    ) -> Result<(), ThreadError> {
        thread::scope(|scope| {
            let tasks = Tasks { scope, stop: &self.signals.stop };
            let _end = EndOnDrop(&self.configurations);
            tasks.start(|| self.watch_configuration())?;
            tasks.start(|| self.users.run(&self.signals.stop))?;
            // The first status of a replica tells what it has, or why it has nothing.
            self.configurations.get().read_bucket();
            // The status is published before the site, which makes the server ready.
            let (published, first_status) = mpsc::channel();
            tasks.start(move || {
                status_publisher::run(&self.configurations, self.server, build, &published);
            })?;
            let _ = first_status.recv();
            start(tasks)?;
            self.configurations.for_each(work);
            Ok(())
        })
    }

    /// Puts each valid new configuration into effect.
    fn watch_configuration(&self) {
        let _end = EndOnDrop(&self.configurations);
        let (server, stop) = (self.server, &self.signals.stop);
        let first = self.configurations.get();
        let mut watcher = ConfigWatcher::new(self.path, &first.app, self.signals.reload.clone());
        drop(first);
        while !stop.is_set() {
            if let Some(loaded) = watcher.poll(&self.configurations.get().app) {
                let next = loaded.and_then(|app| self.prepare(app));
                server.metrics.set_configuration_rejected(next.is_err());
                match next {
                    Ok(next) => {
                        tracing::info!(repositories = next.app.repositories.len(), "configuration reloaded");
                        self.users.configure(&next.app);
                        self.configurations.replace(next);
                    }
                    Err(error) => {
                        tracing::error!("new configuration rejected, keeping the current one: {error:#}");
                    }
                }
                service_manager::ready();
            }
            stop.wait(Duration::from_millis(200));
        }
    }

    /// Opens the repositories of a new configuration, and checks what can only be checked on the volume.
    fn prepare(&self, app: App) -> anyhow::Result<Configuration> {
        users_watcher::check(&app)?;
        let current = self.configurations.get();
        if current.is_replica() {
            let next = open_published(app, &current.replicas)?;
            next.read_bucket();
            return Ok(next);
        }
        let volume = Volume::open_read_only(&app.config.data)?;
        let stores = open_stores(&app, &volume);
        for repository in &app.repositories {
            check_not_renamed(&app, &volume, repository)?;
        }
        Ok(Configuration::new(app, stores))
    }
}

/// Ends all tasks, also after a panic or if one of them could not be started.
struct EndOnDrop<'a>(&'a CurrentConfiguration<'a>);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Opens the volume of a trial, and records there what it is.
fn open_trial_volume(app: &App) -> anyhow::Result<(Volume, bool)> {
    let (volume, may_build) = open_volume(&app.config.data)
        .map_err(|error| anyhow!("{error:#}; another folder for a trial: `mirror demo --data FOLDER`"))?;
    app.log_trial();
    if may_build {
        volume.record_trial(app.config_text())?;
    }
    Ok((volume, may_build))
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
