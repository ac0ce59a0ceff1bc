//! The header of an answer from a representation: what all of its kind say is put together once, and copied.

use std::sync::OnceLock;

use hyper::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS,
};

use super::content_kind::ContentKind;
use super::reply::Header;
use super::site::Representation;
use crate::util::compression::Coding;

/// What a page may load: its own host's files, nothing inline, nothing of anybody else.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Codings, and none.
const CODINGS: usize = Coding::ALL.len() + 1;

/// The header of a 304: what a cache may have to know anew, and nothing that it has from the 200 (RFC 9110 section 15.4.5).
pub(super) fn not_modified(kind: ContentKind, representation: &Representation) -> Header {
    static COMMON: [OnceLock<Header>; ContentKind::COUNT] = [const { OnceLock::new() }; ContentKind::COUNT];
    let mut header = Header::from(COMMON[kind as usize].get_or_init(|| common(kind)));
    header.append(representation.validators.etag_line());
    header
}

/// The header of an answer with so many bytes of the representation.
pub(super) fn of(
    kind: ContentKind,
    coding: Option<Coding>,
    representation: &Representation,
    length: u64,
) -> Header {
    static WHOLE: [[OnceLock<Header>; CODINGS]; ContentKind::COUNT] =
        [const { [const { OnceLock::new() }; CODINGS] }; ContentKind::COUNT];
    let known = &WHOLE[kind as usize][coding.map_or(0, |coding| coding as usize + 1)];
    let mut header = Header::from(known.get_or_init(|| whole(kind, coding)));
    header.append(representation.validators.lines());
    if length == representation.size {
        header.append(representation.described());
    } else {
        header.append(representation.repr_digest());
        header.add(CONTENT_LENGTH, length);
    }
    header
}

fn common(kind: ContentKind) -> Header {
    let mut header = Header::default();
    header.add(CACHE_CONTROL, kind.cache_control());
    // Also while there is no variant yet: a cache must not keep for everybody what it got for one.
    header.add(VARY, "accept-encoding");
    if kind.is_json() {
        header.add(ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    }
    header
}

fn whole(kind: ContentKind, coding: Option<Coding>) -> Header {
    let mut header = common(kind);
    header.add(CONTENT_TYPE, kind.media_type());
    header.add(X_CONTENT_TYPE_OPTIONS, "nosniff");
    header.add(ACCEPT_RANGES, "bytes");
    if let Some(coding) = coding {
        header.add(CONTENT_ENCODING, coding.name());
    }
    if kind == ContentKind::Page {
        header.add(CONTENT_SECURITY_POLICY, PAGE_POLICY);
    }
    header
}
