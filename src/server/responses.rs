//! All responses other than published files.

use bytes::Bytes;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::body::Body;
use super::conditional::header_value;
use super::content_kind::ContentKind;
use crate::util::text::quoted;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

/// Long enough for a flood of requests for the same missing name, short enough that caches do not hide what the next snapshot
/// adds.
pub(super) const SHORT_MAX_AGE: &str = "max-age=10";

const NO_STORE: &str = "no-store";

/// In seconds. Since 2.11, Composer waits this long, three times for metadata and twelve times for an archive, and meanwhile
/// requests nothing else from the host; older versions try again at once (`Util/Http/CurlDownloader.php`). A restart, a repair or
/// a flood is mostly over by then; if not, the client should soon try the next mirror.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

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
        let close = HeaderValue::from_static("close");
        self.response.headers_mut().insert(CONNECTION, close);
        self
    }
}

pub(super) fn range_not_satisfiable(size: u64) -> Response<Body> {
    let range = header_value(format!("bytes */{size}"));
    with_header(text(StatusCode::RANGE_NOT_SATISFIABLE, "range not satisfiable"), CONTENT_RANGE, range)
}

pub(super) fn redirect(location: String) -> Response<Body> {
    let words = "see the same address with a slash at its end";
    let response = with_words(StatusCode::PERMANENT_REDIRECT, words, SHORT_MAX_AGE);
    with_header(response, LOCATION, header_value(location))
}

/// To an archive in a bucket. Another client may be sent to another object, and a signed URL expires.
pub(super) fn redirect_to_object(url: String) -> Response<Body> {
    let response = text(StatusCode::FOUND, "see the address of the archive");
    let response = with_header(response, LOCATION, header_value(url));
    with_header(response, VARY, HeaderValue::from_static("accept-encoding"))
}

/// 503 makes Composer try again, perhaps at another mirror.
pub(super) fn unreachable() -> Response<Body> {
    service_unavailable("the object store with this file cannot be reached now")
}

pub(super) fn not_found() -> Response<Body> {
    with_words(StatusCode::NOT_FOUND, "not found", SHORT_MAX_AGE)
}

/// For a withdrawn archive; `text` says why. Composer prints the key `warning` of an error response of exactly this media type,
/// and of others only the status (`HttpDownloader::outputWarnings`).
pub(super) fn gone(text: &str) -> Response<Body> {
    let body = format!("{}\n", json!({ "warning": quoted(text) }));
    with_body(StatusCode::GONE, ContentKind::Metadata.media_type(), body.into(), SHORT_MAX_AGE)
}

/// For a private repository, whether the URL exists or not.
pub(super) fn unauthorized() -> Response<Body> {
    let mut response = text(StatusCode::UNAUTHORIZED, "this repository is private");
    let basic = HeaderValue::from_static(r#"Basic realm="mirror", charset="UTF-8""#);
    response.headers_mut().append(WWW_AUTHENTICATE, basic);
    let bearer = HeaderValue::from_static(r#"Bearer realm="mirror""#);
    response.headers_mut().append(WWW_AUTHENTICATE, bearer);
    response
}

/// Keeps a response out of shared caches, and from the scripts of other web sites.
pub(super) fn keep_private(headers: &mut HeaderMap) {
    headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
    let policy = headers.get(CACHE_CONTROL).and_then(|policy| policy.to_str().ok());
    if let Some(policy) = policy.filter(|policy| *policy != NO_STORE) {
        let directives = policy.split(", ").filter(|directive| !directive.starts_with("s-maxage="));
        let private = std::iter::once("private").chain(directives).collect::<Vec<_>>().join(", ");
        headers.insert(CACHE_CONTROL, header_value(private));
    }
}

pub(super) fn unpublished() -> Response<Body> {
    service_unavailable("nothing is published here yet; status.html says why")
}

pub(super) fn damaged() -> Response<Body> {
    service_unavailable(
        "this file is damaged on the mirror and is being repaired; if it stays so, tell the operator",
    )
}

/// 503 is the only status after which every version of Composer tries again.
pub(super) fn service_unavailable(reason: &'static str) -> Response<Body> {
    with_header(text(StatusCode::SERVICE_UNAVAILABLE, reason), RETRY_AFTER, RETRY_AFTER_SECONDS)
}

/// For OPTIONS.
pub(super) fn options() -> Response<Body> {
    with_header(empty(StatusCode::NO_CONTENT), ALLOW, METHODS)
}

pub(super) fn method_not_allowed() -> Response<Body> {
    let words = "this server only answers GET and HEAD";
    with_header(text(StatusCode::METHOD_NOT_ALLOWED, words), ALLOW, METHODS)
}

/// For methods other than POST at the URL of webhooks.
pub(super) fn only_post() -> Response<Body> {
    let words = "webhooks are sent here by POST";
    let post = HeaderValue::from_static("POST");
    with_header(text(StatusCode::METHOD_NOT_ALLOWED, words), ALLOW, post)
}

/// A short text that caches do not store.
pub(super) fn text(status: StatusCode, words: &'static str) -> Response<Body> {
    with_words(status, words, NO_STORE)
}

/// A response made for this request, which caches do not store.
pub(super) fn bytes(status: StatusCode, media_type: &'static str, body: Bytes) -> Response<Body> {
    with_body(status, media_type, body, NO_STORE)
}

fn with_words(status: StatusCode, words: &'static str, cache_control: &'static str) -> Response<Body> {
    let media_type = ContentKind::Text.media_type();
    with_body(status, media_type, Bytes::from_static(words.as_bytes()), cache_control)
}

pub(super) fn with_body(
    status: StatusCode,
    media_type: &'static str,
    body: Bytes,
    cache_control: &'static str,
) -> Response<Body> {
    let length = body.len();
    let mut response = empty(status).map(|_| Body::Memory(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
    headers.insert(CONTENT_LENGTH, length.into());
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::EMPTY);
    *response.status_mut() = status;
    with_header(response, X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
}

fn with_header(mut response: Response<Body>, name: HeaderName, value: HeaderValue) -> Response<Body> {
    response.headers_mut().insert(name, value);
    response
}
