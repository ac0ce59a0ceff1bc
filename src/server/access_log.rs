//! Records each response in the metrics and the access log.
//!
//! The log has neither the query of a URL nor any header that may hold a secret. Paths and user agents come from the client, so
//! they are truncated, and the log's format escapes control characters.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, HeaderMap, USER_AGENT};
use hyper::{Request, StatusCode};

use super::context::ServerContext;
use super::responses::Routed;
use crate::config::AccessLog;
use crate::telemetry::{ACCESS, RequestLabels, RequestOutcome};
use crate::util::compression::Coding;

/// Characters of a path or a user agent; the longest published path is shorter.
const MAX_LENGTH: usize = 300;

const IDENTITY: &str = "identity";

/// Measures the time from the head of a request to the head of its response.
pub(super) struct RequestTimer(Instant);

impl RequestTimer {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn finish(
        self,
        context: &ServerContext,
        client: Option<IpAddr>,
        request: &Request<Incoming>,
        Routed { route, response }: &Routed,
    ) {
        let (status, duration) = (response.status(), self.0.elapsed());
        let (bytes, encoding) = (response.body().size_hint().lower(), encoding(response.headers()));
        let labels = RequestLabels { route, status, encoding };
        context.metrics.count_request(&RequestOutcome { labels, bytes, duration });
        if is_logged(context, status) {
            tracing::info!(
                target: ACCESS,
                client = client.map(|ip| ip.to_string()),
                method = request.method().as_str(),
                path = cut(request.uri().path()),
                protocol = ?request.version(),
                status = status.as_u16(),
                route,
                encoding,
                bytes,
                microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
                agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()).map(cut),
                "answered"
            );
        }
    }
}

/// Records input that did not parse as a request.
pub(super) fn rejected(context: &ServerContext, client: Option<IpAddr>, status: StatusCode) {
    let labels = RequestLabels { route: "refused", status, encoding: IDENTITY };
    context.metrics.count_request(&RequestOutcome { labels, bytes: 0, duration: Duration::ZERO });
    if context.settings.log.access != AccessLog::Off {
        let client = client.map(|ip| ip.to_string());
        tracing::info!(target: ACCESS, client, status = status.as_u16(), route = labels.route, "refused");
    }
}

/// The label of the content coding in the metrics.
fn encoding(headers: &HeaderMap) -> &'static str {
    let encoding = headers.get(CONTENT_ENCODING);
    let coding = Coding::ALL.iter().find(|coding| encoding.is_some_and(|name| name == coding.name()));
    coding.map_or(IDENTITY, |coding| coding.name())
}

fn is_logged(context: &ServerContext, status: StatusCode) -> bool {
    let log = context.settings.log;
    match log.access {
        AccessLog::Off => false,
        AccessLog::Full => true,
        AccessLog::Sampled if status.is_client_error() || status.is_server_error() => true,
        AccessLog::Sampled => {
            let number = context.responses.fetch_add(1, Ordering::Relaxed);
            number.is_multiple_of(log.access_sample.0.get())
        }
    }
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(MAX_LENGTH).map_or(text, |(end, _)| &text[..end])
}
