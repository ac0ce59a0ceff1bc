//! The representation that a request is answered from: its conditions, its range, its headers and its bytes.

use std::ops::Range;

use hyper::header::{CONTENT_DISPOSITION, CONTENT_RANGE};
use hyper::{Method, StatusCode};

use super::body::Body;
use super::conditional::Verdict;
use super::content_kind::ContentKind;
use super::head;
use super::range::{Part, part};
use super::reply::Reply;
use super::request::Request;
use super::responses::{text, unsatisfiable};
use super::router::file_name;
use super::site::{Content, Entry, Representation};
use crate::util::compression::Coding;

pub(super) struct Selected<'e> {
    kind: ContentKind,
    coding: Option<Coding>,
    representation: &'e Representation,
    /// Of the URL.
    path: &'e str,
}

impl<'e> Selected<'e> {
    pub(super) fn new(
        entry: &Entry,
        coding: Option<Coding>,
        representation: &'e Representation,
        path: &'e str,
    ) -> Self {
        Self {
            kind: entry.kind,
            coding,
            representation,
            path,
        }
    }

    pub(super) async fn answer(&self, request: &Request<'_>) -> anyhow::Result<Reply> {
        let (fields, size) = (&request.fields, self.representation.size);
        let validators = &self.representation.validators;
        match validators.evaluate(fields) {
            Verdict::NotModified => return Ok(self.not_modified()),
            Verdict::PreconditionFailed => {
                return Ok(text(StatusCode::PRECONDITION_FAILED, "precondition failed"));
            }
            Verdict::Proceed => {}
        }
        // RFC 9110 section 14.2: a range means something to GET only.
        let ranged = request.method == Method::GET && validators.allow_range(fields);
        let (code, range) = match if ranged { part(fields, size) } else { Part::Whole } {
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
            Content::Memory(bytes) if range == (0..*size) => Body::all(bytes),
            Content::Memory(bytes) => bytes
                .slice(usize::try_from(range.start)?..usize::try_from(range.end)?)
                .into(),
            // A variant is a file of its own: it never grows.
            Content::Disk(path) => {
                let kind = if self.coding.is_some() {
                    ContentKind::Archive
                } else {
                    self.kind
                };
                Body::open(path, kind, *size, integrity.clone(), range).await?
            }
        })
    }

    fn whole_or_part(&self, status: StatusCode, body: Body, range: Range<u64>) -> Reply {
        let length = range.end - range.start;
        let mut header = head::of(self.kind, self.coding, self.representation, length);
        if status == StatusCode::PARTIAL_CONTENT {
            let (first, last, size) = (range.start, range.end - 1, self.representation.size);
            header.add(CONTENT_RANGE, format_args!("bytes {first}-{last}/{size}"));
        }
        if self.kind == ContentKind::Archive {
            let name = file_name(self.path);
            if is_plain(name) {
                let value = format_args!("attachment; filename=\"{name}\"");
                header.add(CONTENT_DISPOSITION, value);
            }
        }
        Reply::new(status, header, body)
    }

    fn not_modified(&self) -> Reply {
        let header = head::not_modified(self.kind, self.representation);
        Reply::new(StatusCode::NOT_MODIFIED, header, Body::Empty)
    }
}

/// Whether a name needs no escape in a quoted string; any other is left to the URL.
fn is_plain(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}
