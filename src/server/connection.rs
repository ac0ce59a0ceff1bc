//! One connection, from its first byte to its end: HTTP/1.1 or HTTP/2, both spoken by hyper.

use std::convert::Infallible;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::access_log::{self, RequestTimer};
use super::body::{Body, FileAccess};
use super::connection_limits::{DownloadLimiter, MAX_HEADERS, MAX_STREAMS};
use super::context::{Client, ServerContext};
use super::handler;
use super::proxy_protocol::{begins_with_header, comes_with_header, read_header};
use super::send_progress::{CountedBody, SendProgress, Stall};
use super::timeout_stream::TimeoutStream;
use super::transport::{Protocol, Transport};

/// How long a draining server waits for requests that may have been sent already: clients do not resend them.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// How long a connection that was idle, or is over the limit, has to end.
const IDLE_CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Bytes of a frame of a body, and the send buffer of a stream.
const HTTP2_FRAME: usize = 16 << 10;

/// Bytes of request bodies that are buffered, per stream and per connection.
const HTTP2_RECEIVE_WINDOW: u32 = 64 << 10;

/// The stage of the server's shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shutdown {
    Running,
    /// Requests that were already sent are answered.
    Draining,
    /// Connections are closed.
    Aborting,
}

/// What the requests of one connection share.
struct ConnectionContext {
    server: Arc<ServerContext>,
    client: Client,
    access: FileAccess,
    progress: Arc<SendProgress>,
    /// Notified of a response that ends an HTTP/2 connection.
    last_response: Notify,
}

/// Reads the PROXY header of a trusted proxy, speaks TLS where there is an acceptor, then HTTP until the client, a timeout or
/// the end of the server closes the connection.
pub(super) async fn serve(
    mut stream: Transport,
    tls: Option<TlsAcceptor>,
    mut client: Client,
    server: Arc<ServerContext>,
    mut shutdown: watch::Receiver<Shutdown>,
) {
    let served = async {
        if client.is_proxy {
            accept_proxy_header(&mut stream, &mut client, &server, &mut shutdown).await?;
        }
        if let Some(tls) = tls {
            let header_timeout = client.header_timeout(&server.settings);
            let accepted = async {
                if !client.is_proxy && comes_with_header(&mut stream).await? {
                    server.warn_untrusted_proxy(client.ip);
                }
                tls.accept(stream).await
            };
            stream = begin(accepted, header_timeout, &mut shutdown).await?.into();
        }
        serve_http(stream, client, server, shutdown).await
    };
    // Broken connections are routine.
    if let Err(error) = served.await {
        tracing::debug!(error = format!("{error:#}"), "connection failed");
    }
}

/// Takes the client of the connection from its PROXY header, if it begins with one.
async fn accept_proxy_header(
    stream: &mut Transport,
    client: &mut Client,
    server: &ServerContext,
    shutdown: &mut watch::Receiver<Shutdown>,
) -> anyhow::Result<()> {
    let ip = client.ip;
    let header = async {
        let header = read_header(stream).await;
        header.inspect_err(|error| {
            if error.kind() == ErrorKind::InvalidData {
                access_log::rejected(server, ip, StatusCode::BAD_REQUEST);
            }
        })
    };
    let header = begin(header, client.header_timeout(&server.settings), shutdown).await?;
    match header {
        None => {}
        // The rest of the connection may come from another client.
        Some(None) => client.is_proxy = false,
        Some(Some(ip)) => {
            client.ip = Some(ip);
            client.is_proxy = server.settings.serve.trusted_proxies.includes(client.ip);
            if !client.is_proxy && !client.is_over_limit() {
                client.permit.count_for(ip);
                client.permit.exceeded.into_iter().for_each(|limit| server.metrics.connection_refused(limit));
            }
        }
    }
    Ok(())
}

/// Completes a step before HTTP within `limit`. Fails if it takes longer, or if the server drains meanwhile.
async fn begin<T>(
    step: impl Future<Output = io::Result<T>>,
    limit: Duration,
    shutdown: &mut watch::Receiver<Shutdown>,
) -> anyhow::Result<T> {
    tokio::select! {
        done = timeout(limit, step) => Ok(done??),
        () = draining(shutdown) => Err(anyhow!("the server ended before the connection began")),
    }
}

async fn serve_http(
    stream: Transport,
    client: Client,
    server: Arc<ServerContext>,
    mut shutdown: watch::Receiver<Shutdown>,
) -> anyhow::Result<()> {
    let progress = Arc::new(SendProgress::default());
    let header_timeout = client.header_timeout(&server.settings);
    let mut stream = TimeoutStream::new(stream, header_timeout, Arc::clone(&progress), Arc::clone(&server));
    let protocol = tokio::select! {
        protocol = stream.detect_protocol() => protocol?,
        () = draining(&mut shutdown) => return Ok(()),
    };
    if begins_with_header(stream.first_bytes()) {
        server.warn_untrusted_proxy(client.ip);
    }
    let context = Arc::new(ConnectionContext {
        access: FileAccess {
            is_mapped: protocol == Protocol::Http1 && stream.can_send_mapped_files(),
            downloads: DownloadLimiter::new(Arc::clone(&server.downloads), client.is_proxy),
        },
        server,
        client,
        progress,
        last_response: Notify::new(),
    });
    let service = service_fn(|request| {
        let context = Arc::clone(&context);
        async move { Ok::<_, Infallible>(context.respond(request).await) }
    });
    let max_header_size = context.server.settings.serve.max_header_size;
    let stream = TokioIo::new(stream);
    let served = match protocol {
        Protocol::Http1 => {
            let connection = http1_builder(max_header_size).serve_connection(stream, service);
            context.drive(connection, &mut shutdown).await
        }
        Protocol::Http2 => {
            let connection = http2_builder(max_header_size).serve_connection(stream, service);
            context.drive(connection, &mut shutdown).await
        }
    };
    if let Err(error) = &served {
        context.note_rejected(error);
    }
    Ok(served?)
}

fn http1_builder(max_header_size: usize) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // A client may end its side after its last request.
        .half_close(true)
        // The stream has its own.
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_buf_size(max_header_size);
    builder
}

fn http2_builder(max_header_size: usize) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(HTTP2_RECEIVE_WINDOW)
        .initial_connection_window_size(HTTP2_RECEIVE_WINDOW)
        .max_send_buf_size(HTTP2_FRAME)
        .max_header_list_size(u32::try_from(max_header_size).unwrap_or(u32::MAX));
    builder
}

impl ConnectionContext {
    /// Runs a connection of either protocol. Shuts it down gracefully when it is idle, after its last response, or when the
    /// server drains, and ends it when the client makes no progress.
    async fn drive<C: GracefulConnection<Error = hyper::Error>>(
        &self,
        connection: C,
        shutdown: &mut watch::Receiver<Shutdown>,
    ) -> hyper::Result<()> {
        let settings = &self.server.settings;
        let idle_timeout = self.client.idle_timeout(settings);
        let min_rate = settings.serve.min_pace as u64;
        let mut connection = pin!(connection);
        let grace = tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = draining(shutdown) => idle_timeout,
            () = self.last_response.notified() => idle_timeout,
            stall = self.progress.stall(idle_timeout, min_rate, false) => match stall {
                Stall::Stalled => return Ok(()),
                Stall::Idle => IDLE_CLOSE_GRACE,
            },
        };
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            ended = connection => ended,
            () = reached(shutdown, Shutdown::Aborting) => Ok(()),
            _ = self.progress.stall(grace, min_rate, true) => Ok(()),
            () = sleep(IDLE_CLOSE_GRACE), if self.client.is_over_limit() => Ok(()),
        }
    }

    async fn respond(&self, mut request: Request<Incoming>) -> Response<CountedBody> {
        let _pending = self.progress.begin_request();
        let timer = RequestTimer::start();
        let client = self.client.of_request(&self.server, request.headers());
        let mut routed = handler::respond(&self.server, &client, &self.access, &mut request).await;
        // hyper would send the body of an HTTP/2 response to HEAD.
        if request.method() == Method::HEAD {
            *routed.response.body_mut() = Body::EMPTY;
        }
        timer.finish(&self.server, client.ip, &request, &routed);
        let mut response = routed.response;
        let max_frame = match request.version() {
            // HTTP/2 has no such header (RFC 9113 section 8.2.2).
            Version::HTTP_2 => {
                if response.headers_mut().remove(CONNECTION).is_some() || self.client.is_over_limit() {
                    self.last_response.notify_one();
                }
                Some(HTTP2_FRAME)
            }
            _ => {
                if self.server.published.is_draining() {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                None
            }
        };
        response.map(|body| CountedBody::new(body, max_frame, Arc::clone(&self.progress), client.permit))
    }

    /// Counts input that was rejected before it parsed as a request; hyper has answered it with this status.
    fn note_rejected(&self, error: &hyper::Error) {
        let status = match error {
            _ if error.is_parse_too_large() => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ if error.is_parse() => StatusCode::BAD_REQUEST,
            _ => return,
        };
        access_log::rejected(&self.server, self.client.ip, status);
    }
}

/// Waits until the server drains, and for requests that may have been sent before.
async fn draining(shutdown: &mut watch::Receiver<Shutdown>) {
    reached(shutdown, Shutdown::Draining).await;
    tokio::select! {
        () = sleep(FIRST_REQUEST_GRACE) => {}
        () = reached(shutdown, Shutdown::Aborting) => {}
    }
}

/// Waits for a stage of the shutdown. Also returns when the server is gone.
async fn reached(shutdown: &mut watch::Receiver<Shutdown>, state: Shutdown) {
    let _ = shutdown.wait_for(|current| *current >= state).await;
}
