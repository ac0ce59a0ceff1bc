//! Deliveries of GitHub and GitLab: read, checked, and passed on as the names of the repositories to build.
//!
//! Nobody is known before the whole body is read, so it is bounded in size, in time, and in how many are read at once, in
//! all and of one client; the others wait. What is in it is not logged, and no answer tells more than the sender knows.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Buf as _;
use hyper::StatusCode;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::connection_limits::network;
use super::published::PublishedSite;
use super::reply::Reply;
use super::request::Fields;
use super::responses::{not_found, text, unavailable};
use crate::config::Secret;
use crate::webhook::{Delivery, Forge, WebhookSignature, repository_urls};

/// Where they are sent.
pub const PUSH: &str = "/-/push";

/// In bytes; a push of two thousand commits has a few millions.
const LARGEST: usize = 4 << 20;

/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long a delivery waits for its turn: longer than the bodies take that are read when it comes, and with its own not as
/// long as GitHub waits, which gives up after ten seconds and does not send again.
const WAIT: Duration = Duration::from_secs(5);

/// Deliveries that wait or are read; more are told to come back.
static ALL: Semaphore = Semaphore::const_new(64);

/// Bodies that are read at once.
static PLACES: Semaphore = Semaphore::const_new(4);

/// Of one client one is read at a time. Clients that fall together wait for each other.
static CLIENTS: [Semaphore; 1 << u8::BITS] = [const { Semaphore::const_new(1) }; 1 << u8::BITS];

/// Whose deliveries are taken, and what each starts.
#[derive(Default)]
pub struct WebhookConfig {
    pub secrets: Vec<(Forge, Secret)>,
    /// The names of the repositories that are made from a git repository, by its [address](crate::webhook::normalize_git_url).
    pub repositories: BTreeMap<String, BTreeSet<String>>,
}

/// Whether any are taken here.
pub(super) fn are_taken(published: &PublishedSite) -> bool {
    !published.webhooks().secrets.is_empty()
}

/// Answers a delivery of a client.
pub(super) async fn take<B>(
    published: &PublishedSite,
    client: Option<IpAddr>,
    fields: &Fields<'_>,
    body: &mut B,
) -> Reply
where
    B: hyper::body::Body + Unpin + ?Sized,
{
    let pushes = published.webhooks();
    if pushes.secrets.is_empty() {
        return not_found();
    }
    let declared = body.size_hint().lower();
    if declared > LARGEST as u64 {
        return too_large();
    }
    let Some(delivery) = delivery(fields) else {
        return text(StatusCode::BAD_REQUEST, "expected a delivery of GitHub or GitLab");
    };
    if !delivery.has_credential() {
        return text(
            StatusCode::UNAUTHORIZED,
            "the delivery is not signed: give the webhook its secret",
        );
    }
    let too_many = || unavailable("too many deliveries at once");
    let Ok(_one) = ALL.try_acquire() else {
        return too_many();
    };
    let Ok(Ok(_place)) = timeout(WAIT, place(client)).await else {
        return too_many();
    };
    let body = match timeout(PATIENCE, read(body)).await {
        Ok(Ok(body)) => body,
        Ok(Err(refusal)) => return refusal,
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the delivery took too long"),
    };
    answer(&pushes, published, delivery, &body)
}

/// Waits for a place among those of the client, then among all.
async fn place(
    client: Option<IpAddr>,
) -> Result<(Option<SemaphorePermit<'static>>, SemaphorePermit<'static>), AcquireError> {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let of_client = match client {
        Some(ip) => {
            let [which, ..] = KEYS.hash_one(network(ip)).to_ne_bytes();
            Some(CLIENTS[usize::from(which)].acquire().await?)
        }
        None => None,
    };
    Ok((of_client, PLACES.acquire().await?))
}

fn too_large() -> Reply {
    text(StatusCode::PAYLOAD_TOO_LARGE, "a delivery has at most 4 MiB")
}

/// The whole body, or what is said to one that is too large or breaks off.
async fn read<B: hyper::body::Body + Unpin + ?Sized>(body: &mut B) -> Result<Vec<u8>, Reply> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        let broken = |_| {
            text(
                StatusCode::BAD_REQUEST,
                "the delivery breaks off, or is no body of HTTP",
            )
        };
        if let Ok(mut data) = frame.map_err(broken)?.into_data() {
            if bytes.len() + data.remaining() > LARGEST {
                return Err(too_large());
            }
            while data.has_remaining() {
                let chunk = data.chunk();
                bytes.extend_from_slice(chunk);
                let length = chunk.len();
                data.advance(length);
            }
        }
    }
    Ok(bytes)
}

fn answer(pushes: &WebhookConfig, published: &PublishedSite, delivery: Delivery<'_>, body: &[u8]) -> Reply {
    let secrets = pushes
        .secrets
        .iter()
        .filter(|(forge, _)| *forge == delivery.forge);
    let (mut genuine, mut unreadable) = (false, false);
    for (_, secret) in secrets {
        match secret.read() {
            Ok(secret) => genuine |= delivery.is_authentic(&secret, body, jiff::Timestamp::now()),
            Err(error) => {
                tracing::error!("a delivery cannot be checked: {error:#}");
                unreadable = true;
            }
        }
    }
    if unreadable && !genuine {
        return unavailable("the secret cannot be read here; the log says why");
    }
    if !genuine {
        tracing::warn!(forge = ?delivery.forge, "a delivery with a wrong secret was refused");
        return text(StatusCode::FORBIDDEN, "the secret is another one");
    }
    if !delivery.is_push() {
        return text(StatusCode::OK, "nothing to do for this event");
    }
    let Some(urls) = repository_urls(body) else {
        return text(
            StatusCode::BAD_REQUEST,
            "expected the JSON of a push: choose the content type application/json",
        );
    };
    let names: BTreeSet<_> = urls
        .iter()
        .filter_map(|url| pushes.repositories.get(url))
        .flatten()
        .collect();
    if names.is_empty() {
        return text(StatusCode::NOT_FOUND, "nothing here is made from this repository");
    }
    for name in names {
        tracing::info!(repository = name, forge = ?delivery.forge, "a push asks for a cycle");
        published.request_cycle(name);
    }
    text(StatusCode::ACCEPTED, "a cycle begins soon")
}

fn delivery<'f>(fields: &'f Fields<'_>) -> Option<Delivery<'f>> {
    let value = |name| fields.first(name);
    [Forge::GitHub, Forge::GitLab].into_iter().find_map(|forge| {
        let (event, credential) = forge.headers();
        Some(Delivery {
            forge,
            event: value(event)?,
            credential: value(credential),
            signature: signature(fields),
        })
    })
}

fn signature<'f>(fields: &'f Fields<'_>) -> Option<WebhookSignature<'f>> {
    let value = |name| fields.first(name);
    Some(WebhookSignature {
        id: value("webhook-id")?,
        timestamp: value("webhook-timestamp")?,
        signatures: value("webhook-signature")?,
    })
}
