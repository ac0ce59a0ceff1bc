//! Chooses the content coding of a response by `Accept-Encoding` (RFC 9110 section 12.5.3); pure.
//!
//! The client's weights decide, and among equal ones the smaller variant. Without the header, or if no accepted coding exists,
//! the published bytes are sent unencoded: a usable response is better than 406.

use hyper::header::{ACCEPT_ENCODING, HeaderMap};

use super::header_fields::list;
use super::site::{Entry, Representation};
use crate::util::compression::Coding;

/// The best representation of `entry` for the client, and its coding; `None` for the published bytes.
pub(super) fn select<'e>(entry: &'e Entry, headers: &HeaderMap) -> (Option<Coding>, &'e Representation) {
    if !headers.contains_key(ACCEPT_ENCODING) {
        return (None, &entry.identity);
    }
    let accepted = AcceptEncoding::parse(headers);
    let best = entry
        .variants
        .iter()
        .map(|(coding, variant)| (accepted.weight(coding.name()), *coding, variant))
        .filter(|(weight, ..)| *weight > accepted.identity)
        .max_by_key(|(weight, _, variant)| (*weight, std::cmp::Reverse(variant.size())));
    match best {
        Some((_, coding, variant)) => (Some(coding), variant),
        None => (None, &entry.identity),
    }
}

/// Weights in thousandths, by coding.
struct AcceptEncoding<'h> {
    listed: Vec<(&'h str, u16)>,
    any: u16,
    /// The weight that a coding must exceed. Zero unless the client lists `identity`: a client that lists codings wants one.
    identity: u16,
}

impl<'h> AcceptEncoding<'h> {
    fn parse(headers: &'h HeaderMap) -> Self {
        let mut accepted = Self { listed: Vec::new(), any: 0, identity: 0 };
        for item in list(headers, ACCEPT_ENCODING) {
            let mut parts = item.split(';');
            let (name, weight) = (parts.next().unwrap_or_default().trim(), weight(parts));
            match name {
                "*" => accepted.any = weight,
                // Equal weights go to the coding.
                _ if name.eq_ignore_ascii_case("identity") => accepted.identity = weight.saturating_sub(1),
                _ => accepted.listed.push((name, weight)),
            }
        }
        accepted
    }

    /// `x-gzip` is `gzip` (RFC 9110 section 8.4.1.3).
    fn weight(&self, coding: &str) -> u16 {
        let is = |name: &str| {
            name.eq_ignore_ascii_case(coding) || coding == "gzip" && name.eq_ignore_ascii_case("x-gzip")
        };
        self.listed.iter().find_map(|(name, weight)| is(name).then_some(*weight)).unwrap_or(self.any)
    }
}

/// `q` (RFC 9110 section 12.4.2) in thousandths. An invalid weight counts as 0, which excludes the coding.
fn weight<'p>(mut parameters: impl Iterator<Item = &'p str>) -> u16 {
    let Some(q) = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
    }) else {
        return 1000;
    };
    let (whole, decimals) = q.split_once('.').unwrap_or((q, ""));
    let is_valid =
        matches!(whole, "0" | "1") && decimals.len() <= 3 && decimals.bytes().all(|b| b.is_ascii_digit());
    match format!("{whole}{decimals:0<3}").parse() {
        Ok(thousandths @ 0..=1000) if is_valid => thousandths,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn weights_are_thousandths() {
        for (parameters, expected) in [
            ("", 1000),
            ("q=1", 1000),
            ("Q = 0.5", 500),
            ("q=1.000", 1000),
            ("q=0.001", 1),
            ("q=0", 0),
            ("q=0.", 0),
            ("x=1;q=0.25", 250),
            ("x=1", 1000),
            ("q=2", 0),
            ("q=1.001", 0),
            ("q=-1", 0),
            ("q=0.1234", 0),
            ("q=", 0),
            ("q=.5", 0),
            ("q=a", 0),
        ] {
            assert_eq!(weight(parameters.split(';')), expected, "{parameters}");
        }
    }

    #[test]
    fn codings_are_weighed() {
        for (header, gzip, br, floor) in [
            ("gzip", 1000, 0, 0),
            ("GZIP, Br;q=0.5", 1000, 500, 0),
            ("x-gzip", 1000, 0, 0),
            ("*", 1000, 1000, 0),
            ("*;q=0.1, br;q=0", 100, 0, 0),
            ("identity", 0, 0, 999),
            ("identity;q=0.5, gzip", 1000, 0, 499),
            ("identity;q=0, *;q=0", 0, 0, 0),
            ("", 0, 0, 0),
            (",, ;q=1, gzip ; q=0.3 ,", 300, 0, 0),
        ] {
            let value = HeaderValue::from_static(header);
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, value)]);
            let accepted = AcceptEncoding::parse(&headers);
            let found = (accepted.weight("gzip"), accepted.weight("br"), accepted.identity);
            assert_eq!(found, (gzip, br, floor), "{header}");
        }
    }
}
