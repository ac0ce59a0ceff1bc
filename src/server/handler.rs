//! Answers a request, and names the route under which the response is counted.

use std::path::Path;

use hyper::body::{Body as _, Incoming};
use hyper::{Method, Request, StatusCode};

use super::authorization::{AccessRules, authenticate};
use super::body::{FileAccess, OpenError};
use super::connection_limits::{MAX_UNREAD_BODY, MAX_URI};
use super::content_encoding::select;
use super::context::{OverLimit, RequestClient, Role, ServerContext};
use super::file_response::FileResponse;
use super::forge_webhook::{self, PUSH};
use super::health::{self, HealthEndpoint, METRICS};
use super::host::has_valid_host;
use super::not_found;
use super::published::{ACME_CHALLENGE, PublishedSite};
use super::responses::{
    self, Routed, bytes, gone, keep_private, method_not_allowed, not_found, only_post, options, redirect,
    service_unavailable, text, unauthorized, unpublished,
};
use super::router::{Route, route};
use super::site::{Entry, Representation, ResourceContent, Site};
use super::status_files::STATUS;
use super::url_path::decode;
use super::users::AuthOutcome;
use crate::util::compression::Coding;

/// Answers `request` with what is published now.
pub(super) async fn respond(
    context: &ServerContext,
    client: &RequestClient,
    access: &FileAccess,
    request: &mut Request<Incoming>,
) -> Routed {
    let (path, query) = (request.uri().path(), request.uri().query());
    if let Some(limit) = client.over_limit {
        return over_capacity(context, path, limit);
    }
    if path.len() + query.map_or(0, str::len) > MAX_URI {
        return refuse(StatusCode::URI_TOO_LONG, "the URL is too long");
    }
    let is_webhook = path == PUSH && matches!(client.role, Role::Everything | Role::Public);
    let is_delivery = is_webhook && request.method() == Method::POST;
    if !is_delivery && request.body().size_hint().lower() > MAX_UNREAD_BODY {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "request bodies are not accepted");
    }
    if !has_valid_host(request) {
        return refuse(StatusCode::BAD_REQUEST, "exactly one valid Host header is required");
    }
    if is_delivery {
        let response = forge_webhook::receive(&context.published, client.ip, request).await;
        // The rest of a body that was refused is not read.
        return Routed::new("push", response).and_close();
    }
    let routed = match *request.method() {
        _ if is_webhook && forge_webhook::is_enabled(&context.published) => {
            Routed::new("method", only_post())
        }
        Method::GET | Method::HEAD => get(context, client, access, request).await,
        Method::OPTIONS => Routed::new("options", options()),
        _ => Routed::new("method", method_not_allowed()),
    };
    match request.body().is_end_stream() {
        true => routed,
        false => routed.and_close(),
    }
}

/// Refuses a malformed request, and closes the connection.
fn refuse(status: StatusCode, reason: &'static str) -> Routed {
    Routed::new("limit", text(status, reason)).and_close()
}

/// Answers a client over a limit: health checks as usual, so that a busy server is not taken for a dead one, else 503.
fn over_capacity(context: &ServerContext, path: &str, limit: OverLimit) -> Routed {
    match (HealthEndpoint::from_path(path), limit) {
        (Some(endpoint), _) => Routed::new("probe", endpoint.respond(&context.published)),
        (None, OverLimit::Connection) => {
            Routed::new("limit", service_unavailable("too many connections")).and_close()
        }
        (None, OverLimit::Request) => Routed::new("limit", service_unavailable("too many requests at once")),
    }
}

async fn get(
    context: &ServerContext,
    client: &RequestClient,
    access: &FileAccess,
    request: &Request<Incoming>,
) -> Routed {
    let (published, path) = (&context.published, request.uri().path());
    if let Some(endpoint) = HealthEndpoint::from_path(path) {
        return Routed::new("probe", endpoint.respond(published));
    }
    if path == METRICS && matches!(client.role, Role::Everything | Role::Admin) {
        return Routed::new("metrics", health::metrics(&context.metrics));
    }
    if path == STATUS && client.role == Role::Operator {
        let documents = published.status_files().documents();
        return Routed::new("status", bytes(StatusCode::OK, "application/json", documents.into()));
    }
    if matches!(client.role, Role::Admin | Role::Local | Role::Operator) {
        return Routed::new("not_found", not_found());
    }
    if let Some(token) = path.strip_prefix(ACME_CHALLENGE)
        && let Some(answer) = published.acme_challenge(token)
    {
        return Routed::new("acme", bytes(StatusCode::OK, "application/octet-stream", answer.into()));
    }
    // The site is loaded first, because the rules for a site are set before it is published.
    let site = published.site();
    let site = site.as_deref();
    let is_private = match published.access_rules() {
        Some(rules) => match authorize(&rules, site, client, request).await {
            Ok(is_private) => is_private,
            Err(refused) => return refused,
        },
        None => false,
    };
    let mut routed = respond_from(published, site, access, request).await;
    if is_private {
        keep_private(routed.response.headers_mut());
    }
    routed
}

/// Checks the credentials of a request for a private path. Returns whether the path is private.
async fn authorize(
    rules: &AccessRules,
    site: Option<&Site>,
    client: &RequestClient,
    request: &Request<Incoming>,
) -> Result<bool, Routed> {
    let Some(path) = decode(request.uri().path()) else {
        return Ok(false);
    };
    let owner = site.and_then(|site| site.owner(&path));
    let mut is_private = false;
    for users in rules.users_of(&path, owner) {
        is_private = true;
        let mut refused = match authenticate(users, request.headers(), client.ip).await {
            AuthOutcome::Granted => continue,
            AuthOutcome::Denied => Routed::new("unauthorized", unauthorized()),
            AuthOutcome::Busy => Routed::new("limit", service_unavailable("too many passwords to check")),
        };
        keep_private(refused.response.headers_mut());
        return Err(refused);
    }
    Ok(is_private)
}

/// Answers from the site, or else from the status files, which exist even before anything is published.
async fn respond_from(
    published: &PublishedSite,
    site: Option<&Site>,
    access: &FileAccess,
    request: &Request<Incoming>,
) -> Routed {
    let uri = request.uri();
    let routed = site.map_or(Route::Unpublished, |site| route(site, uri.path()));
    let (status_files, decoded);
    let (entry, path) = match routed {
        Route::Found(entry, path) => (entry, path),
        Route::MissingSlash(location) => return Routed::new("redirect", redirect(location)),
        Route::Gone(text) => return Routed::new("gone", gone(text)),
        Route::Unpublished | Route::NotFound => {
            (status_files, decoded) = (published.status_files(), decode(uri.path()).unwrap_or_default());
            match (status_files.get(&decoded), site) {
                (Some(entry), _) => (entry, &*decoded),
                (None, Some(site)) if matches!(routed, Route::NotFound) => {
                    return Routed::new("not_found", not_found::respond(site, request));
                }
                (None, _) => return Routed::new("unpublished", unpublished()),
            }
        }
    };
    let found = entry.search(uri.query());
    respond_with(published, found.as_ref().unwrap_or(entry), path, access, request).await
}

/// Answers with `entry`. If a variant is damaged, the published bytes are served instead, and the variant is made again.
async fn respond_with(
    published: &PublishedSite,
    entry: &Entry,
    path: &str,
    access: &FileAccess,
    request: &Request<Incoming>,
) -> Routed {
    let (mut coding, mut representation) = select(entry, request.headers());
    let is_negotiated = !entry.variants.is_empty();
    loop {
        let state = entry.state.as_ref();
        let response = FileResponse { kind: entry.kind, coding, representation, is_negotiated, path, state };
        let response = match response.respond(request.method(), request.headers(), access).await {
            Ok(response) => response,
            Err(OpenError::TooManyDownloads) => {
                return Routed::new("limit", service_unavailable("too many downloads"));
            }
            Err(OpenError::Damaged(error)) => {
                report_damaged(published, representation, request, coding, &error);
                if coding.is_some() {
                    (coding, representation) = (None, &entry.identity);
                    continue;
                }
                responses::damaged()
            }
            Err(OpenError::Unreachable(error)) => {
                tracing::error!(url = path, error = format!("{error:#}"), "failed to serve");
                responses::unreachable()
            }
        };
        return Routed::new(entry.kind.route(), response);
    }
}

/// Reports a damaged file to the repairer, and logs it unless it was reported before.
fn report_damaged(
    published: &PublishedSite,
    representation: &Representation,
    request: &Request<Incoming>,
    coding: Option<Coding>,
    error: &anyhow::Error,
) {
    let is_first_report = match &representation.content {
        ResourceContent::Disk(file) => published.report_damaged(file),
        ResourceContent::Object(object) => published.report_damaged(Path::new(&*object.key)),
        ResourceContent::Memory(_) => true,
    };
    let url = request.uri().path();
    match coding {
        _ if !is_first_report => {}
        Some(_) => tracing::warn!(url, "serving without a compressed variant: {error:#}"),
        None => tracing::error!(url, error = format!("{error:#}"), "failed to serve"),
    }
}
