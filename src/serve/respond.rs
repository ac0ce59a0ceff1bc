//! From a request to its answer: the pipeline, and the headers of each status.

use std::ops::Range;

use bytes::Bytes;
use hyper::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED, LOCATION, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};

use super::body::Body;
use super::conditional::{Validators, Verdict};
use super::kind::Kind;
use super::probes::Probe;
use super::published::Published;
use super::range::{Part, part};
use super::route::{Route, route};
use super::site::{Content, Entry};

const METHODS: &str = "GET, HEAD, OPTIONS";

/// Long enough to take the load off a flood of requests for the same missing name, short enough that a cache in
/// front does not hide what the next snapshot adds.
const BRIEFLY: &str = "public, max-age=10";

/// In seconds. Composer does not read it and tries again by itself; others do.
const RETRY: u64 = 10;

/// Answers `request` from what is published now.
pub(super) async fn respond<B>(published: &Published, request: &Request<B>) -> Response<Body> {
    let mut response = match *request.method() {
        Method::GET | Method::HEAD => get(published, request).await,
        Method::OPTIONS => allow(status(StatusCode::NO_CONTENT, Body::empty())),
        _ => allow(text(
            StatusCode::METHOD_NOT_ALLOWED,
            "this server only answers GET and HEAD",
        )),
    };
    if request.method() == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    response
}

async fn get<B>(published: &Published, request: &Request<B>) -> Response<Body> {
    let path = request.uri().path();
    if let Some(probe) = Probe::of(path) {
        return probe.answer(published);
    }
    let Some(site) = published.site() else {
        return unpublished();
    };
    match route(&site, path) {
        Route::Found(entry, name) => found(published, entry, name, request).await,
        Route::MissingSlash(location) => redirect(location),
        Route::Unpublished => unpublished(),
        Route::NotFound => not_found(),
    }
}

async fn found<B>(published: &Published, entry: &Entry, name: &str, request: &Request<B>) -> Response<Body> {
    let (headers, validators) = (request.headers(), Validators::of(entry));
    match validators.evaluate(headers) {
        Verdict::NotModified => return not_modified(entry, validators),
        Verdict::PreconditionFailed => return text(StatusCode::PRECONDITION_FAILED, "precondition failed"),
        Verdict::Proceed => {}
    }
    // RFC 9110 section 14.2: a range means something to GET only.
    let ranged = request.method() == Method::GET && validators.allow_range(headers);
    let (code, range) = match if ranged {
        part(headers, entry.size)
    } else {
        Part::Whole
    } {
        Part::Whole => (StatusCode::OK, 0..entry.size),
        Part::Bytes(range) => (StatusCode::PARTIAL_CONTENT, range),
        Part::Unsatisfiable => return unsatisfiable(entry.size),
    };
    match content(entry, range.clone()).await {
        Ok(body) => whole_or_part(entry, name, validators, status(code, body), range),
        Err(error) => {
            tracing::error!(
                error = format!("{error:#}"),
                url = request.uri().path(),
                "failed to serve"
            );
            if let Content::Disk(file) = &entry.content {
                published.report_damaged(file);
            }
            unavailable("this file cannot be served now")
        }
    }
}

async fn content(entry: &Entry, range: Range<u64>) -> anyhow::Result<Body> {
    Ok(match &entry.content {
        Content::Memory(bytes) => bytes
            .slice(usize::try_from(range.start)?..usize::try_from(range.end)?)
            .into(),
        Content::Disk(path) => {
            Body::open(path, entry.kind, entry.size, entry.integrity.clone(), range).await?
        }
    })
}

fn whole_or_part(
    entry: &Entry,
    name: &str,
    validators: Validators,
    mut response: Response<Body>,
    range: Range<u64>,
) -> Response<Body> {
    let partial = response.status() == StatusCode::PARTIAL_CONTENT;
    let headers = response.headers_mut();
    describe(headers, entry.kind, validators);
    fixed(headers, CONTENT_TYPE, entry.kind.media_type());
    fixed(headers, ACCEPT_RANGES, "bytes");
    headers.insert(CONTENT_LENGTH, (range.end - range.start).into());
    if partial {
        put(
            headers,
            CONTENT_RANGE,
            format!("bytes {}-{}/{}", range.start, range.end - 1, entry.size),
        );
    }
    if entry.kind == Kind::Archive && is_plain(name) {
        put(
            headers,
            CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        );
    }
    response
}

/// Without a body and without a word on the length of one (RFC 9110 section 15.4.5).
fn not_modified(entry: &Entry, validators: Validators) -> Response<Body> {
    let mut response = status(StatusCode::NOT_MODIFIED, Body::empty());
    describe(response.headers_mut(), entry.kind, validators);
    response
}

/// What a 200 and its 304 have in common.
fn describe(headers: &mut HeaderMap, kind: Kind, validators: Validators) {
    put(headers, ETAG, validators.etag);
    put(headers, LAST_MODIFIED, validators.last_modified);
    fixed(headers, CACHE_CONTROL, kind.cache_control());
    if kind.is_json() {
        fixed(headers, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    }
}

fn unsatisfiable(size: u64) -> Response<Body> {
    let mut response = text(StatusCode::RANGE_NOT_SATISFIABLE, "range not satisfiable");
    put(response.headers_mut(), CONTENT_RANGE, format!("bytes */{size}"));
    response
}

fn redirect(location: String) -> Response<Body> {
    let mut response = text(
        StatusCode::PERMANENT_REDIRECT,
        "see the same address with a slash at its end",
    );
    put(response.headers_mut(), LOCATION, location);
    fixed(response.headers_mut(), CACHE_CONTROL, BRIEFLY);
    response
}

fn not_found() -> Response<Body> {
    let mut response = text(StatusCode::NOT_FOUND, "not found");
    fixed(response.headers_mut(), CACHE_CONTROL, BRIEFLY);
    response
}

fn unpublished() -> Response<Body> {
    unavailable("nothing is published here yet")
}

/// "Later", in the one way that makes Composer come back.
pub(super) fn unavailable(reason: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, reason);
    response.headers_mut().insert(RETRY_AFTER, RETRY.into());
    response
}

fn allow(mut response: Response<Body>) -> Response<Body> {
    fixed(response.headers_mut(), ALLOW, METHODS);
    response
}

/// A short answer in words, not to be stored unless its maker says so.
pub(super) fn text(code: StatusCode, words: &'static str) -> Response<Body> {
    let mut response = status(code, Bytes::from_static(words.as_bytes()).into());
    let headers = response.headers_mut();
    fixed(headers, CONTENT_TYPE, Kind::Text.media_type());
    fixed(headers, CACHE_CONTROL, "no-store");
    headers.insert(CONTENT_LENGTH, words.len().into());
    response
}

fn status(code: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    fixed(response.headers_mut(), X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

fn fixed(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

/// Every value made here is visible ASCII; one that were not is left out.
fn put(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// Whether a name needs no escape in a quoted string; any other is left to the URL.
fn is_plain(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}
