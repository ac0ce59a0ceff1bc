//! One connection, from its first byte to its end: HTTP/1.1 or HTTP/2 by what the client says first.

use std::convert::Infallible;
use std::pin::pin;

use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::body::Body;
use super::limits::{Place, STREAMS};
use super::patience::Patient;
use super::probes::Probe;
use super::published::Published;
use super::respond::{respond, unavailable};
use super::server::Settings;

/// Where the server is on its way from start to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// What has begun is finished.
    Draining,
    /// What has not finished is given up.
    Cut,
}

/// Speaks HTTP on `stream` until the client, a timeout or the end of the server closes it.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    builder: Builder<TokioExecutor>,
    settings: &Settings,
    published: Published,
    place: Place,
    mut phase: watch::Receiver<Phase>,
) {
    let service = service_fn(|request| {
        let (published, over_limit) = (published.clone(), place.over_limit);
        async move { Ok::<_, Infallible>(answer(&published, over_limit, &request).await) }
    });
    let io = TokioIo::new(Patient::new(stream, settings.idle_timeout));
    let mut connection = pin!(builder.serve_connection(io, service));
    tokio::select! {
        ended = connection.as_mut() => return note(ended),
        () = reached(&mut phase, Phase::Draining) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        ended = connection => note(ended),
        () = reached(&mut phase, Phase::Cut) => {}
    }
}

/// How HTTP is spoken here.
pub(super) fn builder(settings: &Settings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(settings.max_header_size);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(settings.max_header_size).unwrap_or(u32::MAX));
    builder
}

async fn answer<B>(published: &Published, over_limit: bool, request: &Request<B>) -> Response<Body> {
    let response = if over_limit && Probe::of(request.uri().path()).is_none() {
        turn_away(request.version())
    } else {
        respond(published, request).await
    };
    tracing::debug!(method = %request.method(), url = %request.uri(), status = response.status().as_u16(), "answered");
    response
}

/// HTTP/2 has no Connection header (RFC 9113 section 8.2.2).
fn turn_away(version: Version) -> Response<Body> {
    let mut response = unavailable("too many connections");
    if version < Version::HTTP_2 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Also when the server is gone.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}

/// A connection that breaks is the client's affair, and daily bread.
fn note<E: std::fmt::Display>(ended: Result<(), E>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}
