//! The commands that serve: one process that builds on schedule and answers requests.
//!
//! Cycles run one after the other on a thread of their own, so that no repository waits for the network of the server and
//! the clones, memory and disk of one cycle are free for the next.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use super::setup::{self, Setup};
use super::{Exit, commands};
use crate::config;
use crate::serve::{self, Kind, Published, RepositorySite, Resource, Server, Site};
use crate::source::CancelFlag;
use crate::store::{Repository, Volume};

/// How long the end of the program waits for a cycle that is just ending.
const LINGER: Duration = Duration::from_secs(1);

/// How often a server without a builder looks for a new snapshot.
const FOLLOW: Duration = Duration::from_secs(10);

/// Builds on schedule and serves.
pub(super) fn run(setup: &Setup) -> anyhow::Result<Exit> {
    let volume = Volume::open(&setup.config.data)?;
    let stores = open(setup, &volume)?;
    with_server(setup, |published, stop| {
        republish(setup, &stores, published);
        let mut due: Vec<Timestamp> = setup.repositories.iter().map(|_| Timestamp::MIN).collect();
        // What has never been published is built at once, the rest on its schedule.
        for (i, repository) in setup.repositories.iter().enumerate() {
            if stores[i].newest_snapshot().is_ok_and(|s| s.is_some()) {
                due[i] = next(repository);
            }
        }
        while !stop.is_set() {
            for (i, repository) in setup.repositories.iter().enumerate() {
                if stop.is_set() || due[i] > Timestamp::now() {
                    continue;
                }
                match commands::run_cycle(setup, &volume, repository, &stores[i], stop) {
                    Ok(finished) if finished.snapshot.is_some() => republish(setup, &stores, published),
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
pub(super) fn serve(setup: &Setup) -> anyhow::Result<Exit> {
    let volume = Volume::open_read_only(&setup.config.data)?;
    with_server(setup, |published, stop| {
        let mut served = None;
        while !stop.is_set() {
            match open(setup, &volume) {
                Ok(stores) => {
                    let numbers: Vec<_> = stores
                        .iter()
                        .map(|s| s.newest_snapshot().ok().flatten().map(|s| s.manifest.number))
                        .collect();
                    if served.as_ref() != Some(&numbers) {
                        republish(setup, &stores, published);
                        served = Some(numbers);
                    }
                }
                Err(error) => tracing::error!("{error:#}"),
            }
            wait(stop, FOLLOW);
        }
    })
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
fn wait(stop: &CancelFlag, time: Duration) {
    let until = std::time::Instant::now() + time;
    while !stop.is_set() && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Starts the server and `work` on a thread beside it; ends both on SIGTERM or SIGINT.
fn with_server(setup: &Setup, work: impl FnOnce(&Published, &CancelFlag) + Send) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    let published = Published::default();
    let server = runtime.block_on(Server::bind(settings(&setup.config.serve), published.clone()))?;
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    let stop = CancelFlag::default();
    std::thread::scope(|scope| {
        let builder = scope.spawn(|| work(&published, &stop));
        let served = runtime.block_on(serve_until_signal(server, &stop));
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

async fn serve_until_signal(server: Server, stop: &CancelFlag) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let cut = server
        .run(async {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            tracing::info!("shutting down");
            stop.set();
        })
        .await;
    if cut > 0 {
        tracing::warn!(connections = cut, "cut connections that did not finish in time");
    }
    Ok(())
}

fn settings(serve: &config::Serve) -> serve::Settings {
    serve::Settings {
        listen: serve.listen.clone(),
        notice: Duration::ZERO,
        drain: serve.drain,
        header_timeout: serve.header_timeout,
        idle_timeout: serve.idle_timeout,
        max_connections: serve.max_connections.get(),
        max_header_size: serve.max_header_size,
    }
}

/// Serves the newest snapshot of each repository.
fn republish(setup: &Setup, stores: &[Repository], published: &Published) {
    let site =
        |(repository, store): (&setup::Repository, &Repository)| site(repository.base_url.path(), store);
    let sites: anyhow::Result<Vec<_>> = setup.repositories.iter().zip(stores).map(site).collect();
    match sites.and_then(Site::new) {
        Ok(site) => published.switch_to(site),
        Err(error) => tracing::error!("what was served before stays: {error:#}"),
    }
}

/// What a repository serves; nothing before its first snapshot.
fn site(base_path: &str, store: &Repository) -> anyhow::Result<RepositorySite> {
    let mut resources = Vec::new();
    if let Some(snapshot) = store.newest_snapshot()? {
        resources.extend(snapshot.manifest.files.iter().map(|(path, file)| Resource {
            path: path.clone(),
            file: snapshot.folder.join(path),
            size: file.size,
            sha256: file.sha256,
            last_modified: file.last_modified,
            kind: if path.starts_with("include/") {
                Kind::ArchivedMetadata
            } else {
                Kind::Metadata
            },
        }));
        let releases = usize::try_from(snapshot.manifest.releases)?;
        store.ledger(|ledger| {
            resources.extend(ledger.releases().iter().take(releases).map(|release| Resource {
                path: release.path(),
                file: store.archive(release),
                size: release.size,
                sha256: release.sha256,
                last_modified: release.time.as_second(),
                kind: Kind::Archive,
            }));
        });
    }
    Ok(RepositorySite {
        base_path: base_path.to_owned(),
        resources,
    })
}
