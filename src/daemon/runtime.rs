//! Runs the server, and the other tasks of the daemon alongside it, until a signal.

use std::num::NonZero;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Builder;
use tokio::signal::unix::SignalKind;
use tokio::sync::oneshot;

use super::service_manager;
use super::signals::{Signals, listen};
use crate::app::exit::Exit;
use crate::config::Config;
use crate::server::{LocalSocket, PublishedSite, Server, Settings};
use crate::telemetry::Metrics;
use crate::util::threads::{self, ThreadError};

/// How long a stopping process waits for a cycle that is about to end. A cycle can be interrupted at any time, and waiting
/// longer could exceed the grace period of the service manager.
const CYCLE_GRACE: Duration = Duration::from_secs(1);

/// File descriptors for listeners, connections over the limit, and cycles.
const OTHER_DESCRIPTORS: u64 = 512;

/// Threads for the work alongside the server, without that for certificates.
const OTHER_THREADS: usize = 9;

/// The most threads that read files.
const FILE_THREADS: usize = 128;

/// The least data (`RLIMIT_DATA`) with which the server starts: enough for a small repository and its own threads.
const MIN_DATA: u64 = 48 << 20;

/// Idle threads are kept, because the runtime panics if it has none and the system refuses a new one.
const FILE_THREAD_IDLE: Duration = Duration::from_secs(1 << 30);

/// How the other tasks control the server.
#[derive(Clone, Copy)]
pub(super) struct ServerHandles<'a> {
    pub(super) published: &'a PublishedSite,
    pub(super) metrics: &'a Metrics,
}

/// Runs the server, and `work` on a thread alongside it, until SIGTERM or SIGINT.
pub(super) fn run_server(
    config: &Config,
    local_socket: LocalSocket,
    work: impl FnOnce(ServerHandles<'_>, &Signals) -> Result<(), ThreadError> + Send,
) -> anyhow::Result<Exit> {
    raise_descriptor_limit(config.serve.max_connections.get());
    let file_threads = file_threads(getrlimit(Resource::Data).current)?;
    let serving = serving_threads();
    let renewing = usize::from(config.serve.acme.is_some());
    threads::ensure_available(OTHER_THREADS + renewing + if serving > 1 { serving } else { 0 })?;
    let mut runtime = match serving {
        // The runtime with one thread has no cost of sharing work.
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    let runtime = runtime
        .worker_threads(serving)
        .max_blocking_threads(file_threads)
        .thread_keep_alive(FILE_THREAD_IDLE)
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.spawn_blocking(|| ());
    let (published, metrics) = (PublishedSite::default(), Metrics::new(&config.data)?);
    let settings = Settings {
        serve: config.serve.clone(),
        tls: config.serve.tls(&config.data),
        log: config.log,
        local_socket: Some(local_socket),
    };
    let server = runtime.block_on(Server::bind(settings, published.clone(), metrics.clone()))?;
    let handles = ServerHandles { published: &published, metrics: &metrics };
    for (address, purpose) in server.addresses().iter().zip(server.purposes()) {
        tracing::info!(%address, "listening for {purpose}");
    }
    let signals = Signals::default();
    std::thread::scope(|scope| {
        let (sender, work_ended) = oneshot::channel::<()>();
        let worker = threads::spawn_scoped(scope, || {
            // Dropped when the work ends, even by a panic.
            let _sender = sender;
            work(handles, &signals)
        })?;
        let served = runtime.block_on(serve_until_signal(server, &signals, work_ended));
        let deadline = Instant::now() + CYCLE_GRACE;
        while !worker.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        if !worker.is_finished() {
            tracing::info!("stopping during a cycle; the next start resumes it");
            std::process::exit(i32::from(served.is_err()) * 2);
        }
        // A panic has been reported.
        worker.join().unwrap_or(Ok(()))?;
        served.map(|()| Exit::Complete)
    })
}

/// Raises the limit of open files to its maximum, because systemd and shells start with 1,024. Warns if that is not enough
/// for all connections with a download on each.
fn raise_descriptor_limit(connections: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let needed = connections.saturating_mul(2) as u64;
    let needed = needed.saturating_add(OTHER_DESCRIPTORS);
    let raise = |limit| {
        let raised = Rlimit { current: limit, maximum };
        setrlimit(Resource::Nofile, raised).map(|()| limit)
    };
    // The kernel refuses an unlimited number, even to root.
    let allowed = raise(maximum).or_else(|_| raise(Some(needed))).unwrap_or(current);
    if let Some(allowed) = allowed.filter(|allowed| *allowed < needed) {
        // The rest of the process needs its descriptors in any case.
        let remedy = match allowed.saturating_sub(OTHER_DESCRIPTORS) / 2 {
            0 => String::new(),
            fitting => format!(", or lower `serve.max_connections` to {fitting}"),
        };
        tracing::warn!(
            "`serve.max_connections` is {connections}, but this process may open {allowed} files and connections at most\nhint: raise the limit to {needed} (`ulimit -Hn`, `LimitNOFILE=`, `--ulimit nofile=`){remedy}"
        );
    }
}

/// How many threads may read files with this limit of data. Their stacks count whole; without a bound they would take all of it under
/// load, and the next allocation would end the process.
fn file_threads(data_limit: Option<u64>) -> anyhow::Result<usize> {
    let Some(limit) = data_limit else { return Ok(FILE_THREADS) };
    ensure!(
        limit >= MIN_DATA,
        "this process may have {} MiB of data, and serving needs {} MiB at least\nhint: raise the limit (`ulimit -d`, `LimitDATA=`)",
        limit >> 20,
        MIN_DATA >> 20
    );
    let fitting = (limit - MIN_DATA) / 2 / threads::STACK as u64;
    Ok(usize::try_from(fitting).unwrap_or(FILE_THREADS).clamp(2, FILE_THREADS))
}

/// Half of the processors; the kernel's network stack needs the others.
fn serving_threads() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    (processors / 2).max(1)
}

/// Serves until a signal, or until the other tasks end: without them, the status would never change again. Each further signal
/// skips to the next stage of the shutdown.
async fn serve_until_signal(
    server: Server,
    signals: &Signals,
    work_ended: oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    let mut terminate = listen(SignalKind::terminate(), "SIGTERM")?;
    let mut interrupt = listen(SignalKind::interrupt(), "SIGINT")?;
    let mut hangup = listen(SignalKind::hangup(), "SIGHUP")?;
    let mut stop_signal = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let reload = async {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP received, reloading the configuration");
            signals.reload.set();
        }
    };
    // Signals are handled from here on.
    service_manager::ready();
    let hurry = server.hurry();
    let (stop, stopped) = oneshot::channel();
    let follow_signals = async {
        tokio::select! {
            () = stop_signal() => {}
            () = reload => {}
            _ = work_ended => tracing::error!("the tasks alongside the server have ended"),
        }
        tracing::info!("shutting down");
        service_manager::stopping();
        signals.stop.set();
        let _ = stop.send(());
        loop {
            stop_signal().await;
            tracing::info!("another signal received, shutting down faster");
            hurry.notify_one();
        }
    };
    let closed = tokio::select! {
        closed = server.run(async { stopped.await.unwrap_or_default() }) => closed,
        () = follow_signals => 0,
        () = service_manager::keep_watchdog_quiet() => 0,
    };
    if closed > 0 {
        tracing::warn!(connections = closed, "closed connections that did not finish in time");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_of_threads_leave_half_of_the_data_limit() {
        let threads = |mib: u64| file_threads(Some(mib << 20)).map_err(|error| error.to_string());
        assert_eq!((threads(48), threads(64), threads(128)), (Ok(2), Ok(4), Ok(20)));
        assert_eq!((threads(4096), file_threads(None).unwrap()), (Ok(FILE_THREADS), FILE_THREADS));
        assert!(threads(47).unwrap_err().starts_with("this process may have 47 MiB of data"));
    }
}
