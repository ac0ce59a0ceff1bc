//! The representation that a request is answered from: its conditions, its range, its headers and its bytes.

use std::ops::Range;

use hyper::header::{CONTENT_DISPOSITION, CONTENT_RANGE};
use hyper::{Method, Request, Response, StatusCode};

use super::answer::{put, text, unsatisfiable};
use super::asked::Asked;
use super::body::Body;
use super::conditional::Verdict;
use super::head;
use super::kind::Kind;
use super::range::{Part, part};
use super::site::{Content, Entry, Representation};
use crate::coding::Coding;

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

    pub(super) async fn answer<B>(
        &self,
        asked: Asked,
        request: &Request<B>,
    ) -> anyhow::Result<Response<Body>> {
        let (headers, size) = (request.headers(), self.representation.size);
        let validators = &self.representation.validators;
        match validators.evaluate(asked, headers) {
            Verdict::NotModified => return Ok(self.not_modified()),
            Verdict::PreconditionFailed => {
                return Ok(text(StatusCode::PRECONDITION_FAILED, "precondition failed"));
            }
            Verdict::Proceed => {}
        }
        // RFC 9110 section 14.2: a range means something to GET only.
        let ranged = asked.range && request.method() == Method::GET && validators.allow_range(asked, headers);
        let (code, range) = match if ranged { part(headers, size) } else { Part::Whole } {
            Part::Whole => (StatusCode::OK, 0..size),
            Part::Bytes(range) => (StatusCode::PARTIAL_CONTENT, range),
            Part::Unsatisfiable => return Ok(unsatisfiable(size)),
        };
        let body = self.content(range.clone()).await?;
        Ok(self.whole_or_part(code, body, range))
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

    fn whole_or_part(&self, code: StatusCode, body: Body, range: Range<u64>) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = code;
        let length = range.end - range.start;
        let headers = response.headers_mut();
        *headers = head::of(self.kind, self.coding, self.representation, length);
        if code == StatusCode::PARTIAL_CONTENT {
            let (first, last, size) = (range.start, range.end - 1, self.representation.size);
            put(headers, CONTENT_RANGE, format!("bytes {first}-{last}/{size}"));
        }
        if self.kind == Kind::Archive && is_plain(self.name) {
            let name = format!("attachment; filename=\"{}\"", self.name);
            put(headers, CONTENT_DISPOSITION, name);
        }
        response
    }

    fn not_modified(&self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.headers_mut() = head::not_modified(self.kind, self.representation);
        response
    }
}

/// Whether a name needs no escape in a quoted string; any other is left to the URL.
fn is_plain(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}
