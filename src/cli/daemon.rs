//! The commands that serve: one process that builds on schedule and answers requests.
//!
//! Cycles run one after the other on a thread of their own, so that no repository waits for the network of the server and
//! the clones, memory and disk of one cycle are free for the next.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{Exit, commands};
use crate::config::Config;
use crate::serve::site::Kind;
use crate::serve::{RepositorySite, Resource, Server, Site, State};
use crate::store::{Repository, Volume};

/// How often a server without a builder looks for a new snapshot.
const FOLLOW: Duration = Duration::from_secs(10);

/// Builds on schedule and serves.
pub(super) fn run(config: &Config) -> anyhow::Result<Exit> {
    let volume = Volume::open(&config.data)?;
    let stores = open(config, &volume)?;
    with_server(config, |state, stop| {
        republish(config, &stores, state);
        let mut due: Vec<Timestamp> = config.repositories.iter().map(|_| Timestamp::MIN).collect();
        // What has never been published is built at once, the rest on its schedule.
        for (i, repository) in config.repositories.iter().enumerate() {
            if stores[i].newest_snapshot().is_ok_and(|s| s.is_some()) {
                due[i] = next(repository);
            }
        }
        while !*stop.borrow() {
            for (i, repository) in config.repositories.iter().enumerate() {
                if *stop.borrow() || due[i] > Timestamp::now() {
                    continue;
                }
                match commands::run_cycle(config, &volume, repository, &stores[i]) {
                    Ok(finished) if finished.snapshot.is_some() => republish(config, &stores, state),
                    Ok(_) => {}
                    Err(error) => tracing::error!(repository = repository.name, "{error:#}"),
                }
                due[i] = next(repository);
                tracing::info!(repository = repository.name, next = %due[i], "waiting for the next cycle");
            }
            wait(stop, Duration::from_secs(1));
        }
    })
}

/// Serves only, following what another instance publishes.
pub(super) fn serve(config: &Config) -> anyhow::Result<Exit> {
    let volume = Volume::open_read_only(&config.data)?;
    with_server(config, |state, stop| {
        let mut served = None;
        while !*stop.borrow() {
            match open(config, &volume) {
                Ok(stores) => {
                    let numbers: Vec<_> = stores
                        .iter()
                        .map(|s| s.newest_snapshot().ok().flatten().map(|s| s.manifest.number))
                        .collect();
                    if served.as_ref() != Some(&numbers) {
                        republish(config, &stores, state);
                        served = Some(numbers);
                    }
                }
                Err(error) => tracing::error!("{error:#}"),
            }
            wait(stop, FOLLOW);
        }
    })
}

fn open(config: &Config, volume: &Volume) -> anyhow::Result<Vec<Repository>> {
    config
        .repositories
        .iter()
        .map(|repository| volume.repository(&repository.name))
        .collect()
}

fn next(repository: &crate::config::Repository) -> Timestamp {
    repository
        .schedule
        .next_after(Timestamp::now())
        .map_or(Timestamp::MAX, |time| time.timestamp())
}

/// Waits for `time`, or until the program is to stop.
fn wait(stop: &watch::Receiver<bool>, time: Duration) {
    let until = std::time::Instant::now() + time;
    while !*stop.borrow() && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Starts the server and `work` on a thread beside it; ends both on SIGTERM or SIGINT.
fn with_server(
    config: &Config,
    work: impl FnOnce(&State, &watch::Receiver<bool>) + Send,
) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let state = Arc::new(State::default());
    let server = runtime.block_on(Server::bind(&config.listen, state.clone()))?;
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    let (sender, stop) = watch::channel(false);
    std::thread::scope(|scope| {
        let builder = scope.spawn({
            let (state, stop) = (state.clone(), stop.clone());
            move || work(&state, &stop)
        });
        let served = runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
            let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
            let serving = tokio::spawn(server.run(stop, config.drain));
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!("shutting down");
            let _ = sender.send(true);
            serving.await.context("the server failed")
        });
        // A waiting builder looks up every 50 ms; a running cycle is interrupted at any instant without harm, and waiting
        // for it could outlast the container's grace time.
        let until = std::time::Instant::now() + Duration::from_secs(1);
        while !builder.is_finished() && std::time::Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        if !builder.is_finished() {
            tracing::info!("leaving a running cycle: the next start takes it up");
            std::process::exit(i32::from(served.is_err()) * 2);
        }
        served.map(|()| Exit::Complete)
    })
}

/// Serves the newest snapshot of each repository.
fn republish(config: &Config, stores: &[Repository], state: &State) {
    let sites: anyhow::Result<Vec<_>> = config
        .repositories
        .iter()
        .zip(stores)
        .map(|(repository, store)| site(repository.base_url.path(), store))
        .collect();
    match sites.map(|sites| sites.into_iter().flatten().collect::<Vec<_>>()) {
        Ok(sites) if sites.is_empty() => {}
        Ok(sites) => match Site::new(sites) {
            Ok(site) => state.publish(site),
            Err(error) => tracing::error!("{error:#}"),
        },
        Err(error) => tracing::error!("{error:#}"),
    }
}

fn site(base_path: &str, store: &Repository) -> anyhow::Result<Option<RepositorySite>> {
    let Some(snapshot) = store.newest_snapshot()? else {
        return Ok(None);
    };
    let mut resources: Vec<_> = snapshot
        .manifest
        .files
        .iter()
        .map(|(path, file)| Resource {
            path: path.clone(),
            file: snapshot.folder.join(path),
            size: file.size,
            sha256: file.sha256,
            last_modified: file.last_modified,
            kind: if path.starts_with("include/") {
                Kind::AddressedMetadata
            } else {
                Kind::Metadata
            },
        })
        .collect();
    store.ledger(|ledger| {
        resources.extend(
            ledger
                .releases()
                .iter()
                .take(snapshot.manifest.releases as usize)
                .map(|release| Resource {
                    path: release.path(),
                    file: PathBuf::from(store.root()).join(release.path()),
                    size: release.size,
                    sha256: release.sha256,
                    last_modified: release.time.as_second(),
                    kind: Kind::Archive,
                }),
        );
    });
    Ok(Some(RepositorySite {
        base_path: base_path.to_owned(),
        resources,
    }))
}
