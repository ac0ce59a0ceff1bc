//! HTTP/2 (RFC 9113) on one connection, which hyper speaks.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::watch;

use super::body::Body;
use super::connection::{Phase, Talk, reached};
use super::limits::STREAMS;
use super::patience::Patient;
use super::request::{self, Field, Fields};
use super::server::Settings;
use super::transport::Transport;

/// Bytes of one stream.
const SEND_BUFFER: usize = 16 << 10;

pub(super) type Protocol = http2::Builder<TokioExecutor>;

/// What hyper is told of it.
pub(super) fn protocol(settings: &Settings) -> Protocol {
    let mut protocol = http2::Builder::new(TokioExecutor::new());
    protocol
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        // And a frame: what a client has made and does not read.
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(settings.max_header_size).unwrap_or(u32::MAX));
    protocol
}

/// Answers requests until the client goes; once the server ends, those that have begun.
///
/// # Errors
///
/// When the connection breaks.
pub(super) async fn serve<S: Transport>(
    protocol: &Protocol,
    stream: Patient<S>,
    talk: Talk,
    phase: &mut watch::Receiver<Phase>,
) -> hyper::Result<()> {
    let talk = Arc::new(talk);
    let service = service_fn(|request| {
        let talk = Arc::clone(&talk);
        async move { Ok::<_, Infallible>(answer(&talk, request).await) }
    });
    let mut connection = std::pin::pin!(protocol.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = reached(phase, Phase::Draining) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        ended = connection => ended,
        () = reached(phase, Phase::Cut) => Ok(()),
    }
}

async fn answer(talk: &Talk, request: Request<Incoming>) -> Response<Body> {
    let (parts, mut body) = request.into_parts();
    let fields = parts.headers.iter();
    let fields = fields.map(|(name, value)| Field::new(name.as_str(), value.as_bytes()));
    let fields: Vec<_> = fields.collect();
    let request = request::Request {
        method: parts.method,
        path: parts.uri.path(),
        query: parts.uri.query(),
        version: parts.version,
        fields: Fields::new(&fields),
    };
    talk.answer(&request, &mut body).await.reply.into()
}
