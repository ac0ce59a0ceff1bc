//! The head of an answer from a representation: what all of its kind say is put together once, and copied.
//!
//! Most requests are for metadata of a few kB, so that most of an answer's work is its head.

use std::sync::OnceLock;

use hyper::HeaderMap;
use hyper::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED, VARY,
    X_CONTENT_TYPE_OPTIONS,
};

use super::answer::fixed;
use super::kind::Kind;
use super::site::Representation;
use crate::coding::Coding;

/// What a page may load: its own host's files, nothing inline, nothing of anybody else.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// Codings, and none.
const CODINGS: usize = Coding::ALL.len() + 1;

type Heads = [[OnceLock<HeaderMap>; CODINGS]; Kind::COUNT];

const fn none() -> Heads {
    [const { [const { OnceLock::new() }; CODINGS] }; Kind::COUNT]
}

/// The head of a 304: what it has in common with the 200, without a word on a body (RFC 9110 section 15.4.5).
pub(super) fn not_modified(kind: Kind, representation: &Representation) -> HeaderMap {
    static HEADS: Heads = none();
    let mut head = HEADS[kind as usize][0].get_or_init(|| common(kind)).clone();
    validate(&mut head, representation);
    head
}

/// The head of an answer with so many bytes of the representation.
pub(super) fn of(
    kind: Kind,
    coding: Option<Coding>,
    representation: &Representation,
    length: u64,
) -> HeaderMap {
    static HEADS: Heads = none();
    let known = &HEADS[kind as usize][coding.map_or(0, |coding| coding as usize + 1)];
    let mut head = known.get_or_init(|| whole(kind, coding)).clone();
    validate(&mut head, representation);
    head.insert(CONTENT_LENGTH, length.into());
    head.insert(REPR_DIGEST, representation.repr_digest.clone());
    head
}

fn validate(head: &mut HeaderMap, representation: &Representation) {
    let validators = &representation.validators;
    head.insert(ETAG, validators.etag.clone());
    head.insert(LAST_MODIFIED, validators.last_modified.clone());
}

/// With a place for what each representation says of itself.
fn common(kind: Kind) -> HeaderMap {
    let mut head = HeaderMap::with_capacity(16);
    fixed(&mut head, X_CONTENT_TYPE_OPTIONS, "nosniff");
    head.insert(ETAG, HeaderValue::from_static(""));
    head.insert(LAST_MODIFIED, HeaderValue::from_static(""));
    fixed(&mut head, CACHE_CONTROL, kind.cache_control());
    // Also while there is no variant yet: a cache must not keep for everybody what it got for one.
    fixed(&mut head, VARY, "accept-encoding");
    if kind.is_json() {
        fixed(&mut head, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    }
    head
}

fn whole(kind: Kind, coding: Option<Coding>) -> HeaderMap {
    let mut head = common(kind);
    fixed(&mut head, CONTENT_TYPE, kind.media_type());
    fixed(&mut head, ACCEPT_RANGES, "bytes");
    head.insert(CONTENT_LENGTH, HeaderValue::from_static(""));
    head.insert(REPR_DIGEST, HeaderValue::from_static(""));
    if let Some(coding) = coding {
        fixed(&mut head, CONTENT_ENCODING, coding.name());
    }
    if kind == Kind::Page {
        fixed(&mut head, CONTENT_SECURITY_POLICY, PAGE_POLICY);
    }
    head
}
