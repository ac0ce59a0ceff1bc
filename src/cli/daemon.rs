//! The commands that serve: one process that builds on schedule and answers requests, under a configuration that may change.

use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use super::builder::Builder;
use super::commands::refuse_successor;
use super::doors;
use super::follower::Follower;
use super::health::own_name;
use super::live::{Told, Work};
use super::process::{Signals, with_server};
use super::publisher::make_variants;
use super::pushes::pushes;
use super::reload::Watch;
use super::running::Running;
use super::setup::Setup;
use super::upkeep::scrub;
use super::{Exit, live, notify};
use crate::store::{Repository, Scrub, Unavailable, Volume};
use crate::util::cancel::CancelFlag;

/// How long a second builder on an empty volume waits for the first one to make it.
const MAKING: Duration = Duration::from_secs(10);

/// How often a server that cannot repair a damaged file says that it is damaged.
const REMINDER: Duration = Duration::from_secs(600);

/// Builds on schedule and serves; `named` is the configuration of the command line. The volume is locked during cycles
/// only, so that several instances may share it: who finds it locked follows what the other one publishes.
pub(super) fn run(setup: Setup, named: Option<&Path>) -> anyhow::Result<Exit> {
    let (volume, may_build) = open_volume(&setup.config.data)?;
    volume.warn();
    volume.warn_of_others(setup.repositories.iter().map(|repository| &*repository.name));
    let id = volume.id();
    let id = may_build.then_some(id.as_str());
    let stores = open(&setup, &volume);
    doors::check(&setup)?;
    drop(volume);
    with_server(&setup.config.clone(), own_name(named), |seen, signals| {
        let published = seen.published;
        // Anything may mean something else under a new configuration, so then everything is due.
        let mut anew = false;
        let mut told = notify::Told::default();
        let scrubbed = Scrub::default();
        each_configuration(setup, stores, named, (seen, signals), |setup, stores, over| {
            let running = Running::default();
            let work = Work {
                scrub: &scrubbed,
                running: &running,
            };
            std::thread::scope(|scope| {
                let _alarm = Alarm(over);
                let (changed, changes) = mpsc::channel();
                if may_build {
                    scope.spawn(|| {
                        let _alarm = Alarm(over);
                        compress(setup, stores, changes, over);
                    });
                }
                let live = live::Keeper::new(setup, stores, seen, Some(work));
                scope.spawn(|| {
                    let _alarm = Alarm(over);
                    live.keep(over);
                });
                scope.spawn(|| {
                    let _alarm = Alarm(over);
                    notify::keep(setup, stores, &mut told, over);
                });
                scope.spawn(|| {
                    let _alarm = Alarm(over);
                    scrub(setup, stores, published, &scrubbed, over);
                });
                if may_build {
                    published.set_webhooks(pushes(setup));
                }
                let builder = Builder {
                    setup,
                    id,
                    follower: Follower::new(setup, stores, published),
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
struct Alarm<'f>(&'f CancelFlag);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set();
        }
    }
}

/// Runs `work` with the configuration, and again with each new one, until the program is to stop. The flag ends `work`.
fn each_configuration(
    mut setup: Setup,
    mut stores: Vec<Repository>,
    named: Option<&Path>,
    (told, signals): (Told<'_>, &Signals),
    mut work: impl FnMut(&Setup, &[Repository], &CancelFlag),
) {
    let mut watch = Watch::new(named, &setup, signals.reload.clone());
    while !signals.stop.is_set() {
        let over = CancelFlag::default();
        let new = std::thread::scope(|scope| {
            let _alarm = Alarm(&signals.stop);
            let watching = scope.spawn(|| {
                let _alarm = Alarm(&over);
                let new = next_configuration(&mut watch, &setup, told, &signals.stop);
                over.set();
                new
            });
            work(&setup, &stores, &over);
            watching
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        if let Some(new) = new {
            (setup, stores) = new;
        }
    }
}

/// Waits for a configuration that can be used, or for the end of the program.
fn next_configuration(
    watch: &mut Watch,
    current: &Setup,
    told: Told<'_>,
    stop: &CancelFlag,
) -> Option<(Setup, Vec<Repository>)> {
    let opened = |new: Setup| {
        let volume = Volume::open_read_only(&new.config.data)?;
        let stores = open(&new, &volume);
        doors::check(&new)?;
        for repository in &new.repositories {
            refuse_successor(&new, &volume, repository)?;
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
fn compress(setup: &Setup, stores: &[Repository], changes: Receiver<()>, stop: &CancelFlag) {
    while changes.recv().is_ok() {
        changes.try_iter().for_each(drop);
        for (repository, store) in setup.repositories.iter().zip(stores) {
            make_variants(setup, repository, store, stop);
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
            Some(Unavailable::Busy(_)) => true,
            Some(Unavailable::ReadOnly(_)) => {
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
pub(super) fn serve(setup: Setup, named: Option<&Path>) -> anyhow::Result<Exit> {
    let volume = Volume::open_read_only(&setup.config.data)?;
    let stores = open(&setup, &volume);
    doors::check(&setup)?;
    with_server(&setup.config.clone(), own_name(named), |told, signals| {
        each_configuration(setup, stores, named, (told, signals), |setup, stores, over| {
            std::thread::scope(|scope| {
                let _alarm = Alarm(over);
                let live = live::Keeper::new(setup, stores, told, None);
                scope.spawn(|| {
                    let _alarm = Alarm(over);
                    live.keep(over);
                });
                let mut follower = Follower::new(setup, stores, told.published);
                follower.follow();
                let mut forgot = Instant::now();
                while !over.is_set() {
                    follower.keep_up();
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
fn open(setup: &Setup, volume: &Volume) -> Vec<Repository> {
    let repositories = setup.repositories.iter();
    repositories
        .map(|repository| volume.reader(&repository.name))
        .collect()
}
