//! One connection, from its first byte to its end: HTTP/1.1 or HTTP/2 by what the client says first.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::timeout;

use super::account::Account;
use super::alarm::Alarm;
use super::body::Body;
use super::limits::{HEADERS, Place, STREAMS, SURPLUS_PATIENCE};
use super::patience::Patient;
use super::respond::{Role, respond, turn_away};
use super::server::{Settings, Shared};
use crate::observe::Tally;

/// Where the server is on its way from start to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// What has begun is finished.
    Draining,
    /// What has not finished is given up.
    Cut,
}

/// Who is at the other end, and what may be asked there.
pub(super) struct Peer {
    /// None at a Unix socket.
    pub(super) ip: Option<IpAddr>,
    pub(super) role: Role,
    pub(super) place: Place,
}

/// What the whole connection needs to know.
struct Talk {
    shared: Arc<Shared>,
    peer: Peer,
    tally: Tally,
}

/// What hyper is told of HTTP.
#[derive(Clone)]
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Protocols {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut http1 = http1::Builder::new();
        http1.max_headers(HEADERS).max_buf_size(settings.max_header_size);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(u32::try_from(settings.max_header_size).unwrap_or(u32::MAX));
        Self { http1, http2 }
    }
}

/// Speaks HTTP on `stream` until the client, a timeout or the end of the server closes it.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: Peer,
    shared: Arc<Shared>,
    mut phase: watch::Receiver<Phase>,
) {
    let settings = &shared.settings;
    let mut stream = Patient::new(
        stream,
        settings.idle_timeout,
        settings.min_pace,
        shared.metrics.clone(),
    );
    let patience = match peer.place.over {
        Some(_) => SURPLUS_PATIENCE,
        None => settings.header_timeout,
    };
    let mut protocols = shared.protocols.clone();
    protocols
        .http1
        .timer(Alarm::new(patience))
        .header_read_timeout(patience);
    let talk = Arc::new(Talk {
        tally: shared.metrics.tally(),
        shared: Arc::clone(&shared),
        peer,
    });
    let spoken = tokio::select! {
        spoken = timeout(patience, stream.speaks_http2()) => spoken,
        () = reached(&mut phase, Phase::Draining) => return,
    };
    let result = match spoken {
        Ok(Ok(true)) => speak_http2(&protocols.http2, stream, talk, &mut phase).await,
        Ok(Ok(false)) => speak_http1(&protocols.http1, stream, talk, &mut phase).await,
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Ok(()),
    };
    // A connection that breaks is the client's affair, and daily bread.
    if let Err(error) = result {
        tracing::debug!(error = format!("{error:#}"), "a connection broke");
    }
}

async fn speak_http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    http: &http1::Builder,
    stream: Patient<S>,
    talk: Arc<Talk>,
    phase: &mut watch::Receiver<Phase>,
) -> anyhow::Result<()> {
    let service = service_fn(|request| {
        let talk = Arc::clone(&talk);
        async move { Ok::<_, Infallible>(answer(&talk, request).await) }
    });
    let mut connection = http.serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = reached(phase, Phase::Draining) => None,
    };
    let ended = match ended {
        Some(ended) => Some(ended),
        None => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            tokio::select! {
                ended = &mut connection => Some(ended),
                () = reached(phase, Phase::Cut) => None,
            }
        }
    };
    let mut stream = connection.into_parts().io.into_inner();
    match ended {
        // Only who has begun a request is told: to anybody else it would look like the answer to the next one.
        Some(Err(error)) if is_timeout(&error) && stream.is_unanswered() => {
            let told = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(told).await?;
            Ok(stream.shutdown().await?)
        }
        Some(ended) => Ok(ended?),
        None => Ok(()),
    }
}

/// Of hyper's timer, or of ours.
fn is_timeout(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    error.is_timeout() || cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::TimedOut)
}

async fn speak_http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    http: &http2::Builder<TokioExecutor>,
    stream: Patient<S>,
    talk: Arc<Talk>,
    phase: &mut watch::Receiver<Phase>,
) -> anyhow::Result<()> {
    let service = service_fn(|request| {
        let talk = Arc::clone(&talk);
        async move { Ok::<_, Infallible>(answer(&talk, request).await) }
    });
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = reached(phase, Phase::Draining) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        ended = connection => Ok(ended?),
        () = reached(phase, Phase::Cut) => Ok(()),
    }
}

async fn answer(talk: &Talk, mut request: Request<Incoming>) -> Response<Body> {
    let (shared, peer) = (&talk.shared, &talk.peer);
    let account = Account::open();
    let mut answer = match peer.place.over {
        Some(_) => turn_away(shared, &request).await,
        None => respond(shared, peer.role, &mut request).await,
    };
    // HTTP/2 has no such header (RFC 9113 section 8.2.2).
    if answer.is_last && request.version() < Version::HTTP_2 {
        let close = HeaderValue::from_static("close");
        answer.response.headers_mut().insert(CONNECTION, close);
    }
    account.close(shared, &talk.tally, peer.ip, &request, &answer);
    answer.response
}

/// Also when the server is gone.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}
