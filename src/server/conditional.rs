//! Preconditions (RFC 9110 section 13) of GET and HEAD.
//!
//! Composer sends only `If-Modified-Since`, with the `Last-Modified` that it got, verbatim
//! (`ComposerRepository::asyncFetchFile`). So the date is compared as text: "not modified since" would also answer
//! 304 to the holder of a newer file after a roll-back.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::{ETAG, LAST_MODIFIED};

use super::reply::Header;
use super::request::{Fields, Name};
use crate::util::digest::Sha256;

/// The two validators of a representation, in the lines in which they are sent.
pub(super) struct Validators {
    lines: Header,
    etag: Range<usize>,
    last_modified: Range<usize>,
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
    pub(super) fn new(sha256: Sha256, last_modified: i64) -> Self {
        Self::of(&hex::encode(&sha256.0[..16]), time(last_modified))
    }

    fn of(tag: &str, last_modified: SystemTime) -> Self {
        let mut lines = Header::default();
        Self {
            etag: lines.add(ETAG, format_args!("\"{tag}\"")),
            last_modified: lines.add(LAST_MODIFIED, httpdate::fmt_http_date(last_modified)),
            lines,
        }
    }

    /// Of both, each with its end.
    pub(super) fn lines(&self) -> &str {
        self.lines.lines()
    }

    /// Of the first, which says it all to who has the representation.
    pub(super) fn etag_line(&self) -> &str {
        &self.lines()[..self.etag.end + "\r\n".len()]
    }

    /// Strong: it is made from the digest of the bytes.
    fn etag(&self) -> &str {
        &self.lines()[self.etag.clone()]
    }

    fn last_modified(&self) -> &str {
        &self.lines()[self.last_modified.clone()]
    }

    /// The order of RFC 9110 section 13.2.2.
    pub(super) fn evaluate(&self, fields: &Fields<'_>) -> Verdict {
        if fields.has(Name::IfMatch) {
            if !self.matches(fields, Name::IfMatch, Comparison::Strong) {
                return Verdict::PreconditionFailed;
            }
        } else if self.is_newer_than(fields) {
            return Verdict::PreconditionFailed;
        }
        let fresh = if fields.has(Name::IfNoneMatch) {
            self.matches(fields, Name::IfNoneMatch, Comparison::Weak)
        } else {
            fields.is_only(Name::IfModifiedSince, self.last_modified())
        };
        if fresh {
            Verdict::NotModified
        } else {
            Verdict::Proceed
        }
    }

    /// Whether a range may be taken from this representation (RFC 9110 section 13.1.5). No date allows it: who has the
    /// first bytes may have those of another coding, which has the same date (section 8.8.2.2).
    pub(super) fn allow_range(&self, fields: &Fields<'_>) -> bool {
        !fields.has(Name::IfRange) || fields.is_only(Name::IfRange, self.etag())
    }

    fn matches(&self, fields: &Fields<'_>, name: Name, comparison: Comparison) -> bool {
        fields
            .values(name)
            .flatten()
            .any(|value| value.trim() == "*" || tags(value).any(|tag| comparison.holds(tag, self.etag())))
    }

    /// `If-Unmodified-Since`; a value that is no date is ignored (RFC 9110 section 13.1.4).
    fn is_newer_than(&self, fields: &Fields<'_>) -> bool {
        let Some(Ok(since)) = fields
            .only(Name::IfUnmodifiedSince)
            .map(httpdate::parse_http_date)
        else {
            return false;
        };
        httpdate::parse_http_date(self.last_modified()).is_ok_and(|modified| modified > since)
    }
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

fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Tue, 22 Feb 2022 22:02:22 GMT";

    fn verdict(fields: &[(&'static str, &str)]) -> Verdict {
        let validators = Validators::of("ab", httpdate::parse_http_date(DATE).unwrap());
        let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
        validators.evaluate(&fields.collect())
    }

    #[test]
    fn conditions_and_their_precedence() {
        use Verdict::{NotModified, PreconditionFailed, Proceed};
        const IF_MATCH: &str = "If-Match";
        const IF_MODIFIED_SINCE: &str = "If-Modified-Since";
        const IF_NONE_MATCH: &str = "If-None-Match";
        const IF_UNMODIFIED_SINCE: &str = "If-Unmodified-Since";
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
