//! ureq's connections, with every wait bounded by a [`TransferWatch`]: name lookups, connections, TLS, headers, bodies.
//!
//! Sockets are read and written with short timeouts. Calls of the standard library that block until they are done run on a
//! thread of their own, which is abandoned when the transfer stops.

use std::convert::Infallible;
use std::error::Error as _;
use std::fmt;
use std::future::{Ready, ready};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use tokio::runtime::Builder;
use tower_service::Service;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout,
    RustlsConnector, SocksConnector, Transport,
};
use ureq::{Agent, Error, Timeout};

use super::forward_proxy::ForwardProxyConnector;
use super::redirect_policy::RedirectPolicy;
use super::transfer_watch::{POLL, TransferWatch};
use crate::util::threads::ThreadError;

/// An agent whose connections obey `watch` and `redirects`.
pub(super) fn agent(config: Config, watch: &TransferWatch, redirects: &RedirectPolicy) -> Agent {
    let forward = ForwardProxyConnector { config: config.clone() };
    let connector =
        ().chain(SocksConnector::default()).chain(forward).chain(ConnectProxyConnector::default());
    let tcp = WatchedConnector { watch: watch.clone(), redirects: redirects.clone() };
    let connector = connector.chain(tcp).chain(RustlsConnector::default());
    Agent::with_parts(config, connector, WatchedResolver(watch.clone()))
}

/// Runs blocking work, and returns early if the transfer stops.
fn interruptible<T: Send + 'static>(
    watch: &TransferWatch,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (sender, receiver) = sync_channel(1);
    // The result of a stopped transfer has no receiver.
    let thread = thread::Builder::new().name("connect".into()).spawn(move || drop(sender.send(work())));
    thread.map_err(|error| Error::Other(Box::new(ThreadError::from(error))))?;
    loop {
        match receiver.recv_timeout(POLL) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) => watch.check().map_err(|stop| Error::Other(stop.into()))?,
            Err(RecvTimeoutError::Disconnected) => return Err(Error::ConnectionFailed),
        }
    }
}

#[derive(Debug)]
struct WatchedResolver(TransferWatch);

impl Resolver for WatchedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let (uri, config) = (uri.clone(), config.clone());
        interruptible(&self.0, move || DefaultResolver::default().resolve(&uri, &config, timeout))
    }
}

struct WatchedConnector {
    watch: TransferWatch,
    redirects: RedirectPolicy,
}

impl<In: Transport> Connector<In> for WatchedConnector {
    type Out = Either<WatchedTransport<In>, WatchedStream>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let watch = self.watch.clone();
        if let Some(inner) = chained {
            return Ok(Some(Either::A(WatchedTransport { inner, watch })));
        }
        let addresses = details.addrs.to_vec();
        self.redirects
            .check_addresses(details.uri, &addresses)
            .map_err(|refused| Error::Other(refused.into()))?;
        let timeout = *details.timeout.after;
        let stream = interruptible(&watch, move || connect_blocking(addresses, timeout))?;
        stream.set_read_timeout(Some(POLL))?;
        stream.set_write_timeout(Some(POLL))?;
        let buffers =
            LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(WatchedStream { stream, buffers, watch })))
    }
}

/// [`connect`] for blocking code.
fn connect_blocking(addresses: Vec<SocketAddr>, timeout: Duration) -> Result<TcpStream, Error> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let connected = runtime.block_on(connect(addresses, timeout));
    let stream = connected.and_then(tokio::net::TcpStream::into_std).map_err(|error| match error.kind() {
        ErrorKind::TimedOut => Error::Timeout(Timeout::Connect),
        _ => Error::Io(error),
    })?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Connects to the first of a host's addresses that answers. The second address family is tried in parallel after 0.3 s ("Happy
/// Eyeballs", RFC 6555 and 8305); the addresses of a family share `timeout`.
pub(crate) async fn connect(
    addresses: Vec<SocketAddr>,
    timeout: Duration,
) -> io::Result<tokio::net::TcpStream> {
    let mut connector = HttpConnector::new_with_resolver(Resolved(addresses));
    connector.set_connect_timeout(Some(timeout));
    connector.set_nodelay(true);
    let connected = connector.call(Uri::from_static("http://resolved")).await;
    connected.map(TokioIo::into_inner).map_err(|error| {
        let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
        cause.map_or_else(
            || io::Error::other(error.to_string()),
            |cause| io::Error::new(cause.kind(), cause.to_string()),
        )
    })
}

/// The addresses, with ports, of a name that was resolved before.
#[derive(Clone)]
struct Resolved(Vec<SocketAddr>);

impl Service<Name> for Resolved {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        ready(Ok(std::mem::take(&mut self.0).into_iter()))
    }
}

/// A TCP connection whose reads and writes return at least once per [`POLL`].
struct WatchedStream {
    stream: TcpStream,
    buffers: LazyBuffers,
    watch: TransferWatch,
}

impl Transport for WatchedStream {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        let output = &self.buffers.output()[..amount];
        let mut written = 0;
        while written < amount {
            written += wait(&self.watch, timeout, false, || (&self.stream).write(&output[written..]))?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let input = self.buffers.input_append_buf();
        let amount = wait(&self.watch, timeout.for_read(), true, || (&self.stream).read(input))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        let is_silent = || {
            self.stream.set_nonblocking(true)?;
            let peeked = self.stream.peek(&mut [0]);
            self.stream.set_nonblocking(false)?;
            io::Result::Ok(peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock))
        };
        is_silent().unwrap_or(false)
    }
}

/// Repeats an operation that returns after [`POLL`] until it is done, the other side is silent for too long, or the transfer
/// stops.
fn wait(
    watch: &TransferWatch,
    timeout: NextTimeout,
    is_read: bool,
    mut operation: impl FnMut() -> io::Result<usize>,
) -> Result<usize, Error> {
    let began = Instant::now();
    loop {
        let asked = Instant::now();
        let done = operation();
        let (count, result) = match done {
            Ok(count) => (count, Some(Ok(count))),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => (0, None),
                _ => (0, Some(Err(Error::Io(error)))),
            },
        };
        let waited = if is_read { asked.elapsed() } else { Duration::ZERO };
        watch.record(waited, count).map_err(|stop| Error::Other(stop.into()))?;
        if let Some(result) = result {
            return result;
        }
        if began.elapsed() >= *timeout.after {
            return Err(Error::Timeout(timeout.reason));
        }
    }
}

/// A connection through a proxy, which ureq made.
struct WatchedTransport<In> {
    inner: In,
    watch: TransferWatch,
}

impl<In: Transport> Transport for WatchedTransport<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let began = Instant::now();
        let limit = *timeout.for_read().after;
        let mut slice = timeout;
        slice.after = POLL.min(limit).into();
        loop {
            match self.inner.await_input(slice) {
                Err(Error::Timeout(_)) if began.elapsed() < limit => {
                    self.watch.check().map_err(|stop| Error::Other(stop.into()))?;
                }
                Err(Error::Timeout(_)) => return Err(Error::Timeout(timeout.for_read().reason)),
                result => return result,
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl fmt::Debug for WatchedConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchedConnector")
    }
}

impl fmt::Debug for WatchedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchedStream")
    }
}

impl<In> fmt::Debug for WatchedTransport<In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchedTransport")
    }
}
