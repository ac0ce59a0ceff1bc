//! Preconditions (RFC 9110 section 13) of GET and HEAD.
//!
//! Composer sends only `If-Modified-Since`, with the `Last-Modified` that it got, verbatim
//! (`ComposerRepository::asyncFetchFile`). So the date is compared as text: "not modified since" would also answer
//! 304 to the holder of a newer file after a roll-back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::HeaderMap;
use hyper::header::{
    HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
    InvalidHeaderValue,
};

use super::asked::Asked;
use crate::digest::Sha256;

/// The two validators of a representation, as they are sent.
pub(super) struct Validators {
    /// Strong: it is made from the digest of the bytes.
    pub(super) etag: HeaderValue,
    pub(super) last_modified: HeaderValue,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Answer as if there were no condition.
    Proceed,
    NotModified,
    PreconditionFailed,
}

impl Validators {
    /// Half of the digest identifies the bytes well enough, and a 304 stays short. Each coding has a tag of its own,
    /// and all have the same date, in Unix seconds.
    ///
    /// # Errors
    ///
    /// None: both are visible ASCII.
    pub(super) fn new(sha256: Sha256, last_modified: i64) -> Result<Self, InvalidHeaderValue> {
        Ok(Self {
            etag: HeaderValue::try_from(format!("\"{}\"", hex::encode(&sha256.0[..16])))?,
            last_modified: HeaderValue::try_from(httpdate::fmt_http_date(time(last_modified)))?,
        })
    }

    /// The order of RFC 9110 section 13.2.2.
    pub(super) fn evaluate(&self, asked: Asked, headers: &HeaderMap) -> Verdict {
        if asked.if_match {
            if !self.matches(headers, IF_MATCH, Comparison::Strong) {
                return Verdict::PreconditionFailed;
            }
        } else if asked.if_unmodified_since && self.is_newer_than(headers) {
            return Verdict::PreconditionFailed;
        }
        let fresh = if asked.if_none_match {
            self.matches(headers, IF_NONE_MATCH, Comparison::Weak)
        } else {
            asked.if_modified_since
                && only(headers, IF_MODIFIED_SINCE).is_some_and(|value| value == self.last_modified)
        };
        if fresh {
            Verdict::NotModified
        } else {
            Verdict::Proceed
        }
    }

    /// Whether a range may be taken from this representation (RFC 9110 section 13.1.5).
    pub(super) fn allow_range(&self, asked: Asked, headers: &HeaderMap) -> bool {
        if !asked.if_range {
            return true;
        }
        only(headers, IF_RANGE).is_some_and(|value| value == self.etag || value == self.last_modified)
    }

    fn matches(&self, headers: &HeaderMap, name: HeaderName, comparison: Comparison) -> bool {
        let mut values = headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok());
        values.any(|value| {
            value.trim() == "*" || tags(value).any(|tag| comparison.holds(tag, self.etag.as_bytes()))
        })
    }

    /// `If-Unmodified-Since`; a value that is no date is ignored (RFC 9110 section 13.1.4).
    fn is_newer_than(&self, headers: &HeaderMap) -> bool {
        let Some(Ok(since)) = only(headers, IF_UNMODIFIED_SINCE).map(httpdate::parse_http_date) else {
            return false;
        };
        let modified = self.last_modified.to_str().map(httpdate::parse_http_date);
        modified.is_ok_and(|modified| modified.is_ok_and(|modified| modified > since))
    }
}

/// RFC 9110 section 8.8.3.2. Our own tags are never weak.
#[derive(Clone, Copy)]
enum Comparison {
    Strong,
    Weak,
}

impl Comparison {
    fn holds(self, tag: &str, own: &[u8]) -> bool {
        match self {
            Self::Strong => tag.as_bytes() == own,
            Self::Weak => tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == own,
        }
    }
}

/// The entity tags of a list, each with its quotes and its `W/`, up to the first thing that is none.
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

/// The value of a header that is there exactly once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        None
    } else {
        value.to_str().ok()
    }
}

fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Tue, 22 Feb 2022 22:02:22 GMT";

    fn verdict(headers: &[(HeaderName, &str)]) -> Verdict {
        let validators = Validators {
            etag: HeaderValue::from_static("\"ab\""),
            last_modified: HeaderValue::from_static(DATE),
        };
        let pairs = headers.iter().map(|(name, value)| {
            (
                name.clone(),
                HeaderValue::from_str(value).expect("a header value of the table"),
            )
        });
        let headers = pairs.collect();
        validators.evaluate(Asked::of(&headers), &headers)
    }

    #[test]
    fn conditions_and_their_precedence() {
        use Verdict::{NotModified, PreconditionFailed, Proceed};
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
            (&[(IF_MATCH, "W/\"ab\"")], PreconditionFailed),
            (
                &[(IF_MATCH, "\"x\""), (IF_NONE_MATCH, "\"ab\"")],
                PreconditionFailed,
            ),
            (&[(IF_MATCH, "\"ab\""), (IF_UNMODIFIED_SINCE, earlier)], Proceed),
            (&[(IF_UNMODIFIED_SINCE, earlier)], PreconditionFailed),
            (&[(IF_UNMODIFIED_SINCE, DATE)], Proceed),
            (&[(IF_UNMODIFIED_SINCE, "never")], Proceed),
        ] {
            assert_eq!(verdict(headers), expected, "{headers:?}");
        }
    }
}
