//! One connection, from its first byte to its end: HTTP/1.1 or HTTP/2 by what the client says first.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Method;
use tokio::sync::watch;
use tokio::time::sleep;

use super::access_log::{self, Account};
use super::body::Body;
use super::connection_limits::{Place, SURPLUS_PATIENCE};
use super::handler::{Role, respond, turn_away};
use super::http1::{self, Ways};
use super::http2;
use super::reply::Reply;
use super::request::Request;
use super::server::{Settings, Shared};
use super::timeout_stream::Patient;
use super::transport::Transport;
use crate::telemetry::Tally;

/// How long the end of the server waits for the first request of a connection.
const FIRST: Duration = Duration::from_secs(1);

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

impl Peer {
    /// How long it may take to say what it wants.
    pub(super) fn patience(&self, settings: &Settings) -> Duration {
        match self.place.over {
            Some(_) => SURPLUS_PATIENCE,
            None => settings.header_timeout,
        }
    }

    /// How long it may do nothing.
    fn idle(&self, settings: &Settings) -> Duration {
        match self.place.over {
            Some(_) => SURPLUS_PATIENCE,
            None => settings.idle_timeout,
        }
    }
}

/// What the whole connection needs to know.
pub(super) struct Talk {
    shared: Arc<Shared>,
    peer: Peer,
}

impl Talk {
    /// In bytes, of a request.
    pub(super) fn max_header_size(&self) -> usize {
        self.shared.settings.max_header_size
    }

    /// How long the client may do nothing, and how many bytes a second it must take meanwhile of what there is.
    pub(super) fn patience(&self) -> (Duration, u64) {
        let settings = &self.shared.settings;
        (self.peer.idle(settings), settings.min_pace)
    }

    /// Whether there is no room for more than telling so.
    pub(super) fn is_surplus(&self) -> bool {
        self.peer.place.over.is_some()
    }

    /// Whether the server is on its way to [`Phase::Draining`].
    pub(super) fn is_draining(&self) -> bool {
        self.shared.published.is_draining()
    }

    pub(super) fn ways(&self) -> &Ways {
        &self.shared.ways
    }

    /// For the answers to requests that come one after the other.
    pub(super) fn tally(&self) -> Tally {
        self.shared.metrics.tally()
    }

    /// The answer to a request, and when it was there to be sent.
    pub(super) async fn answer<B>(
        &self,
        request: &Request<'_>,
        body: &mut B,
        tally: &mut Tally,
    ) -> (Reply, Instant)
    where
        B: hyper::body::Body + Unpin + ?Sized,
    {
        let (shared, peer) = (&self.shared, &self.peer);
        let account = Account::open();
        let mut answer = match peer.place.over {
            Some(_) => turn_away(shared, request),
            None => respond(shared, peer, request, body).await,
        };
        // Whatever it is: a body that nobody expects would be read as the next answer.
        if request.method == Method::HEAD {
            answer.reply.body = Body::Empty;
        }
        let made = Instant::now();
        account.close(made, shared, tally, peer.ip, request, &answer);
        (answer.reply, made)
    }

    /// Notes that something was refused which cannot be told to be a request.
    pub(super) fn refused(&self, reply: &Reply) {
        access_log::refused(&self.shared, self.peer.ip, reply);
    }
}

/// Speaks HTTP on `stream` until the client, a timeout or the end of the server closes it.
pub(super) async fn serve(
    stream: Transport,
    peer: Peer,
    shared: Arc<Shared>,
    mut phase: watch::Receiver<Phase>,
) {
    let settings = &shared.settings;
    let mut stream = Patient::new(stream, peer.idle(settings), &shared);
    let patience = peer.patience(settings);
    let talk = Talk {
        shared: Arc::clone(&shared),
        peer,
    };
    stream.expect_within(patience);
    let spoken = tokio::select! {
        biased;
        spoken = stream.speaks_http2() => spoken,
        () = late(&mut phase) => return,
    };
    let result: anyhow::Result<()> = match spoken {
        Ok(true) => {
            let served = http2::serve(&shared.http2, stream, talk, &mut phase).await;
            served.map_err(Into::into)
        }
        Ok(false) => {
            let served = http1::serve(stream, &talk, patience, &mut phase).await;
            served.map_err(Into::into)
        }
        Err(error) => Err(error.into()),
    };
    // A connection that breaks is the client's affair, and daily bread.
    if let Err(error) = result {
        tracing::debug!(error = format!("{error:#}"), "a connection broke");
    }
}

/// Waits until it is too late for a first request, which may be on its way when the server ends: nobody sends that again.
pub(super) async fn late(phase: &mut watch::Receiver<Phase>) {
    reached(phase, Phase::Draining).await;
    tokio::select! {
        () = sleep(FIRST) => {}
        () = reached(phase, Phase::Cut) => {}
    }
}

/// Also when the server is gone.
pub(super) async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}
