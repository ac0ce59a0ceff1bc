//! The answers that are not a published file, and the headers of each.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION,
    RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};

use super::body::Body;
use super::content_kind::ContentKind;
use super::reply::{Header, Reply};

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

pub(super) fn unsatisfiable(size: u64) -> Reply {
    let mut reply = text(StatusCode::RANGE_NOT_SATISFIABLE, "range not satisfiable");
    reply.header.add(CONTENT_RANGE, format_args!("bytes */{size}"));
    reply
}

pub(super) fn redirect(location: &str) -> Reply {
    let mut reply = stored(
        StatusCode::PERMANENT_REDIRECT,
        "see the same address with a slash at its end",
    );
    reply.header.add(LOCATION, location);
    reply
}

pub(super) fn not_found() -> Reply {
    stored(StatusCode::NOT_FOUND, "not found")
}

/// To whoever may not read a private repository; which of its URLs exist is not told.
pub(super) fn unauthorized() -> Reply {
    let mut reply = text(StatusCode::UNAUTHORIZED, "this repository is private");
    let schemes = [
        r#"Basic realm="mirror", charset="UTF-8""#,
        r#"Bearer realm="mirror""#,
    ];
    for scheme in schemes {
        reply.header.add(WWW_AUTHENTICATE, scheme);
    }
    reply
}

/// Keeps an answer out of caches that serve others, and from the scripts of other web sites.
pub(super) fn keep_private(reply: &mut Reply) {
    let header = &mut reply.header;
    header.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
    let policy = header.get(CACHE_CONTROL).filter(|policy| *policy != NOT_STORED);
    if let Some(policy) = policy.map(|policy| format!("private, {policy}")) {
        header.remove(CACHE_CONTROL);
        header.add(CACHE_CONTROL, policy);
    }
}

pub(super) fn unpublished() -> Reply {
    unavailable("nothing is published here yet; status.html says why")
}

pub(super) fn damaged() -> Reply {
    later("this file cannot be served now", MENDED)
}

pub(super) fn unavailable(reason: &'static str) -> Reply {
    later(reason, RETRY)
}

/// "Later", in the one way that makes every Composer come back.
fn later(reason: &'static str, seconds: u64) -> Reply {
    let mut reply = text(StatusCode::SERVICE_UNAVAILABLE, reason);
    reply.header.add(RETRY_AFTER, seconds);
    reply
}

/// To OPTIONS.
pub(super) fn options() -> Reply {
    let mut reply = status(StatusCode::NO_CONTENT, Body::Empty);
    reply.header.add(ALLOW, METHODS);
    reply
}

pub(super) fn method_not_allowed() -> Reply {
    let mut reply = text(
        StatusCode::METHOD_NOT_ALLOWED,
        "this server only answers GET and HEAD",
    );
    reply.header.add(ALLOW, METHODS);
    reply
}

/// To anything but a POST where deliveries are sent.
pub(super) fn only_post() -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "deliveries are sent here");
    reply.header.add(ALLOW, "POST");
    reply
}

/// A short answer in words, not to be stored.
pub(super) fn text(code: StatusCode, words: &'static str) -> Reply {
    worded(code, words, NOT_STORED)
}

/// One that caches may keep for a moment.
fn stored(code: StatusCode, words: &'static str) -> Reply {
    worded(code, words, BRIEFLY)
}

fn worded(code: StatusCode, words: &'static str, policy: &str) -> Reply {
    let words = Bytes::from_static(words.as_bytes());
    with_body(code, ContentKind::Text.media_type(), words, policy)
}

/// An answer made for this request, not to be stored.
pub(super) fn bytes(code: StatusCode, media_type: &str, body: Bytes) -> Reply {
    with_body(code, media_type, body, NOT_STORED)
}

fn with_body(code: StatusCode, media_type: &str, body: Bytes, policy: &str) -> Reply {
    let length = body.len();
    let mut reply = status(code, body.into());
    reply.header.add(CONTENT_TYPE, media_type);
    reply.header.add(CACHE_CONTROL, policy);
    reply.header.add(CONTENT_LENGTH, length);
    reply
}

fn status(status: StatusCode, body: Body) -> Reply {
    let mut header = Header::default();
    header.add(X_CONTENT_TYPE_OPTIONS, "nosniff");
    Reply::new(status, header, body)
}
