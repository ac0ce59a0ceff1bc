//! `POST /-/push`: checks webhook deliveries of GitHub, GitLab and followed mirrors, and requests cycles of the repositories that
//! they concern.
//!
//! A delivery cannot be authenticated before its whole body is read. So bodies are limited in size, in time, and in how many are
//! read concurrently, in total and per client; other deliveries wait. Bodies are not logged, and responses reveal nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{AsHeaderName, HeaderMap};
use hyper::{Request, Response, StatusCode};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::body::Body;
use super::connection_limits::{ClientPermit, PerClientCounter};
use super::published::{PublishedSite, WebhookConfig};
use super::responses::{not_found, service_unavailable, text};
use crate::webhook::{Delivery, Forge, WebhookSignature, repository_urls};

pub(super) const PUSH: &str = "/-/push";

/// In bytes; a push of two thousand commits has a few million.
const MAX_BODY: usize = 4 << 20;

const BODY_TIMEOUT: Duration = Duration::from_secs(4);

/// How long a delivery waits before its body is read: longer than [`BODY_TIMEOUT`]. Both together are less than the ten seconds
/// after which GitHub gives up.
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Deliveries that are waiting or being read.
const MAX_WAITING: usize = 64;

/// Bodies that are read concurrently, one per client.
const MAX_READING: usize = 4;

static WAITING: Semaphore = Semaphore::const_new(MAX_WAITING);
static READING: Semaphore = Semaphore::const_new(MAX_READING);
static READING_CLIENTS: LazyLock<PerClientCounter> = LazyLock::new(|| PerClientCounter::new(1));
static BODY_READ: Notify = Notify::const_new();

/// Permission to read a body; dropping it wakes the deliveries that wait.
struct ReadPermit {
    permits: Option<(ClientPermit, SemaphorePermit<'static>)>,
}

impl ReadPermit {
    async fn acquire(client: Option<IpAddr>) -> Self {
        loop {
            let body_read = BODY_READ.notified();
            if let Some(of_client) = READING_CLIENTS.acquire(client)
                && let Ok(permit) = READING.try_acquire()
            {
                let permits = Some((of_client, permit));
                return Self { permits };
            }
            body_read.await;
        }
    }
}

impl Drop for ReadPermit {
    fn drop(&mut self) {
        self.permits = None;
        BODY_READ.notify_waiters();
    }
}

/// Whether any webhook is configured.
pub(super) fn is_enabled(published: &PublishedSite) -> bool {
    !published.webhooks().secrets.is_empty()
}

/// Answers a delivery from `client`.
pub(super) async fn receive(
    published: &PublishedSite,
    client: Option<IpAddr>,
    request: &mut Request<Incoming>,
) -> Response<Body> {
    let webhooks = published.webhooks();
    if webhooks.secrets.is_empty() {
        return not_found();
    }
    if request.body().size_hint().lower() > MAX_BODY as u64 {
        return too_large();
    }
    let headers = request.headers().clone();
    let Some(delivery) = delivery(&headers) else {
        return text(StatusCode::BAD_REQUEST, "expected a webhook of GitHub, GitLab or a mirror");
    };
    if !delivery.has_credential() {
        return text(StatusCode::UNAUTHORIZED, "the delivery is not signed: give the webhook its secret");
    }
    let too_many = || service_unavailable("too many deliveries at once");
    let Ok(_waiting) = WAITING.try_acquire() else {
        return too_many();
    };
    let Ok(permit) = timeout(WAIT_TIMEOUT, ReadPermit::acquire(client)).await else {
        return too_many();
    };
    let body = timeout(BODY_TIMEOUT, read(request.body_mut())).await;
    drop(permit);
    match body {
        Ok(Ok(body)) => process(&webhooks, published, delivery, &body),
        Ok(Err(refused)) => refused,
        Err(_) => text(StatusCode::REQUEST_TIMEOUT, "the delivery took too long"),
    }
}

fn too_large() -> Response<Body> {
    text(StatusCode::PAYLOAD_TOO_LARGE, "a delivery has at most 4 MiB")
}

async fn read(body: &mut Incoming) -> Result<Bytes, Response<Body>> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(text(StatusCode::BAD_REQUEST, "the body of the delivery is incomplete or malformed")),
    }
}

/// Answers a delivery whose body was read.
fn process(
    webhooks: &WebhookConfig,
    published: &PublishedSite,
    delivery: Delivery<'_>,
    body: &[u8],
) -> Response<Body> {
    if let Some(refused) = refuse_unauthentic(webhooks, delivery, body) {
        return refused;
    }
    if !delivery.is_push() {
        return text(StatusCode::OK, "nothing to do for this event");
    }
    let Some(urls) = repository_urls(delivery.forge, body) else {
        return text(
            StatusCode::BAD_REQUEST,
            "expected the JSON of a push: choose the content type application/json",
        );
    };
    let names: BTreeSet<_> = urls.iter().filter_map(|url| webhooks.repositories.get(url)).flatten().collect();
    if names.is_empty() {
        return text(StatusCode::NOT_FOUND, "nothing here is made from this repository");
    }
    for name in names {
        tracing::info!(repository = name, forge = ?delivery.forge, "a push asks for a cycle");
        published.request_cycle(name);
    }
    text(StatusCode::ACCEPTED, "a cycle begins soon")
}

/// The response to a delivery that is not signed with a configured secret; `None` if it is.
fn refuse_unauthentic(
    webhooks: &WebhookConfig,
    delivery: Delivery<'_>,
    body: &[u8],
) -> Option<Response<Body>> {
    let (mut is_authentic, mut is_unreadable) = (false, false);
    for (_, secret) in webhooks.secrets.iter().filter(|(forge, _)| *forge == delivery.forge) {
        match secret.read() {
            Ok(secret) => is_authentic |= delivery.is_authentic(&secret, body, jiff::Timestamp::now()),
            Err(error) => {
                tracing::error!("failed to check a webhook: {error:#}");
                is_unreadable = true;
            }
        }
    }
    if is_authentic {
        return None;
    }
    if is_unreadable {
        return Some(service_unavailable("the secret cannot be read here; the log says why"));
    }
    tracing::warn!(forge = ?delivery.forge, "refused a webhook with an invalid signature");
    Some(text(StatusCode::FORBIDDEN, "invalid webhook signature"))
}

fn delivery(headers: &HeaderMap) -> Option<Delivery<'_>> {
    [Forge::GitHub, Forge::GitLab, Forge::Mirror].into_iter().find_map(|forge| {
        let (event, credential) = forge.headers();
        Some(Delivery {
            forge,
            event: value(headers, event)?,
            credential: value(headers, credential),
            signature: signature(headers),
        })
    })
}

fn signature(headers: &HeaderMap) -> Option<WebhookSignature<'_>> {
    Some(WebhookSignature {
        id: value(headers, "webhook-id")?,
        timestamp: value(headers, "webhook-timestamp")?,
        signatures: value(headers, "webhook-signature")?,
    })
}

fn value(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
