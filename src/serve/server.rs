//! The server's life: bind, accept, and an end that cuts nobody off in mid-download.

use std::future::Future;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::connection::{self, Phase};
use super::limits::Places;
use super::listen;
use super::published::Published;

/// After an error of `accept`, most of all for want of file descriptors: time for some to be given back.
const BREATH: Duration = Duration::from_millis(100);

/// How to serve.
#[derive(Clone, Debug)]
pub struct Settings {
    /// At least one.
    pub listen: Vec<SocketAddr>,
    /// How long `/-/readyz` says no before new connections are refused: the time that a load balancer needs to
    /// notice. Nothing is refused meanwhile.
    pub notice: Duration,
    /// How long requests in flight may take to finish after that.
    pub drain: Duration,
    /// How long the head of a request may take, counted from the end of the one before; so also how long an
    /// HTTP/1.1 connection may stay unused.
    pub header_timeout: Duration,
    /// How long a connection may pass without a byte in either direction.
    pub idle_timeout: Duration,
    /// More are answered 503.
    pub max_connections: usize,
    /// The head of a request, in bytes, at least 8 KiB; Composer's has a few hundred.
    pub max_header_size: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8080))],
            notice: Duration::ZERO,
            // Kubernetes kills after 30 seconds.
            drain: Duration::from_secs(25),
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            max_connections: 1024,
            max_header_size: 16 << 10,
        }
    }
}

/// A server that has its addresses and does not answer yet.
pub struct Server {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    settings: Settings,
    published: Published,
}

impl Server {
    /// Binds every address of the settings.
    ///
    /// # Errors
    ///
    /// When one of them cannot be had, with its name.
    pub async fn bind(settings: Settings, published: Published) -> Result<Self> {
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for &address in &settings.listen {
            let listener = listen::bind(address).await?;
            addresses.push(listener.local_addr()?);
            listeners.push(listener);
        }
        Ok(Self {
            listeners,
            addresses,
            settings,
            published,
        })
    }

    /// The addresses as bound: with the port that the system chose for port 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Answers until `shutdown` resolves; then gives notice, refuses new connections, and lets those that there are
    /// finish within the drain time. Returns how many did not, and were cut.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> usize {
        let phase = Arc::new(watch::Sender::new(Phase::Serving));
        let acceptor = Acceptor {
            builder: connection::builder(&self.settings),
            places: Places::new(self.settings.max_connections),
            settings: Arc::new(self.settings.clone()),
            published: self.published.clone(),
            phase: Arc::clone(&phase),
        };
        let mut accepting = JoinSet::new();
        for listener in self.listeners {
            accepting.spawn(acceptor.clone().accept(listener));
        }
        shutdown.await;
        self.published.begin_draining();
        sleep(self.settings.notice).await;
        accepting.shutdown().await;
        drain(&phase, self.settings.drain).await
    }
}

/// Every connection holds a receiver for as long as it lives.
async fn drain(phase: &watch::Sender<Phase>, patience: Duration) -> usize {
    phase.send_replace(Phase::Draining);
    if timeout(patience, phase.closed()).await.is_ok() {
        return 0;
    }
    let cut = phase.receiver_count();
    phase.send_replace(Phase::Cut);
    phase.closed().await;
    cut
}

#[derive(Clone)]
struct Acceptor {
    builder: Builder<TokioExecutor>,
    places: Places,
    settings: Arc<Settings>,
    published: Published,
    phase: Arc<watch::Sender<Phase>>,
}

impl Acceptor {
    async fn accept(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.admit(stream).await,
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    sleep(BREATH).await;
                }
            }
        }
    }

    async fn admit(&self, stream: TcpStream) {
        // Without it the end of a small answer waits for a delayed ACK: 40 ms a request.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "failed to set TCP_NODELAY");
        }
        let Some(place) = self.places.take().await else {
            return;
        };
        let (builder, settings) = (self.builder.clone(), Arc::clone(&self.settings));
        let (published, phase) = (self.published.clone(), self.phase.subscribe());
        tokio::spawn(async move {
            connection::serve(stream, builder, &settings, published, place, phase).await;
        });
    }
}
