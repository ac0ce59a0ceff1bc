//! From a request to its answer: the pipeline, and what each answer is counted as.

use hyper::{Method, StatusCode, Version};

use super::connection::Peer;
use super::connection_limits::{BODY, URI, network};
use super::content_encoding::choose;
use super::file_response::Selected;
use super::forge_webhook::{self, PUSH};
use super::health::{self, METRICS, Probe};
use super::published::PublishedSite;
use super::reply::Reply;
use super::request::{Name, Request};
use super::responses::{
    self, keep_private, method_not_allowed, not_found, only_post, options, redirect, text, unauthorized,
    unavailable, unpublished,
};
use super::router::{Route, decode, route};
use super::server::Shared;
use super::site::{Content, Entry, Representation, Site};
use super::users::{AccessRules, Admission};

/// What may be asked at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Everything,
    /// What is published, and probes.
    Public,
    /// Probes and metrics.
    Admin,
    /// Probes.
    Own,
}

/// A response, and what it is counted as.
pub(super) struct Answer {
    pub(super) reply: Reply,
    /// One of a closed set.
    pub(super) route: &'static str,
}

impl Answer {
    fn new(route: &'static str, reply: Reply) -> Self {
        Self { reply, route }
    }

    fn last(mut self) -> Self {
        self.reply.is_last = true;
        self
    }
}

/// Answers `request` from what is published now.
pub(super) async fn respond<B>(shared: &Shared, peer: &Peer, request: &Request<'_>, body: &mut B) -> Answer
where
    B: hyper::body::Body + Unpin + ?Sized,
{
    if request.path.len() + request.query.map_or(0, str::len) > URI {
        return Answer::new("limit", text(StatusCode::URI_TOO_LONG, "the address is too long")).last();
    }
    let is_push = request.path == PUSH && matches!(peer.role, Role::Everything | Role::Public);
    let pushed = is_push && request.method == Method::POST;
    if !pushed && body.size_hint().lower() > BODY {
        return Answer::new(
            "limit",
            text(StatusCode::PAYLOAD_TOO_LARGE, "nobody reads the body"),
        )
        .last();
    }
    if !has_one_host(request) {
        return Answer::new("limit", text(StatusCode::BAD_REQUEST, "a request names one host")).last();
    }
    match request.method {
        // What is left of the body is not read.
        _ if pushed => {
            let reply = forge_webhook::take(&shared.published, peer.ip, &request.fields, body).await;
            Answer::new("push", reply).last()
        }
        _ if is_push && forge_webhook::are_taken(&shared.published) => Answer::new("method", only_post()),
        Method::GET | Method::HEAD => get(shared, peer, request).await,
        Method::OPTIONS => Answer::new("options", options()),
        _ => Answer::new("method", method_not_allowed()),
    }
}

/// RFC 9112 section 3.2; which one it is does not matter here. HTTP/1.0 has none, HTTP/2 another.
fn has_one_host(request: &Request<'_>) -> bool {
    match request.fields.only_bytes(Name::Host) {
        Some(host) => host.iter().all(|byte| OF_HOST[usize::from(*byte)]),
        None => !request.fields.has(Name::Host) && request.version != Version::HTTP_11,
    }
}

/// Of each byte, whether it can be part of a host and its port.
const OF_HOST: [bool; 256] = {
    let mut all = [false; 256];
    let mut byte = 0;
    while byte < all.len() {
        all[byte] = is_of_host(byte as u8);
        byte += 1;
    }
    all
};

/// RFC 9110 section 7.2, RFC 3986 section 3.2.2.
const fn is_of_host(byte: u8) -> bool {
    let is_mark = matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b':' | b'[' | b']');
    let is_delimiter = matches!(byte, b'!' | b'$' | b'&'..=b',' | b';' | b'=');
    byte.is_ascii_alphanumeric() || is_mark || is_delimiter
}

/// Answers a request for which there is no room; probes are answered all the same.
pub(super) fn turn_away(shared: &Shared, request: &Request<'_>) -> Answer {
    match Probe::of(request.path) {
        Some(probe) => Answer::new("probe", probe.answer(&shared.published)),
        None => Answer::new("limit", unavailable("too many connections")).last(),
    }
}

async fn get(shared: &Shared, peer: &Peer, request: &Request<'_>) -> Answer {
    let (published, path, role) = (&shared.published, request.path, peer.role);
    if path.starts_with("/-/") {
        if let Some(probe) = Probe::of(path) {
            return Answer::new("probe", probe.answer(published));
        }
        if path == METRICS && matches!(role, Role::Everything | Role::Admin) {
            return Answer::new("metrics", health::metrics(&shared.metrics));
        }
    }
    if matches!(role, Role::Admin | Role::Own) {
        return Answer::new("not_found", not_found());
    }
    // The site first: what it has is guarded by then.
    let site = published.site();
    let site = site.as_deref();
    let is_private = match published.access_rules() {
        Some(doors) => match admit(&doors, site, peer, request).await {
            Ok(is_private) => is_private,
            Err(refused) => return refused,
        },
        None => false,
    };
    let mut answer = published_at(published, site, request).await;
    if is_private {
        keep_private(&mut answer.reply);
    }
    answer
}

/// Whether what is asked for is private; the answer to whoever may not have it.
async fn admit(
    doors: &AccessRules,
    site: Option<&Site>,
    peer: &Peer,
    request: &Request<'_>,
) -> Result<bool, Answer> {
    let Some(path) = decode(request.path) else {
        return Ok(false);
    };
    let owner = site.and_then(|site| site.owner(&path));
    let mut is_private = false;
    for users in doors.of(&path, owner) {
        is_private = true;
        let mut refused = match users.authenticate(&request.fields, peer.ip.map(network)).await {
            Admission::Admitted => continue,
            Admission::Refused => Answer::new("unauthorized", unauthorized()),
            Admission::Later => Answer::new("limit", unavailable("too many passwords to check")),
        };
        keep_private(&mut refused.reply);
        return Err(refused);
    }
    Ok(is_private)
}

async fn published_at(published: &PublishedSite, site: Option<&Site>, request: &Request<'_>) -> Answer {
    let routed = site.map_or(Route::Unpublished, |site| route(site, request.path));
    let (texts, told);
    let (entry, path) = match &routed {
        Route::Found(entry, path) => (*entry, *path),
        Route::MissingSlash(location) => return Answer::new("redirect", redirect(location)),
        // What is said about the mirror itself, also before anything is published.
        Route::Unpublished | Route::NotFound => {
            (texts, told) = (published.status_files(), decode(request.path));
            match told.as_deref().and_then(|path| Some((texts.get(path)?, path))) {
                Some(told) => told,
                None if matches!(routed, Route::NotFound) => return Answer::new("not_found", not_found()),
                None => return Answer::new("unpublished", unpublished()),
            }
        }
    };
    let part = entry.part(request.query);
    found(published, part.as_ref().unwrap_or(entry), path, request).await
}

/// Answers with the entry that is published at `path`.
async fn found(published: &PublishedSite, entry: &Entry, path: &str, request: &Request<'_>) -> Answer {
    let route = entry.kind.route();
    let (mut coding, mut representation) = choose(entry, &request.fields);
    loop {
        let selected = Selected::new(entry, coding, representation, path);
        match selected.answer(request).await {
            Ok(mut reply) => {
                reply.coding = coding;
                return Answer::new(route, reply);
            }
            // A variant can be made again, and the published bytes are as good.
            Err(error) if coding.is_some() => {
                if is_news(published, representation) {
                    tracing::warn!(
                        url = request.path,
                        "serving without a compressed variant: {error:#}"
                    );
                }
                (coding, representation) = (None, &entry.identity);
            }
            Err(error) => return Answer::new(route, damaged(published, entry, request, &error)),
        }
    }
}

fn damaged(published: &PublishedSite, entry: &Entry, request: &Request<'_>, error: &anyhow::Error) -> Reply {
    if is_news(published, &entry.identity) {
        tracing::error!(
            error = format!("{error:#}"),
            url = request.path,
            "failed to serve"
        );
    }
    responses::damaged()
}

/// Reports a damaged file to whoever repairs it; answers whether it was not reported since the reports were last taken.
fn is_news(published: &PublishedSite, representation: &Representation) -> bool {
    match &representation.content {
        Content::Disk(file) => published.report_damaged(file),
        Content::Memory(_) => true,
    }
}
