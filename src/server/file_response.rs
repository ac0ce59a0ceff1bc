//! The response from one representation: its conditions, its range, its headers and its bytes.

use std::ops::Range;

use hyper::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING,
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    HeaderValue, LAST_MODIFIED, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Response, StatusCode};

use super::body::{Body, FileAccess, OpenError};
use super::conditional::{Precondition, Validators, header_value};
use super::content_kind::ContentKind;
use super::range::{Part, part};
use super::responses::{range_not_satisfiable, redirect_to_object, text};
use super::site::{Representation, ResourceContent};
use super::url_path::file_name;
use crate::util::compression::Coding;

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// Sent with the ledger: the SHA-256 of `follow.json`.
const MIRROR_STATE: HeaderName = HeaderName::from_static("mirror-state");

/// What a page may load: files of its own host, and nothing inline.
pub(super) const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A response to be made from one representation.
pub(super) struct FileResponse<'e> {
    pub(super) kind: ContentKind,
    pub(super) coding: Option<Coding>,
    pub(super) representation: &'e Representation,
    /// Whether other clients get another representation.
    pub(super) is_negotiated: bool,
    /// The path of the URL.
    pub(super) path: &'e str,
    /// See [`Entry::state`](super::site::Entry).
    pub(super) state: Option<&'e HeaderValue>,
}

impl FileResponse<'_> {
    /// Answers GET and HEAD. Only GET has ranges (RFC 9110 section 14.2).
    pub(super) async fn respond(
        &self,
        method: &Method,
        headers: &HeaderMap,
        access: &FileAccess,
    ) -> Result<Response<Body>, OpenError> {
        let (size, validators) = (self.representation.size(), self.representation.validators());
        match validators.evaluate(headers) {
            Precondition::NotModified => return Ok(self.not_modified(validators)),
            Precondition::Failed => {
                return Ok(text(StatusCode::PRECONDITION_FAILED, "precondition failed"));
            }
            Precondition::Proceed => {}
        }
        let is_ranged = method == Method::GET && validators.allow_range(headers);
        let (status, range) = match if is_ranged { part(headers, size) } else { Part::Whole } {
            Part::Whole => (StatusCode::OK, 0..size),
            Part::Bytes(range) => (StatusCode::PARTIAL_CONTENT, range),
            Part::Unsatisfiable => return Ok(range_not_satisfiable(size)),
        };
        if let ResourceContent::Object(object) = &self.representation.content
            && method == Method::GET
            && let Some(url) = object.redirect().await?
        {
            return Ok(redirect_to_object(url));
        }
        // What is known of an object answers a HEAD request.
        let body = match &self.representation.content {
            ResourceContent::Object(_) if method == Method::HEAD => Body::EMPTY,
            _ => self.body(range.clone(), access).await?,
        };
        let mut response = Response::new(body);
        *response.headers_mut() = self.headers(&range, validators);
        if status == StatusCode::PARTIAL_CONTENT {
            let range = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            response.headers_mut().insert(CONTENT_RANGE, header_value(range));
        }
        *response.status_mut() = status;
        Ok(response)
    }

    async fn body(&self, range: Range<u64>, access: &FileAccess) -> Result<Body, OpenError> {
        match &self.representation.content {
            ResourceContent::Memory(bytes) => {
                Ok(Body::Memory(bytes.slice(range.start as usize..range.end as usize)))
            }
            ResourceContent::Disk(path) => {
                // A variant is a file of its own, which never grows.
                let kind = self.coding.map_or(self.kind, |_| ContentKind::Archive);
                Body::open(path, kind, &self.representation.integrity, range, access).await
            }
            ResourceContent::Object(object) => {
                Body::open_object(object, &self.representation.integrity, range, access).await
            }
        }
    }

    fn headers(&self, range: &Range<u64>, validators: Validators) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(16);
        self.insert_common_headers(&mut headers, validators.etag);
        let media_type = HeaderValue::from_static(self.kind.media_type());
        headers.insert(CONTENT_TYPE, media_type);
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(CONTENT_LENGTH, (range.end - range.start).into());
        headers.insert(LAST_MODIFIED, validators.last_modified);
        headers.insert(REPR_DIGEST, self.representation.repr_digest());
        if let Some(coding) = self.coding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        }
        match self.kind {
            ContentKind::Page => {
                headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
            }
            ContentKind::Archive => {
                let name = file_name(self.path);
                if needs_no_escape(name) {
                    let disposition = format!("attachment; filename=\"{name}\"");
                    headers.insert(CONTENT_DISPOSITION, header_value(disposition));
                }
            }
            _ => {}
        }
        headers
    }

    /// The headers of a 304 (RFC 9110 section 15.4.5), which a 200 has, too.
    fn insert_common_headers(&self, headers: &mut HeaderMap, etag: HeaderValue) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(self.kind.cache_control()));
        if self.is_negotiated {
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        if self.kind.is_json() {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        headers.insert(ETAG, etag);
        if let Some(state) = self.state {
            headers.insert(MIRROR_STATE, state.clone());
        }
    }

    fn not_modified(&self, validators: Validators) -> Response<Body> {
        let mut response = Response::new(Body::EMPTY);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        self.insert_common_headers(response.headers_mut(), validators.etag);
        response
    }
}

/// Whether a quoted string can contain a name unescaped. For other names, clients use the last segment of the URL.
fn needs_no_escape(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}
