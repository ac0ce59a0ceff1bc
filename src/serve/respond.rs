//! From a request to its answer: the pipeline, and the headers of each status.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING,
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    LAST_MODIFIED, LOCATION, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};

use super::body::Body;
use super::conditional::{Validators, Verdict};
use super::kind::Kind;
use super::negotiate::choose;
use super::probes::Probe;
use super::published::Published;
use super::range::{Part, part};
use super::route::{Route, decode, route};
use super::site::{Content, Entry, Representation};
use crate::coding::Coding;

const METHODS: &str = "GET, HEAD, OPTIONS";

/// Long enough to take the load off a flood of requests for the same missing name, short enough that a cache in
/// front does not hide what the next snapshot adds.
const BRIEFLY: &str = "public, max-age=10";

/// What a page may load: its own host's files, nothing inline, nothing of anybody else.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

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
    let site = published.site();
    match site.as_ref().map(|site| route(site, path)) {
        Some(Route::Found(entry, name)) => found(published, entry, name, request).await,
        Some(Route::MissingSlash(location)) => redirect(location),
        None | Some(Route::Unpublished) => told(published, request, unpublished).await,
        Some(Route::NotFound) => told(published, request, not_found).await,
    }
}

/// What is said about the mirror itself, also before anything is published; `or` where the path is none of that.
async fn told<B>(published: &Published, request: &Request<B>, or: fn() -> Response<Body>) -> Response<Body> {
    let texts = published.texts();
    let path = decode(request.uri().path());
    match path.and_then(|path| texts.get(&path)) {
        Some((entry, name)) => found(published, entry, name, request).await,
        None => or(),
    }
}

async fn found<B>(published: &Published, entry: &Entry, name: &str, request: &Request<B>) -> Response<Body> {
    let (coding, representation) = choose(entry, request.headers());
    let selected = Selected::new(entry, coding, representation, name);
    match selected.answer(request).await {
        Ok(response) => return response,
        // A variant can be made again, and the published bytes are as good.
        Err(error) if coding.is_some() => {
            tracing::warn!(
                url = request.uri().path(),
                "serving without a compressed variant: {error:#}"
            );
        }
        Err(error) => return damaged(published, entry, request, &error),
    }
    match Selected::new(entry, None, &entry.identity, name)
        .answer(request)
        .await
    {
        Ok(response) => response,
        Err(error) => damaged(published, entry, request, &error),
    }
}

fn damaged<B>(
    published: &Published,
    entry: &Entry,
    request: &Request<B>,
    error: &anyhow::Error,
) -> Response<Body> {
    tracing::error!(
        error = format!("{error:#}"),
        url = request.uri().path(),
        "failed to serve"
    );
    if let Content::Disk(file) = &entry.identity.content {
        published.report_damaged(file);
    }
    unavailable("this file cannot be served now")
}

/// The representation that a request is answered from.
struct Selected<'e> {
    kind: Kind,
    coding: Option<Coding>,
    representation: &'e Representation,
    validators: Validators,
    name: &'e str,
}

impl<'e> Selected<'e> {
    fn new(entry: &Entry, coding: Option<Coding>, representation: &'e Representation, name: &'e str) -> Self {
        Self {
            kind: entry.kind,
            coding,
            representation,
            validators: Validators::of(representation, entry.last_modified),
            name,
        }
    }

    async fn answer<B>(&self, request: &Request<B>) -> anyhow::Result<Response<Body>> {
        let (headers, size) = (request.headers(), self.representation.size);
        match self.validators.evaluate(headers) {
            Verdict::NotModified => return Ok(self.not_modified()),
            Verdict::PreconditionFailed => {
                return Ok(text(StatusCode::PRECONDITION_FAILED, "precondition failed"));
            }
            Verdict::Proceed => {}
        }
        // RFC 9110 section 14.2: a range means something to GET only.
        let ranged = request.method() == Method::GET && self.validators.allow_range(headers);
        let (code, range) = match if ranged { part(headers, size) } else { Part::Whole } {
            Part::Whole => (StatusCode::OK, 0..size),
            Part::Bytes(range) => (StatusCode::PARTIAL_CONTENT, range),
            Part::Unsatisfiable => return Ok(unsatisfiable(size)),
        };
        let body = self.content(range.clone()).await?;
        Ok(self.whole_or_part(status(code, body), range))
    }

    async fn content(&self, range: Range<u64>) -> anyhow::Result<Body> {
        let Representation {
            content,
            integrity,
            size,
        } = self.representation;
        Ok(match content {
            Content::Memory(bytes) => bytes
                .slice(usize::try_from(range.start)?..usize::try_from(range.end)?)
                .into(),
            // A variant is a file of its own: it never grows.
            Content::Disk(path) => {
                let kind = if self.coding.is_some() {
                    Kind::Archive
                } else {
                    self.kind
                };
                Body::open(path, kind, *size, integrity.clone(), range).await?
            }
        })
    }

    fn whole_or_part(&self, mut response: Response<Body>, range: Range<u64>) -> Response<Body> {
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        let headers = response.headers_mut();
        self.describe(headers);
        fixed(headers, CONTENT_TYPE, self.kind.media_type());
        fixed(headers, ACCEPT_RANGES, "bytes");
        headers.insert(CONTENT_LENGTH, (range.end - range.start).into());
        if let Some(coding) = self.coding {
            fixed(headers, CONTENT_ENCODING, coding.name());
        }
        put(headers, REPR_DIGEST, repr_digest(self.representation));
        if partial {
            put(
                headers,
                CONTENT_RANGE,
                format!(
                    "bytes {}-{}/{}",
                    range.start,
                    range.end - 1,
                    self.representation.size
                ),
            );
        }
        if self.kind == Kind::Archive && is_plain(self.name) {
            put(
                headers,
                CONTENT_DISPOSITION,
                format!("attachment; filename=\"{}\"", self.name),
            );
        }
        if self.kind == Kind::Page {
            fixed(headers, CONTENT_SECURITY_POLICY, PAGE_POLICY);
        }
        response
    }

    /// Without a body and without a word on the length of one (RFC 9110 section 15.4.5).
    fn not_modified(&self) -> Response<Body> {
        let mut response = status(StatusCode::NOT_MODIFIED, Body::empty());
        self.describe(response.headers_mut());
        response
    }

    /// What a 200 and its 304 have in common.
    fn describe(&self, headers: &mut HeaderMap) {
        put(headers, ETAG, self.validators.etag.clone());
        put(headers, LAST_MODIFIED, self.validators.last_modified.clone());
        fixed(headers, CACHE_CONTROL, self.kind.cache_control());
        // Also while there is no variant yet: a cache must not keep for everybody what it got for one.
        fixed(headers, VARY, "accept-encoding");
        if self.kind.is_json() {
            fixed(headers, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        }
    }
}

/// RFC 9530: of the representation as it is coded, whatever part of it is sent.
fn repr_digest(representation: &Representation) -> String {
    format!(
        "sha-256=:{}:",
        STANDARD.encode(representation.integrity.sha256().0)
    )
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
