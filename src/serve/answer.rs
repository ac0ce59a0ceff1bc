//! The answers that are not a published file, and the headers of each.

use bytes::Bytes;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    HeaderName, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Response, StatusCode};

use super::body::Body;
use super::kind::Kind;

const METHODS: &str = "GET, HEAD, OPTIONS";

/// Long enough to take the load off a flood of requests for the same missing name, short enough that a cache in
/// front does not hide what the next snapshot adds.
const BRIEFLY: &str = "max-age=10";

const NOT_STORED: &str = "no-store";

/// In seconds. Composer waits as long since 2.11, three times, and meanwhile asks the host for nothing else; it does not
/// read it before and tries again at once (`Util/Http/CurlDownloader.php`).
const RETRY: u64 = 10;

/// In seconds, for a file that is being built again. Composer waits twelve times for an archive before it takes the next
/// place that has it.
const MENDED: u64 = 1;

pub(super) fn unsatisfiable(size: u64) -> Response<Body> {
    let mut response = text(StatusCode::RANGE_NOT_SATISFIABLE, "range not satisfiable");
    put(response.headers_mut(), CONTENT_RANGE, format!("bytes */{size}"));
    response
}

pub(super) fn redirect(location: String) -> Response<Body> {
    let mut response = text(
        StatusCode::PERMANENT_REDIRECT,
        "see the same address with a slash at its end",
    );
    put(response.headers_mut(), LOCATION, location);
    fixed(response.headers_mut(), CACHE_CONTROL, BRIEFLY);
    response
}

pub(super) fn not_found() -> Response<Body> {
    let mut response = text(StatusCode::NOT_FOUND, "not found");
    fixed(response.headers_mut(), CACHE_CONTROL, BRIEFLY);
    response
}

/// To whoever may not read a private repository; which of its URLs exist is not told.
pub(super) fn unauthorized() -> Response<Body> {
    let mut response = text(StatusCode::UNAUTHORIZED, "this repository is private");
    let headers = response.headers_mut();
    for scheme in [
        r#"Basic realm="mirror", charset="UTF-8""#,
        r#"Bearer realm="mirror""#,
    ] {
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    }
    response
}

/// Keeps an answer out of caches that serve others, and from the scripts of other web sites.
pub(super) fn keep_private(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
    let policy = headers.get(CACHE_CONTROL).and_then(|policy| policy.to_str().ok());
    if let Some(policy) = policy.filter(|policy| *policy != NOT_STORED) {
        let policy = format!("private, {policy}");
        put(headers, CACHE_CONTROL, policy);
    }
}

pub(super) fn unpublished() -> Response<Body> {
    unavailable("nothing is published here yet; status.html says why")
}

pub(super) fn damaged() -> Response<Body> {
    later("this file cannot be served now", MENDED)
}

pub(super) fn unavailable(reason: &'static str) -> Response<Body> {
    later(reason, RETRY)
}

/// "Later", in the one way that makes every Composer come back.
fn later(reason: &'static str, seconds: u64) -> Response<Body> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, reason);
    response.headers_mut().insert(RETRY_AFTER, seconds.into());
    response
}

/// To OPTIONS.
pub(super) fn options() -> Response<Body> {
    allow(status(StatusCode::NO_CONTENT, Body::empty()))
}

pub(super) fn method_not_allowed() -> Response<Body> {
    allow(text(
        StatusCode::METHOD_NOT_ALLOWED,
        "this server only answers GET and HEAD",
    ))
}

fn allow(mut response: Response<Body>) -> Response<Body> {
    fixed(response.headers_mut(), ALLOW, METHODS);
    response
}

/// A short answer in words, not to be stored unless its maker says so.
pub(super) fn text(code: StatusCode, words: &'static str) -> Response<Body> {
    bytes(
        code,
        Kind::Text.media_type(),
        Bytes::from_static(words.as_bytes()),
    )
}

/// An answer made for this request, not to be stored unless its maker says so.
pub(super) fn bytes(code: StatusCode, media_type: &'static str, body: Bytes) -> Response<Body> {
    let length = body.len();
    let mut response = status(code, body.into());
    let headers = response.headers_mut();
    fixed(headers, CONTENT_TYPE, media_type);
    fixed(headers, CACHE_CONTROL, NOT_STORED);
    headers.insert(CONTENT_LENGTH, length.into());
    response
}

pub(super) fn status(code: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().reserve(16);
    fixed(response.headers_mut(), X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

pub(super) fn fixed(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

/// Every value made here is visible ASCII; one that were not is left out.
pub(super) fn put(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}
