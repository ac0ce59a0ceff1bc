//! HTTP/2 (RFC 9113) on one connection, which hyper speaks.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::connection::{Phase, Talk, reached};
use super::connection_limits::STREAMS;
use super::request;
use super::send_progress::{Counted, Progress, Standstill};
use super::server::Settings;
use super::timeout_stream::Patient;

/// How long the end of a connection waits for a client that had nothing to do, or for which there is no room.
const PARTING: Duration = Duration::from_secs(2);

/// Bytes of one stream.
const SEND_BUFFER: usize = 16 << 10;

/// Bytes of a body that a client may send before anybody reads them, of one stream and of all: those of a delivery that waits
/// for its turn are kept.
const RECEIVE_WINDOW: u32 = 64 << 10;

pub(super) type Protocol = http2::Builder<TokioExecutor>;

/// What hyper is told of it.
pub(super) fn protocol(settings: &Settings) -> Protocol {
    let mut protocol = http2::Builder::new(TokioExecutor::new());
    protocol
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(RECEIVE_WINDOW)
        .initial_connection_window_size(RECEIVE_WINDOW)
        // And a frame: what a client has made and does not read.
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(settings.max_header_size).unwrap_or(u32::MAX));
    protocol
}

/// A connection, as its requests see it.
struct Conversation {
    talk: Talk,
    progress: Arc<Progress>,
    /// Told of an answer with which the connection ends.
    last: Arc<Notify>,
}

/// Answers requests until the client goes or does not get on; once the server ends, those that have begun.
///
/// # Errors
///
/// When the connection breaks.
pub(super) async fn serve(
    protocol: &Protocol,
    mut stream: Patient,
    talk: Talk,
    phase: &mut watch::Receiver<Phase>,
) -> hyper::Result<()> {
    stream.wait_forever();
    let (idle, pace) = talk.patience();
    let is_surplus = talk.is_surplus();
    let (progress, last) = (Arc::new(Progress::default()), Arc::new(Notify::new()));
    let conversation = Arc::new(Conversation {
        talk,
        progress: Arc::clone(&progress),
        last: Arc::clone(&last),
    });
    let service = service_fn(|request| {
        let conversation = Arc::clone(&conversation);
        async move { Ok::<_, Infallible>(conversation.answer(request).await) }
    });
    let mut connection = std::pin::pin!(protocol.serve_connection(TokioIo::new(stream), service));
    let patience = tokio::select! {
        ended = connection.as_mut() => return ended,
        () = reached(phase, Phase::Draining) => idle,
        () = last.notified() => idle,
        standstill = progress.standstill(idle, pace) => match standstill {
            Standstill::Stalled => return Ok(()),
            Standstill::Idle => PARTING,
        },
    };
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => ended,
        () = reached(phase, Phase::Cut) => Ok(()),
        _ = progress.end(patience, pace) => Ok(()),
        () = sleep(PARTING), if is_surplus => Ok(()),
    }
}

impl Conversation {
    async fn answer(&self, request: Request<Incoming>) -> Response<Counted> {
        let _waiting = self.progress.asked();
        let (parts, mut body) = request.into_parts();
        let fields = parts.headers.iter();
        let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let request = request::Request {
            method: parts.method,
            path: parts.uri.path(),
            query: parts.uri.query(),
            version: parts.version,
            fields: fields.collect(),
        };
        let mut tally = self.talk.tally();
        let (reply, _) = self.talk.answer(&request, &mut body, &mut tally).await;
        if reply.is_last || self.talk.is_surplus() {
            self.last.notify_one();
        }
        Response::from(reply).map(|body| self.progress.answered(body))
    }
}
