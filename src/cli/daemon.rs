//! The commands that serve: one process that builds on schedule and answers requests.
//!
//! Cycles run one after the other on a thread of their own, so that no repository waits for the network of the server and
//! the clones, memory and disk of one cycle are free for the next.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use super::doors::{self, Keys};
use super::live::Told;
use super::publisher::{make_variants, publish};
use super::reload::{Request, Watch};
use super::setup::{self, Setup};
use super::upkeep::{mend, scrub};
use super::{Exit, commands, live, notify};
use crate::config::{self, Config};
use crate::observe::Metrics;
use crate::serve::{self, AccessLog, Published, Server};
use crate::source::CancelFlag;
use crate::store::{Repository, Scrub, Unavailable, Volume};

/// How long the end of the program waits for a cycle that is just ending.
const LINGER: Duration = Duration::from_secs(1);

/// How often a server without a builder looks for a new snapshot.
const FOLLOW: Duration = Duration::from_secs(10);

/// How long after an attempt to repair a file the next one may begin; each fetches from git.
const AGAIN: Duration = Duration::from_secs(600);

/// How long a second builder on an empty volume waits for the first one to make it.
const MAKING: Duration = Duration::from_secs(10);

/// Builds on schedule and serves; `named` is the configuration of the command line. The volume is locked during cycles
/// only, so that several instances may share it: who finds it locked follows what the other one publishes.
pub(super) fn run(setup: Setup, named: Option<&Path>) -> anyhow::Result<Exit> {
    let (volume, may_build) = open_volume(&setup.config.data)?;
    volume.warn();
    let id = volume.id();
    let id = may_build.then_some(&id);
    let stores = open(&setup, &volume)?;
    doors::check(&setup)?;
    drop(volume);
    with_server(&setup.config.clone(), |seen, signals| {
        let published = seen.published;
        // Anything may mean something else under a new configuration, so then everything is due.
        let mut anew = false;
        let mut told = notify::Told::default();
        each_configuration(setup, stores, named, signals, |setup, stores, over| {
            let scrubbed = Scrub::default();
            std::thread::scope(|scope| {
                let (changed, changes) = mpsc::channel();
                if may_build {
                    scope.spawn(|| compress(setup, stores, changes, over));
                }
                let keys = Keys::hand_out(setup, published);
                scope.spawn(|| live::keep(setup, stores, seen, Some(&scrubbed), keys, over));
                scope.spawn(|| notify::keep(setup, stores, &mut told, over));
                scope.spawn(|| scrub(setup, stores, published, &scrubbed, over));
                let follower = Follower::new(setup, stores, published);
                build(
                    setup,
                    id,
                    follower,
                    &changed,
                    std::mem::replace(&mut anew, true),
                    over,
                );
            });
        });
    })
}

/// Runs `work` with the configuration, and again with each new one, until the program is to stop. The flag ends `work`.
fn each_configuration(
    mut setup: Setup,
    mut stores: Vec<Repository>,
    named: Option<&Path>,
    signals: &Signals,
    mut work: impl FnMut(&Setup, &[Repository], &CancelFlag),
) {
    let mut watch = Watch::new(named, &setup, signals.reload.clone());
    while !signals.stop.is_set() {
        let over = CancelFlag::default();
        let new = std::thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let new = next_configuration(&mut watch, &setup, &signals.stop);
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
    stop: &CancelFlag,
) -> Option<(Setup, Vec<Repository>)> {
    while !stop.is_set() {
        if let Some(new) = watch.changed(current) {
            match Volume::open_read_only(&new.config.data).and_then(|volume| open(&new, &volume)) {
                Ok(stores) => return Some((new, stores)),
                Err(error) => {
                    tracing::error!("the new configuration is not used, the one before stays: {error:#}");
                }
            }
        }
        wait(stop, Duration::from_millis(200));
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

/// Runs the cycles that are due, at first `all`, on the volume `id`, if it may be built on, until the program is to stop; tells
/// `changed` when another snapshot is served.
fn build(
    setup: &Setup,
    id: Option<&String>,
    mut follower: Follower<'_>,
    changed: &Sender<()>,
    all: bool,
    stop: &CancelFlag,
) {
    let follow = |follower: &mut Follower<'_>| {
        if follower.follow() {
            // Without a builder nobody listens.
            let _ = changed.send(());
        }
    };
    // A snapshot spells the URL out that it was made for: what a new configuration says is served once all of it is there.
    let mut waiting = all && id.is_some();
    if !waiting {
        follow(&mut follower);
    }
    let mut due: Vec<Timestamp> = setup.repositories.iter().map(|_| Timestamp::MIN).collect();
    // What has never been published is built at once, the rest on its schedule.
    for (i, repository) in setup.repositories.iter().enumerate() {
        if !all && follower.serves(i) {
            due[i] = next(repository);
        }
    }
    let mut tried = BTreeMap::new();
    while !stop.is_set() {
        for (i, repository) in setup.repositories.iter().enumerate() {
            let Some(id) = id.filter(|_| !stop.is_set() && due[i] <= Timestamp::now()) else {
                continue;
            };
            due[i] = match cycle(setup, repository, id, stop) {
                Err(error) if error.is::<Unavailable>() && !follower.serves(i) => Timestamp::now() + FOLLOW,
                Err(error) => {
                    tracing::error!(repository = repository.name, "{error:#}");
                    next(repository)
                }
                Ok(()) => next(repository),
            };
            if !waiting {
                follow(&mut follower);
            }
            tracing::info!(repository = repository.name, next = %due[i], "waiting for the next cycle");
        }
        if std::mem::take(&mut waiting) || follower.looked.elapsed() >= FOLLOW {
            follow(&mut follower);
        }
        tried.retain(|_, at: &mut Instant| at.elapsed() < AGAIN);
        let mut damaged = follower.published.take_damaged();
        damaged.retain(|file| tried.insert(file.clone(), Instant::now()).is_none());
        if let Some(id) = id.filter(|_| !damaged.is_empty()) {
            mend(setup, follower.stores, id, &damaged, stop);
        }
        wait(stop, Duration::from_secs(1));
    }
}

fn cycle(setup: &Setup, repository: &setup::Repository, id: &str, stop: &CancelFlag) -> anyhow::Result<()> {
    let volume = Volume::open_again(&setup.config.data, id)?;
    let store = volume.repository(&repository.name)?;
    commands::run_cycle(setup, &volume, repository, &store, stop).map(|_| ())
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
    let stores = open(&setup, &volume)?;
    doors::check(&setup)?;
    with_server(&setup.config.clone(), |told, signals| {
        each_configuration(setup, stores, named, signals, |setup, stores, over| {
            std::thread::scope(|scope| {
                let keys = Keys::hand_out(setup, told.published);
                scope.spawn(|| live::keep(setup, stores, told, None, keys, over));
                let mut follower = Follower::new(setup, stores, told.published);
                while !over.is_set() {
                    follower.follow();
                    wait(over, FOLLOW);
                }
            });
        });
    })
}

/// The number of a snapshot, and when its variants last came or went.
type State = (Option<u64>, Option<SystemTime>);

/// Puts what is newest on the volume before the server.
struct Follower<'a> {
    setup: &'a Setup,
    stores: &'a [Repository],
    published: &'a Published,
    /// What is served of each repository.
    served: Vec<State>,
    looked: Instant,
}

impl<'a> Follower<'a> {
    fn new(setup: &'a Setup, stores: &'a [Repository], published: &'a Published) -> Self {
        Self {
            setup,
            stores,
            published,
            served: vec![(None, None); stores.len()],
            looked: Instant::now(),
        }
    }

    fn serves(&self, repository: usize) -> bool {
        self.served[repository].0.is_some()
    }

    /// Answers whether another snapshot is served than before.
    fn follow(&mut self) -> bool {
        self.looked = Instant::now();
        let mut newest = Vec::new();
        for (store, served) in self.stores.iter().zip(&self.served) {
            newest.push(match store.newest_snapshot() {
                Ok(snapshot) => (snapshot.map(|s| s.manifest.number), store.variants_changed()),
                Err(error) => {
                    tracing::error!("what was served before stays: {error:#}");
                    *served
                }
            });
        }
        if newest == self.served || !publish(self.setup, self.stores, self.published) {
            return false;
        }
        let others = newest.iter().zip(&self.served).any(|(new, old)| new.0 != old.0);
        self.served = newest;
        others
    }
}

fn open(setup: &Setup, volume: &Volume) -> anyhow::Result<Vec<Repository>> {
    setup
        .repositories
        .iter()
        .map(|repository| volume.repository(&repository.name))
        .collect()
}

fn next(repository: &setup::Repository) -> Timestamp {
    repository
        .schedule
        .next_after(Timestamp::now())
        .map_or(Timestamp::MAX, |time| time.timestamp())
}

/// Waits for `time`, or until the program is to stop.
pub(super) fn wait(stop: &CancelFlag, time: Duration) {
    let until = std::time::Instant::now() + time;
    while !stop.is_set() && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What signals ask for.
#[derive(Clone, Default)]
struct Signals {
    stop: CancelFlag,
    reload: Request,
}

/// Starts the server and `work` on a thread beside it; ends both on SIGTERM or SIGINT.
fn with_server(config: &Config, work: impl FnOnce(Told<'_>, &Signals) + Send) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    let (published, metrics) = (Published::default(), Metrics::new(&config.data)?);
    let server = Server::bind(
        settings(&config.serve, config.log),
        published.clone(),
        metrics.clone(),
    );
    let server = runtime.block_on(server)?;
    let told = Told {
        published: &published,
        metrics: &metrics,
    };
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    let signals = Signals::default();
    std::thread::scope(|scope| {
        let builder = scope.spawn(|| work(told, &signals));
        let served = runtime.block_on(serve_until_signal(server, &signals));
        // A cycle is interrupted at any instant without harm, and waiting for it could outlast the grace time.
        let until = Instant::now() + LINGER;
        while !builder.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        if !builder.is_finished() {
            tracing::info!("leaving a running cycle: the next start takes it up");
            std::process::exit(i32::from(served.is_err()) * 2);
        }
        served.map(|()| Exit::Complete)
    })
}

async fn serve_until_signal(server: Server, signals: &Signals) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("failed to listen for SIGHUP")?;
    let reload = async {
        while hangup.recv().await.is_some() {
            tracing::info!("asked to load the configuration anew");
            signals.reload.set();
        }
    };
    let cut = server
        .run(async {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {}, () = reload => {} }
            tracing::info!("shutting down");
            signals.stop.set();
        })
        .await;
    if cut > 0 {
        tracing::warn!(connections = cut, "cut connections that did not finish in time");
    }
    Ok(())
}

fn settings(configured: &config::Serve, log: config::Log) -> serve::Settings {
    serve::Settings {
        listen: configured.listen.clone(),
        admin: configured.admin.clone(),
        tls: configured.tls.clone().map(|tls| serve::Tls {
            listen: tls.listen,
            certificate: tls.certificate,
            key: tls.key,
            http2: tls.http2,
        }),
        notice: Duration::ZERO,
        drain: configured.drain,
        header_timeout: configured.header_timeout,
        idle_timeout: configured.idle_timeout,
        min_pace: configured.min_pace as u64,
        max_connections: configured.max_connections.get(),
        max_connections_per_client: configured.max_connections_per_client.get(),
        max_header_size: configured.max_header_size,
        access_log: match log.access {
            config::AccessLog::Off => AccessLog::Off,
            config::AccessLog::Sampled => AccessLog::Sampled(log.access_sample.0.get()),
            config::AccessLog::Full => AccessLog::Full,
        },
    }
}
