//! The server's life: bind, accept, and an end that cuts nobody off in mid-download.

use std::future::Future;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::access_log::AccessLog;
use super::connection::{self, Peer, Phase};
use super::connection_limits::Places;
use super::handler::Role;
use super::listener::Listener;
use super::local_socket::LocalSocket;
use super::published::PublishedSite;
use super::tls::{Certificate, Tls};
use super::transport::Transport;
use super::{http1, http2};
use crate::config::Address;
use crate::telemetry::Metrics;

/// After an error of `accept`, most of all for want of file descriptors: time for some to be given back.
const BREATH: Duration = Duration::from_millis(100);

/// Time for the system to tell a listener who was connected when the server ended, and to accept them.
const SWEEP: Duration = Duration::from_millis(20);

/// How to serve.
#[derive(Clone, Debug)]
pub struct Settings {
    /// At least one.
    pub listen: Vec<Address>,
    /// Where only probes and metrics are answered. When there is none, metrics are answered everywhere.
    pub admin: Vec<Address>,
    pub tls: Option<Tls>,
    /// Where `mirror health` asks, whatever else is listened on.
    pub own: Option<LocalSocket>,
    /// How long `/-/readyz` says no before new connections are refused: the time that a load balancer needs to
    /// notice. Nothing is refused meanwhile.
    pub notice: Duration,
    /// How long requests in flight may take to finish after that.
    pub drain: Duration,
    /// How long the head of a request may take from its first byte, and that of the first request from the beginning of
    /// the connection.
    pub header_timeout: Duration,
    /// How long a connection may pass without a byte in either direction; by HTTP/2, without a request and without a byte
    /// that is taken of an answer.
    pub idle_timeout: Duration,
    /// How many bytes a second a client must read, on the average of an idle timeout.
    pub min_pace: u64,
    /// More are answered 503.
    pub max_connections: usize,
    /// From one address, or one network of IPv6; more are answered 503.
    pub max_connections_per_client: usize,
    /// The head of a request, in bytes, at least 8 KiB; Composer's has a few hundred.
    pub max_header_size: usize,
    pub access_log: AccessLog,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8080)).into()],
            admin: Vec::new(),
            tls: None,
            own: None,
            notice: Duration::ZERO,
            // Kubernetes kills after 30 seconds.
            drain: Duration::from_secs(25),
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            min_pace: 1024,
            max_connections: 1024,
            max_connections_per_client: 1024,
            max_header_size: 16 << 10,
            access_log: AccessLog::Off,
        }
    }
}

/// What all connections have in common.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) published: PublishedSite,
    pub(super) metrics: Metrics,
    /// How HTTP/2 is spoken.
    pub(super) http2: http2::Protocol,
    /// What HTTP/1.1 knows of sending files.
    pub(super) ways: http1::Ways,
    /// Answers, counted for the access log.
    pub(super) sample: AtomicU32,
}

/// A server that has its addresses and does not answer yet.
pub struct Server {
    listeners: Vec<Bound>,
    addresses: Vec<Address>,
    certificate: Option<Certificate>,
    shared: Arc<Shared>,
}

/// A listener, and what is spoken there.
struct Bound {
    listener: Listener,
    role: Role,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// Binds every address of the settings.
    ///
    /// # Errors
    ///
    /// When one of them cannot be had, with its name; when the certificate or its key cannot be used.
    pub async fn bind(settings: Settings, published: PublishedSite, metrics: Metrics) -> Result<Self> {
        let everything = match settings.admin.is_empty() {
            true => Role::Everything,
            false => Role::Public,
        };
        let certificate = settings.tls.clone().map(Certificate::load).transpose()?;
        let acceptor = certificate.as_ref().map(Certificate::acceptor).transpose()?;
        let with_tls = settings.tls.as_ref().map_or(&[][..], |tls| &tls.listen);
        let mut listeners = Vec::new();
        for (addresses, role, tls) in [
            (&settings.listen[..], everything, None),
            (with_tls, everything, acceptor),
            (&settings.admin, Role::Admin, None),
        ] {
            for address in addresses {
                listeners.push(Bound {
                    listener: Listener::bind(address).await?,
                    role,
                    tls: tls.clone(),
                });
            }
        }
        let addresses = listeners.iter().map(|bound| bound.listener.address());
        let addresses = addresses.collect::<Result<_>>()?;
        listeners.extend(settings.own.as_ref().and_then(own));
        Ok(Self {
            addresses,
            listeners,
            certificate,
            shared: Arc::new(Shared {
                http2: http2::protocol(&settings),
                settings,
                published,
                metrics,
                ways: http1::Ways::default(),
                sample: AtomicU32::default(),
            }),
        })
    }

    /// The addresses as bound, those with TLS after those without, those of the admin last: with the port that the system chose for port 0.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Answers until `shutdown` resolves; then gives notice, refuses new connections, and lets those that there are
    /// finish within the drain time. Returns how many did not, and were cut.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> usize {
        let settings = &self.shared.settings;
        let phase = Arc::new(watch::Sender::new(Phase::Serving));
        // The admin's places are its own: a flood of clients does not keep monitors out.
        let places = Places::new(settings.max_connections, settings.max_connections_per_client);
        let admin = Places::new(ADMIN_CONNECTIONS, ADMIN_CONNECTIONS);
        let (open, closing) = watch::channel(());
        let (mut accepting, mut following) = (JoinSet::new(), JoinSet::new());
        if let Some(certificate) = self.certificate {
            following.spawn(certificate.follow());
        }
        for Bound { listener, role, tls } in self.listeners {
            let acceptor = Acceptor {
                role,
                tls,
                places: match role {
                    Role::Admin | Role::Own => admin.clone(),
                    Role::Everything | Role::Public => places.clone(),
                },
                shared: Arc::clone(&self.shared),
                phase: Arc::clone(&phase),
            };
            accepting.spawn(acceptor.accept(listener, closing.clone()));
        }
        shutdown.await;
        self.shared.published.begin_draining();
        if !settings.notice.is_zero() {
            sleep(settings.notice).await;
        }
        // While they are listened on: afterwards a successor may have bound its own in their place.
        for address in &self.addresses {
            if let Address::Unix(path) = address {
                remove(path);
            }
        }
        drop(open);
        phase.send_replace(Phase::Draining);
        while accepting.join_next().await.is_some() {}
        drain(&phase, settings.drain).await
    }
}

/// Without it `mirror health` asks elsewhere.
fn own(name: &LocalSocket) -> Option<Bound> {
    let bound = Listener::own(name).map(|listener| Bound {
        listener,
        role: Role::Own,
        tls: None,
    });
    bound
        .map_err(|error| tracing::debug!(%error, "the server has no address of its own"))
        .ok()
}

/// Monitors are few.
const ADMIN_CONNECTIONS: usize = 64;

fn remove(socket: &PathBuf) {
    if let Err(error) = std::fs::remove_file(socket) {
        tracing::debug!(%error, socket = %socket.display(), "failed to remove a socket");
    }
}

/// Every connection holds a receiver for as long as it lives.
async fn drain(phase: &watch::Sender<Phase>, patience: Duration) -> usize {
    if timeout(patience, phase.closed()).await.is_ok() {
        return 0;
    }
    let cut = phase.receiver_count();
    phase.send_replace(Phase::Cut);
    phase.closed().await;
    cut
}

struct Acceptor {
    role: Role,
    tls: Option<TlsAcceptor>,
    places: Places,
    shared: Arc<Shared>,
    phase: Arc<watch::Sender<Phase>>,
}

impl Acceptor {
    /// Accepts until `closing` is closed, and who was connected by then.
    async fn accept(self, listener: Listener, mut closing: watch::Receiver<()>) {
        loop {
            let accepted = tokio::select! {
                _ = closing.changed() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok(accepted) => {
                    self.admit(accepted);
                    // Who is connected goes first: a flood of connections is taken one by one.
                    yield_now().await;
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    sleep(BREATH).await;
                }
            }
        }
        let until = Instant::now() + SWEEP;
        while let Ok(accepted) = timeout_at(until, listener.accept()).await {
            match accepted {
                Ok(accepted) => self.admit(accepted),
                Err(_) => sleep(SWEEP / 10).await,
            }
        }
    }

    fn admit(&self, (stream, ip): (Transport, Option<IpAddr>)) {
        let metrics = &self.shared.metrics;
        let place = match self.places.take(ip) {
            Ok(place) => place,
            Err(limit) => return metrics.connection_refused(limit),
        };
        if let Some(limit) = place.over {
            metrics.connection_refused(limit);
        }
        let (shared, phase) = (Arc::clone(&self.shared), self.phase.subscribe());
        let peer = Peer {
            ip,
            role: self.role,
            place,
        };
        let tls = self.tls.clone();
        tokio::spawn(async move {
            let _open = shared.metrics.connection_opened();
            talk(stream, tls, peer, Arc::clone(&shared), phase).await;
        });
    }
}

/// Speaks TLS first where it is spoken.
async fn talk(
    stream: Transport,
    tls: Option<TlsAcceptor>,
    peer: Peer,
    shared: Arc<Shared>,
    mut phase: watch::Receiver<Phase>,
) {
    let Some(tls) = tls else {
        return connection::serve(stream, peer, shared, phase).await;
    };
    let patience = peer.patience(&shared.settings);
    let accepted = tokio::select! {
        accepted = timeout(patience, tls.accept(stream)) => accepted,
        () = connection::late(&mut phase) => return,
    };
    match accepted {
        Ok(Ok(stream)) => connection::serve(Transport::Tls(Box::new(stream)), peer, shared, phase).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}
