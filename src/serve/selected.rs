//! The representation that a request is answered from: its conditions, its range, its headers and its bytes.

use std::ops::Range;

use hyper::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING,
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, LAST_MODIFIED,
    VARY,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};

use super::answer::{fixed, put, status, text, unsatisfiable};
use super::body::Body;
use super::conditional::Verdict;
use super::kind::Kind;
use super::range::{Part, part};
use super::site::{Content, Entry, Representation};
use crate::coding::Coding;

/// What a page may load: its own host's files, nothing inline, nothing of anybody else.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

pub(super) struct Selected<'e> {
    kind: Kind,
    coding: Option<Coding>,
    representation: &'e Representation,
    name: &'e str,
}

impl<'e> Selected<'e> {
    pub(super) fn new(
        entry: &Entry,
        coding: Option<Coding>,
        representation: &'e Representation,
        name: &'e str,
    ) -> Self {
        Self {
            kind: entry.kind,
            coding,
            representation,
            name,
        }
    }

    pub(super) async fn answer<B>(&self, request: &Request<B>) -> anyhow::Result<Response<Body>> {
        let (headers, size) = (request.headers(), self.representation.size);
        let validators = &self.representation.validators;
        match validators.evaluate(headers) {
            Verdict::NotModified => return Ok(self.not_modified()),
            Verdict::PreconditionFailed => {
                return Ok(text(StatusCode::PRECONDITION_FAILED, "precondition failed"));
            }
            Verdict::Proceed => {}
        }
        // RFC 9110 section 14.2: a range means something to GET only.
        let ranged = request.method() == Method::GET && validators.allow_range(headers);
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
            ..
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
        headers.insert(REPR_DIGEST, self.representation.repr_digest.clone());
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
        let validators = &self.representation.validators;
        headers.insert(ETAG, validators.etag.clone());
        headers.insert(LAST_MODIFIED, validators.last_modified.clone());
        fixed(headers, CACHE_CONTROL, self.kind.cache_control());
        // Also while there is no variant yet: a cache must not keep for everybody what it got for one.
        fixed(headers, VARY, "accept-encoding");
        if self.kind.is_json() {
            fixed(headers, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        }
    }
}

/// Whether a name needs no escape in a quoted string; any other is left to the URL.
fn is_plain(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}
