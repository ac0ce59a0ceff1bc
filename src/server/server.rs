//! Binds, accepts connections, and shuts down so that downloads can finish.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::Duration;

use anyhow::Result;
use rustix::process::geteuid;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::connection::{self, Shutdown};
use super::connection_limits::ConnectionLimiter;
use super::context::{Client, Role, ServerContext, Settings};
use super::listener::Listener;
use super::local_socket::LocalSocket;
use super::published::{PublishedSite, Readiness};
use super::socket_activation::PassedSockets;
use super::tls::Certificate;
use super::transport::Transport;
use super::unix_socket;
use crate::config::{Address, UnixAddress};
use crate::telemetry::Metrics;

/// Pause after `accept` fails, usually because descriptors ran out.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How long a draining server still accepts: clients in the queue had connected before.
const ACCEPT_SWEEP: Duration = Duration::from_millis(20);

/// Monitors are few and have a limit of their own, so that a flood of clients does not lock them out.
const ADMIN_CONNECTIONS: usize = 64;

/// A server that is bound to its addresses and does not accept yet.
pub struct Server {
    listeners: Vec<Bound>,
    addresses: Vec<Address>,
    /// The Unix sockets that this process created, and removes at the end.
    created: Vec<UnixAddress>,
    certificate: Option<Certificate>,
    context: Arc<ServerContext>,
    hurry: Arc<Notify>,
}

/// A listener, and how its connections are served.
struct Bound {
    listener: Listener,
    role: Role,
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// Binds every address of the settings, or takes the socket that the service manager has bound to it.
    /// Fails when an address cannot be bound, a passed socket is not in the settings, or the certificate or its key cannot be used.
    pub async fn bind(settings: Settings, published: PublishedSite, metrics: Metrics) -> Result<Self> {
        let serve = &settings.serve;
        let public = match serve.admin.is_empty() {
            true => Role::Everything,
            false => Role::Public,
        };
        let load = |tls| match serve.acme {
            Some(_) => Certificate::load_later(tls, metrics.clone()),
            None => Certificate::load(tls, metrics.clone()),
        };
        let certificate = settings.tls.clone().map(load).transpose()?;
        let acceptor = certificate.as_ref().map(Certificate::acceptor).transpose()?;
        let with_tls = settings.tls.as_ref().map_or(&[][..], |tls| &tls.listen);
        let mut passed = PassedSockets::receive()?;
        let (mut listeners, mut created) = (Vec::new(), Vec::new());
        for (addresses, role, tls) in [
            (&serve.listen[..], public, None),
            (with_tls, public, acceptor),
            (&serve.admin, Role::Admin, None),
        ] {
            for address in addresses {
                let listener = match passed.take(address) {
                    Some(listener) => listener,
                    None => {
                        let listener = Listener::bind(address).await?;
                        if let Address::Unix(socket) = address {
                            created.push(socket.clone());
                        }
                        listener
                    }
                };
                listeners.push(Bound { listener, role, tls: tls.clone() });
            }
        }
        passed.check_all_taken()?;
        let addresses = listeners.iter().map(|bound| bound.listener.address());
        let addresses = addresses.collect::<Result<_>>()?;
        listeners.extend(settings.local_socket.as_ref().and_then(bind_local));
        Ok(Self {
            addresses,
            created,
            listeners,
            certificate,
            context: Arc::new(ServerContext {
                downloads: Arc::new(Semaphore::new(serve.max_connections.get().min(Semaphore::MAX_PERMITS))),
                settings,
                published,
                metrics,
                responses: AtomicU32::default(),
                has_warned: AtomicBool::default(),
            }),
            hurry: Arc::default(),
        })
    }

    /// The bound addresses, with the port that the system chose for port 0: those without TLS, those with TLS, those of the
    /// admin.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// What each of the addresses is for, in words.
    pub fn purposes(&self) -> impl Iterator<Item = &'static str> {
        self.listeners.iter().map(|bound| match (bound.role, &bound.tls) {
            (Role::Everything | Role::Public, None) => "HTTP",
            (Role::Everything | Role::Public, Some(_)) => "HTTPS",
            (Role::Admin, _) => "health checks and metrics",
            (Role::Local | Role::Operator, _) => "commands on this machine",
        })
    }

    /// Each notification during the shutdown skips to its next stage.
    pub fn hurry(&self) -> Arc<Notify> {
        Arc::clone(&self.hurry)
    }

    /// Serves until `stop` resolves. Then reports that it is not ready while it still accepts connections (`serve.notice`), and
    /// lets the open ones finish within `serve.drain`. Returns how many had to be closed.
    pub async fn run(self, stop: impl Future<Output = ()>) -> usize {
        let serve = &self.context.settings.serve;
        let (notice, drain_timeout) = (serve.notice, serve.drain);
        let shutdown = Arc::new(watch::Sender::new(Shutdown::Running));
        let limiter =
            ConnectionLimiter::new(serve.max_connections.get(), serve.max_connections_per_client.get());
        let admin = ConnectionLimiter::new(ADMIN_CONNECTIONS, ADMIN_CONNECTIONS);
        let (accepting, stop_accepting) = watch::channel(());
        let (mut acceptors, mut background) = (JoinSet::new(), JoinSet::new());
        if let Some(certificate) = self.certificate {
            background.spawn(certificate.follow());
        }
        for Bound { listener, role, tls } in self.listeners {
            let acceptor = Acceptor {
                role,
                tls,
                limiter: match role {
                    Role::Admin | Role::Local | Role::Operator => admin.clone(),
                    Role::Everything | Role::Public => limiter.clone(),
                },
                context: Arc::clone(&self.context),
                shutdown: Arc::clone(&shutdown),
            };
            acceptors.spawn(acceptor.accept(listener, stop_accepting.clone()));
        }
        stop.await;
        let was_ready = self.context.published.readiness() == Readiness::Ready;
        self.context.published.begin_draining();
        // Nobody sends requests to a server that was not ready.
        if was_ready {
            let _ = timeout(notice, self.hurry.notified()).await;
        }
        // While they are still bound: afterwards a successor may have bound its own at the same path.
        for socket in &self.created {
            unix_socket::remove(&socket.path);
        }
        drop(accepting);
        shutdown.send_replace(Shutdown::Draining);
        while acceptors.join_next().await.is_some() {}
        drain(&shutdown, timeout(drain_timeout, self.hurry.notified())).await
    }
}

/// Whether the client of the local socket is a process of the server's own user or of root. Every user of the machine may connect.
fn is_operator(stream: &Transport) -> bool {
    stream.peer_user().is_some_and(|user| user == 0 || user == geteuid().as_raw())
}

/// Binds the local socket if possible. Without it, `mirror health` and `mirror status` use a configured address.
fn bind_local(socket: &LocalSocket) -> Option<Bound> {
    let bound = Listener::bind_local(socket).map(|listener| Bound { listener, role: Role::Local, tls: None });
    bound.map_err(|error| tracing::debug!(%error, "failed to bind the local socket")).ok()
}

/// Waits until every connection, which holds a receiver, has ended, or for `deadline`, and closes the rest. Returns how many
/// were closed.
async fn drain<T>(shutdown: &watch::Sender<Shutdown>, deadline: impl Future<Output = T>) -> usize {
    tokio::select! {
        () = shutdown.closed() => return 0,
        _ = deadline => {}
    }
    let aborted = shutdown.receiver_count();
    shutdown.send_replace(Shutdown::Aborting);
    shutdown.closed().await;
    aborted
}

struct Acceptor {
    role: Role,
    tls: Option<TlsAcceptor>,
    limiter: ConnectionLimiter,
    context: Arc<ServerContext>,
    shutdown: Arc<watch::Sender<Shutdown>>,
}

impl Acceptor {
    /// Accepts until `stop` is closed, and then the clients in the queue.
    async fn accept(self, listener: Listener, mut stop: watch::Receiver<()>) {
        loop {
            let accepted = tokio::select! {
                _ = stop.changed() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok(accepted) => {
                    self.spawn(accepted);
                    // Lets open connections proceed during a flood of new ones.
                    yield_now().await;
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
        let until = Instant::now() + ACCEPT_SWEEP;
        while let Ok(accepted) = timeout_at(until, listener.accept()).await {
            match accepted {
                Ok(accepted) => self.spawn(accepted),
                Err(_) => sleep(ACCEPT_SWEEP / 10).await,
            }
        }
    }

    fn spawn(&self, (stream, ip): (Transport, Option<IpAddr>)) {
        let metrics = &self.context.metrics;
        let trusted_proxies = &self.context.settings.serve.trusted_proxies;
        let is_proxy = self.role != Role::Local && trusted_proxies.includes(ip);
        let permit = match self.limiter.acquire(ip.filter(|_| !is_proxy)) {
            Ok(permit) => permit,
            Err(limit) => return metrics.connection_refused(limit),
        };
        if let Some(limit) = permit.exceeded {
            metrics.connection_refused(limit);
        }
        let role = match self.role {
            Role::Local if is_operator(&stream) => Role::Operator,
            role => role,
        };
        let client = Client { ip, is_proxy, role, permit };
        let (context, shutdown) = (Arc::clone(&self.context), self.shutdown.subscribe());
        let tls = self.tls.clone();
        tokio::spawn(async move {
            let _open = context.metrics.connection_opened();
            connection::serve(stream, tls, client, Arc::clone(&context), shutdown).await;
        });
    }
}
