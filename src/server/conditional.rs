//! Preconditions (RFC 9110 section 13) of GET and HEAD.
//!
//! Composer sends only `If-Modified-Since`, with the `Last-Modified` that it received, verbatim
//! (`ComposerRepository::asyncFetchFile`). So the dates are compared for equality: after a rollback, a client has a newer file,
//! which an ordering of dates would answer 304.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::{
    HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE,
};

use super::header_fields::{single, single_text};
use crate::util::digest::Sha256;

/// The two validators of a representation, as they are sent.
pub(super) struct Validators {
    /// Strong: it is made from the digest of the bytes.
    pub(super) etag: HeaderValue,
    pub(super) last_modified: HeaderValue,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Precondition {
    /// Answer as if there were no condition.
    Proceed,
    NotModified,
    Failed,
}

impl Validators {
    /// Half of the digest suffices to identify the bytes, and keeps a 304 short. Each encoding has an entity tag of its own, and
    /// all have the same date, in Unix seconds.
    pub(super) fn new(sha256: Sha256, last_modified: i64) -> Self {
        let last_modified = UNIX_EPOCH + Duration::from_secs(last_modified.unsigned_abs());
        Self::from_parts(&hex::encode(&sha256.0[..16]), last_modified)
    }

    fn from_parts(tag: &str, last_modified: SystemTime) -> Self {
        Self {
            etag: header_value(format!("\"{tag}\"")),
            last_modified: header_value(httpdate::fmt_http_date(last_modified)),
        }
    }

    /// The order of RFC 9110 section 13.2.2.
    pub(super) fn evaluate(&self, headers: &HeaderMap) -> Precondition {
        if headers.contains_key(IF_MATCH) {
            if !self.matches(headers, &IF_MATCH, Comparison::Strong) {
                return Precondition::Failed;
            }
        } else if self.fails_if_unmodified_since(headers) {
            return Precondition::Failed;
        }
        let is_fresh = match headers.contains_key(IF_NONE_MATCH) {
            true => self.matches(headers, &IF_NONE_MATCH, Comparison::Weak),
            false => single(headers, IF_MODIFIED_SINCE) == Some(&self.last_modified),
        };
        match is_fresh {
            true => Precondition::NotModified,
            false => Precondition::Proceed,
        }
    }

    /// Whether a range may be sent (RFC 9110 section 13.1.5). A date in `If-Range` never matches: the client may have the first
    /// bytes of another encoding, which has the same date (section 8.8.2.2).
    pub(super) fn allow_range(&self, headers: &HeaderMap) -> bool {
        !headers.contains_key(IF_RANGE) || single(headers, IF_RANGE) == Some(&self.etag)
    }

    fn matches(&self, headers: &HeaderMap, name: &HeaderName, comparison: Comparison) -> bool {
        let own = self.etag.to_str().unwrap_or_default();
        let values = headers.get_all(name).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.trim() == "*" || tags(value).any(|tag| comparison.holds(tag, own)))
    }

    /// A value that is not a date is ignored (RFC 9110 section 13.1.4).
    fn fails_if_unmodified_since(&self, headers: &HeaderMap) -> bool {
        let date = |text: &str| httpdate::parse_http_date(text).ok();
        let since = single_text(headers, IF_UNMODIFIED_SINCE).and_then(date);
        let modified = self.last_modified.to_str().ok().and_then(date);
        since.is_some_and(|since| modified.is_some_and(|modified| modified > since))
    }
}

/// `text` as a header; it has visible characters only.
pub(super) fn header_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// RFC 9110 section 8.8.3.2. Our own tags are never weak.
#[derive(Clone, Copy)]
enum Comparison {
    Strong,
    Weak,
}

impl Comparison {
    fn holds(self, tag: &str, own: &str) -> bool {
        match self {
            Self::Strong => tag == own,
            Self::Weak => tag.strip_prefix("W/").unwrap_or(tag) == own,
        }
    }
}

/// The entity tags of a list, each with its quotes and its `W/`, up to the first malformed one.
fn tags(mut list: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        list = list.trim_start_matches([',', ' ', '\t']);
        let quote = if list.starts_with("W/") { 2 } else { 0 };
        let inner = list.get(quote..)?.strip_prefix('"')?;
        let (tag, rest) = list.split_at(quote + inner.find('"')? + 2);
        list = rest;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Tue, 22 Feb 2022 22:02:22 GMT";

    fn evaluate(headers: &[(HeaderName, &str)]) -> Precondition {
        let validators = Validators::from_parts("ab", httpdate::parse_http_date(DATE).unwrap());
        let headers = headers.iter().cloned();
        let headers = headers.map(|(name, value)| (name, HeaderValue::from_str(value).unwrap()));
        validators.evaluate(&headers.collect())
    }

    #[test]
    fn preconditions_have_their_precedence() {
        use Precondition::{Failed, NotModified, Proceed};
        let later = "Wed, 23 Feb 2022 22:02:22 GMT";
        let earlier = "Mon, 21 Feb 2022 22:02:22 GMT";
        for (headers, expected) in [
            (&[][..], Proceed),
            (&[(IF_NONE_MATCH, "\"ab\"")], NotModified),
            (&[(IF_NONE_MATCH, "W/\"ab\"")], NotModified),
            (&[(IF_NONE_MATCH, " * ")], NotModified),
            (&[(IF_NONE_MATCH, "\"x,y\", ,W/\"z\",\"ab\"")], NotModified),
            (&[(IF_NONE_MATCH, "\"x, \"ab\"")], Proceed),
            (&[(IF_NONE_MATCH, "ab")], Proceed),
            (&[(IF_NONE_MATCH, "")], Proceed),
            (&[(IF_NONE_MATCH, "\"")], Proceed),
            (&[(IF_MODIFIED_SINCE, DATE)], NotModified),
            (&[(IF_MODIFIED_SINCE, later)], Proceed),
            (&[(IF_MODIFIED_SINCE, earlier)], Proceed),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Proceed),
            (&[(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, DATE)], Proceed),
            (&[(IF_MATCH, "\"ab\"")], Proceed),
            (&[(IF_MATCH, "*")], Proceed),
            (&[(IF_MATCH, "W/\"ab\"")], Failed),
            (&[(IF_MATCH, "\"x\""), (IF_NONE_MATCH, "\"ab\"")], Failed),
            (&[(IF_MATCH, "\"ab\""), (IF_UNMODIFIED_SINCE, earlier)], Proceed),
            (&[(IF_UNMODIFIED_SINCE, earlier)], Failed),
            (&[(IF_UNMODIFIED_SINCE, DATE)], Proceed),
            (&[(IF_UNMODIFIED_SINCE, "never")], Proceed),
        ] {
            assert_eq!(evaluate(headers), expected, "{headers:?}");
        }
    }
}
