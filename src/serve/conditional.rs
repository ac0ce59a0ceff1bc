//! Conditional requests: whether the client has the current representation already (RFC 9110, section 13).
//!
//! If-None-Match counts before If-Modified-Since. A date must match exactly: Composer sends our own `Last-Modified` back
//! to the letter, and after a rollback an older date is news.

use hyper::HeaderMap;
use hyper::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};

/// Whether 304 is the answer.
pub fn not_modified(headers: &HeaderMap, etag: &str, last_modified: &str) -> bool {
    if headers.contains_key(IF_NONE_MATCH) {
        let tags = headers
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok());
        return tags.flat_map(|list| list.split(',')).map(str::trim).any(|tag| {
            // The weak comparison of section 8.8.3.2.
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
        });
    }
    headers
        .get(IF_MODIFIED_SINCE)
        .is_some_and(|date| date.as_bytes() == last_modified.as_bytes())
}
