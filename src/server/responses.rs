//! All responses that are not a published file, and their headers.

use bytes::Bytes;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

use super::body::Body;
use super::conditional::header_value;
use super::content_kind::ContentKind;

const METHODS: &str = "GET, HEAD, OPTIONS";

/// Long enough for a flood of requests for the same missing name, short enough that a cache in front does not hide what
/// the next snapshot adds.
const SHORT_MAX_AGE: &str = "max-age=10";

const NO_STORE: &str = "no-store";

/// In seconds. Since 2.11 Composer waits as long, three times, and meanwhile requests nothing else from the host; before,
/// it tries again at once (`Util/Http/CurlDownloader.php`).
const RETRY_AFTER_BUSY: &str = "10";

/// In seconds, for a file that is being built again. Composer waits twelve times for an archive before it tries the next
/// URL.
const RETRY_AFTER_REPAIR: &str = "1";

/// A response, and the `route` that it is counted under.
pub(super) struct Routed {
    pub(super) route: &'static str,
    pub(super) response: Response<Body>,
}

impl Routed {
    pub(super) fn new(route: &'static str, response: Response<Body>) -> Self {
        Self { route, response }
    }

    /// Ends the connection with this response.
    pub(super) fn and_close(mut self) -> Self {
        insert(&mut self.response, CONNECTION, "close");
        self
    }
}

pub(super) fn range_not_satisfiable(size: u64) -> Response<Body> {
    let mut response = text(StatusCode::RANGE_NOT_SATISFIABLE, "range not satisfiable");
    let range = header_value(format!("bytes */{size}"));
    response.headers_mut().insert(CONTENT_RANGE, range);
    response
}

pub(super) fn redirect(location: String) -> Response<Body> {
    let mut response = cacheable(
        StatusCode::PERMANENT_REDIRECT,
        "see the same address with a slash at its end",
    );
    response.headers_mut().insert(LOCATION, header_value(location));
    response
}

pub(super) fn not_found() -> Response<Body> {
    cacheable(StatusCode::NOT_FOUND, "not found")
}

/// For a private repository, whether the URL exists or not.
pub(super) fn unauthorized() -> Response<Body> {
    let mut response = text(StatusCode::UNAUTHORIZED, "this repository is private");
    let schemes = [
        r#"Basic realm="mirror", charset="UTF-8""#,
        r#"Bearer realm="mirror""#,
    ];
    for scheme in schemes {
        let scheme = HeaderValue::from_static(scheme);
        response.headers_mut().append(WWW_AUTHENTICATE, scheme);
    }
    response
}

/// Keeps a response out of shared caches, and from the scripts of other web sites.
pub(super) fn keep_private(headers: &mut HeaderMap) {
    headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
    let policy = headers.get(CACHE_CONTROL).and_then(|policy| policy.to_str().ok());
    if let Some(policy) = policy.filter(|policy| *policy != NO_STORE) {
        let private = header_value(format!("private, {policy}"));
        headers.insert(CACHE_CONTROL, private);
    }
}

pub(super) fn unpublished() -> Response<Body> {
    service_unavailable("nothing is published here yet; status.html says why")
}

pub(super) fn damaged() -> Response<Body> {
    retry_after("this file cannot be served now", RETRY_AFTER_REPAIR)
}

pub(super) fn service_unavailable(reason: &'static str) -> Response<Body> {
    retry_after(reason, RETRY_AFTER_BUSY)
}

/// 503 is the one status after which every Composer tries again.
fn retry_after(reason: &'static str, seconds: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, reason);
    insert(&mut response, RETRY_AFTER, seconds);
    response
}

/// For OPTIONS.
pub(super) fn options() -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT);
    insert(&mut response, ALLOW, METHODS);
    response
}

pub(super) fn method_not_allowed() -> Response<Body> {
    let mut response = text(
        StatusCode::METHOD_NOT_ALLOWED,
        "this server only answers GET and HEAD",
    );
    insert(&mut response, ALLOW, METHODS);
    response
}

/// For anything but a POST where webhooks are received.
pub(super) fn only_post() -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "webhooks are sent here by POST");
    insert(&mut response, ALLOW, "POST");
    response
}

/// A short text that caches do not store.
pub(super) fn text(status: StatusCode, words: &'static str) -> Response<Body> {
    with_words(status, words, NO_STORE)
}

/// One that caches store for a moment.
fn cacheable(status: StatusCode, words: &'static str) -> Response<Body> {
    with_words(status, words, SHORT_MAX_AGE)
}

fn with_words(status: StatusCode, words: &'static str, cache_control: &'static str) -> Response<Body> {
    let words = Bytes::from_static(words.as_bytes());
    with_body(status, ContentKind::Text.media_type(), words, cache_control)
}

/// A response made for this request, which caches do not store.
pub(super) fn bytes(status: StatusCode, media_type: &'static str, body: Bytes) -> Response<Body> {
    with_body(status, media_type, body, NO_STORE)
}

fn with_body(
    status: StatusCode,
    media_type: &'static str,
    body: Bytes,
    cache_control: &'static str,
) -> Response<Body> {
    let mut response = empty(status);
    insert(&mut response, CONTENT_TYPE, media_type);
    insert(&mut response, CACHE_CONTROL, cache_control);
    response.headers_mut().insert(CONTENT_LENGTH, body.len().into());
    *response.body_mut() = Body::Memory(body);
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::EMPTY);
    *response.status_mut() = status;
    insert(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

fn insert(response: &mut Response<Body>, name: HeaderName, value: &'static str) {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}
