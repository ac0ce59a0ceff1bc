//! `Range` (RFC 9110 section 14), one range at a time; pure.
//!
//! A request for several ranges gets the whole file, which a server may always send, and no package manager asks for several.
//! `conditional` handles `If-Range`.

use std::ops::Range;

use hyper::header::{HeaderMap, RANGE};

use super::header_fields::single_text;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// Never empty.
    Bytes(Range<u64>),
    Unsatisfiable,
}

/// The requested part of `size` bytes; an invalid header is ignored.
pub(super) fn part(headers: &HeaderMap, size: u64) -> Part {
    let part = single_text(headers, RANGE).and_then(|value| parse(value, size));
    part.unwrap_or(Part::Whole)
}

fn parse(value: &str, size: u64) -> Option<Part> {
    let (unit, range) = value.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let range = match (first, last) {
        ("", length) => size.saturating_sub(number(length)?)..size,
        (first, "") => number(first)?..size,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(size)
        }
    };
    Some(if range.is_empty() { Part::Unsatisfiable } else { Part::Bytes(range) })
}

/// Digits only; a number beyond `u64` counts as its maximum.
fn number(digits: &str) -> Option<u64> {
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ten_bytes() {
        let huge = "99999999999999999999999";
        for (value, expected) in [
            ("bytes=0-0", Some(Part::Bytes(0..1))),
            ("bytes=2-5", Some(Part::Bytes(2..6))),
            ("Bytes=2-", Some(Part::Bytes(2..10))),
            ("bytes=-3", Some(Part::Bytes(7..10))),
            ("bytes=-30", Some(Part::Bytes(0..10))),
            ("bytes=9-99", Some(Part::Bytes(9..10))),
            (&format!("bytes=0-{huge}"), Some(Part::Bytes(0..10))),
            ("bytes=10-", Some(Part::Unsatisfiable)),
            ("bytes=10-12", Some(Part::Unsatisfiable)),
            ("bytes=-0", Some(Part::Unsatisfiable)),
            (&format!("bytes={huge}-"), Some(Part::Unsatisfiable)),
            ("bytes=5-2", None),
            ("bytes=0-1,4-5", None),
            ("bytes=", None),
            ("bytes=-", None),
            ("bytes=+1-2", None),
            ("lines=0-1", None),
            ("0-1", None),
        ] {
            assert_eq!(parse(value, 10), expected, "{value}");
        }
        assert_eq!(parse("bytes=0-", 0), Some(Part::Unsatisfiable));
    }
}
