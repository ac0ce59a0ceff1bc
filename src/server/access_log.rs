//! What is told of an answer afterwards: the metrics, and the access log.
//!
//! The log has neither the query of a URL nor any header that may hold a secret. Paths and agents are the client's words,
//! so they are cut, and the log's own form escapes what is not printable.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hyper::body::Body as _;

use super::handler::Answer;
use super::reply::Reply;
use super::request::Request;
use super::server::Shared;
use crate::telemetry::{ACCESS, AnswerKind, Answered, Tally};

/// Characters of a path or an agent; the longest path that is published is shorter.
const WORDS: usize = 300;

/// Of which requests the log is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    #[default]
    Off,
    /// One of so many answers, and every one that is an error.
    Sampled(u32),
    Full,
}

/// The account of one request, opened when its head is there.
pub(super) struct Account(Instant);

impl Account {
    pub(super) fn open() -> Self {
        Self(Instant::now())
    }

    pub(super) fn close(
        self,
        made: Instant,
        shared: &Shared,
        tally: &mut Tally,
        ip: Option<IpAddr>,
        request: &Request<'_>,
        answer: &Answer,
    ) {
        let (status, took) = (answer.reply.status, made - self.0);
        let bytes = answer.reply.body.size_hint().lower();
        let kind = AnswerKind {
            route: answer.route,
            status: status.as_u16(),
            encoding: answer.reply.encoding(),
        };
        tally.count(Answered { kind, bytes, took });
        let log = match shared.settings.access_log {
            AccessLog::Off => false,
            AccessLog::Full => true,
            AccessLog::Sampled(of) => {
                status.is_client_error() || status.is_server_error() || is_sample(&shared.sample, of)
            }
        };
        if log {
            tracing::info!(
                target: ACCESS,
                client = ip.map(|ip| ip.to_string()),
                method = request.method.as_str(),
                path = cut(request.path),
                protocol = ?request.version,
                status = status.as_u16(),
                route = answer.route,
                encoding = answer.reply.encoding(),
                bytes,
                microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                agent = request.fields.first("user-agent").map(cut),
                "answered"
            );
        }
    }
}

/// What is told of a request that could not be read.
pub(super) fn refused(shared: &Shared, ip: Option<IpAddr>, reply: &Reply) {
    let (status, bytes) = (reply.status.as_u16(), reply.body.size_hint().lower());
    let kind = AnswerKind {
        route: "refused",
        status,
        encoding: "identity",
    };
    let took = Duration::ZERO;
    shared.metrics.tally().count(Answered { kind, bytes, took });
    if shared.settings.access_log != AccessLog::Off {
        tracing::info!(target: ACCESS, client = ip.map(|ip| ip.to_string()), status, route = kind.route, bytes, "refused");
    }
}

fn is_sample(count: &AtomicU32, of: u32) -> bool {
    count.fetch_add(1, Ordering::Relaxed).is_multiple_of(of.max(1))
}

fn cut(words: &str) -> &str {
    words
        .char_indices()
        .nth(WORDS)
        .map_or(words, |(end, _)| &words[..end])
}
