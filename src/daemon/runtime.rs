//! The life of a process that serves: the server and what works beside it, from the first signal to the last answer.

use std::num::NonZero;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::signals::Signals;
use crate::app::exit::Exit;
use crate::config::Config;
use crate::server::{LocalSocket, PublishedSite, Server, Settings};
use crate::telemetry::Metrics;

/// How long the end of the program waits for a cycle that is just ending.
const LINGER: Duration = Duration::from_secs(1);

/// Of listeners, of connections over the limit, and of a cycle.
const OTHER_DESCRIPTORS: u64 = 512;

/// Whom to tell.
#[derive(Clone, Copy)]
pub(super) struct ServerHandles<'a> {
    pub published: &'a PublishedSite,
    pub metrics: &'a Metrics,
}

/// Starts the server, also at its `own` address, and `work` on a thread beside it; ends both on SIGTERM or SIGINT.
pub(super) fn run_server(
    config: &Config,
    own: LocalSocket,
    work: impl FnOnce(ServerHandles<'_>, &Signals) + Send,
) -> anyhow::Result<Exit> {
    allow_descriptors(config.serve.max_connections.get());
    // A single thread shares its work with nobody, and need not be ready to.
    let mut runtime = match serving_threads() {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    let runtime = runtime
        .worker_threads(serving_threads())
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let (published, metrics) = (PublishedSite::default(), Metrics::new(&config.data)?);
    let server = Server::bind(
        Settings {
            serve: config.serve.clone(),
            log: config.log,
            local_socket: Some(own),
        },
        published.clone(),
        metrics.clone(),
    );
    let server = runtime.block_on(server)?;
    let told = ServerHandles {
        published: &published,
        metrics: &metrics,
    };
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    let signals = Signals::default();
    std::thread::scope(|scope| {
        let (works, ended) = oneshot::channel::<()>();
        let builder = scope.spawn(|| {
            // Dropped also by a panic.
            let _works = works;
            work(told, &signals);
        });
        let served = runtime.block_on(serve_until_signal(server, &signals, ended));
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

/// Lets the process have as many descriptors as it may have at all: systemd and shells begin with 1,024. Warns when these are
/// too few for all connections with a download on each.
fn allow_descriptors(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let needed = connections.saturating_mul(2) as u64;
    let needed = needed.saturating_add(OTHER_DESCRIPTORS);
    let raise = |to| {
        let raised = Rlimit { current: to, maximum };
        setrlimit(Resource::Nofile, raised).map(|()| to)
    };
    // Also root has no endless number.
    let allowed = raise(maximum).or_else(|_| raise(Some(needed))).unwrap_or(current);
    if let Some(allowed) = allowed.filter(|allowed| *allowed < needed) {
        tracing::warn!(
            "`serve.max_connections` is {connections}, but this process may open {allowed} files and connections only\nhint: allow it {needed} (`ulimit -Hn`, `LimitNOFILE=`, `--ulimit nofile=`), or set `serve.max_connections` lower"
        );
    }
}

/// Half of the processors: the network's share of the work is done by the kernel, which needs the other half. Two threads
/// on two processors answer a third fewer requests of a client beside them, and each waits five times as long.
fn serving_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    (processors / 2).max(1)
}

/// A server beside which nothing works any more ends, too: it would say that all is well for ever.
async fn serve_until_signal(
    server: Server,
    signals: &Signals,
    ended: oneshot::Receiver<()>,
) -> anyhow::Result<()> {
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
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = reload => {}
                _ = ended => tracing::error!("the work beside the server was given up by a defect of this program"),
            }
            tracing::info!("shutting down");
            signals.stop.set();
        })
        .await;
    if cut > 0 {
        tracing::warn!(connections = cut, "cut connections that did not finish in time");
    }
    Ok(())
}
