//! The file server: hyper over a routing table in memory.
//!
//! [`site`] is the immutable table of everything that is published; a publication switches one pointer to a new one, and
//! requests in flight finish on the old. [`respond`] answers one request from it: no byte of a request becomes part of a
//! path. This file owns listeners, connections and the drain.

mod conditional;
mod probes;
mod respond;
pub mod site;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub use probes::health;
pub use site::{RepositorySite, Resource, Site};

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// What is served now, shared with whoever publishes.
#[derive(Debug, Default)]
pub struct State {
    site: ArcSwapOption<Site>,
    draining: AtomicBool,
}

impl State {
    /// Serves `site` from now on.
    pub fn publish(&self, site: Site) {
        self.site.store(Some(Arc::new(site)));
    }

    /// Why the server is not ready; `None` when it is.
    fn not_ready(&self) -> Option<&'static str> {
        if self.draining.load(Ordering::Relaxed) {
            Some("shutting down")
        } else if self.site.load().is_none() {
            Some("nothing is published yet")
        } else {
            None
        }
    }
}

/// Listeners that are bound, but accept nothing yet.
pub struct Server {
    listeners: Vec<TcpListener>,
    state: Arc<State>,
}

impl Server {
    /// Binds all addresses.
    ///
    /// # Errors
    /// An address that is in use or not of this machine.
    pub async fn bind(addresses: &[SocketAddr], state: Arc<State>) -> anyhow::Result<Self> {
        let mut listeners = Vec::new();
        for address in addresses {
            let listener = TcpListener::bind(address).await.with_context(|| {
                format!("failed to listen on `{address}`\nhint: stop what uses that port, or change `serve.listen`")
            })?;
            listeners.push(listener);
        }
        Ok(Self { listeners, state })
    }

    /// The addresses that are listened on, with the port that the system chose for port 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .filter_map(|l| l.local_addr().ok())
            .collect()
    }

    /// Serves until `stop` turns true, then lets requests in flight finish for at most `drain`.
    pub async fn run(self, mut stop: watch::Receiver<bool>, drain: Duration) {
        let graceful = Arc::new(GracefulShutdown::new());
        let accepting: Vec<_> = self
            .listeners
            .into_iter()
            .map(|listener| tokio::spawn(accept(listener, self.state.clone(), graceful.clone())))
            .collect();
        let _ = stop.wait_for(|stop| *stop).await;
        self.state.draining.store(true, Ordering::Relaxed);
        for task in accepting {
            task.abort();
            let _ = task.await;
        }
        let Some(graceful) = Arc::into_inner(graceful) else {
            return;
        };
        if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
            tracing::warn!("closing connections that did not finish in time");
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<State>, graceful: Arc<GracefulShutdown>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connection(stream, state.clone(), &graceful),
            Err(error) => {
                // Out of file descriptors, most likely: pausing lets connections end.
                tracing::error!("failed to accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn connection(stream: TcpStream, state: Arc<State>, graceful: &GracefulShutdown) {
    // Without it, a response in two writes waits 40 ms for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(respond::respond(&state, &request)) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    let connection = builder
        .serve_connection(TokioIo::new(stream), service)
        .into_owned();
    let watched = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            tracing::debug!("connection ended: {error}");
        }
    });
}
