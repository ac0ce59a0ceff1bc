//! Reading request headers by the rules that several of them share (RFC 9110 section 5).

use hyper::header::{AsHeaderName, HeaderMap, HeaderValue};

/// The value of a header that is present exactly once.
pub(super) fn single(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Like [`single`], if the value is visible ASCII.
pub(super) fn single_text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    single(headers, name)?.to_str().ok()
}

/// The members of a list, however many lines it takes (RFC 9110 section 5.3).
pub(super) fn list(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use hyper::header::{CONNECTION, HOST, RANGE};

    use super::*;

    #[test]
    fn headers_are_single_or_lists() {
        let mut headers = HeaderMap::new();
        headers.append(HOST, HeaderValue::from_static("x"));
        headers.append(CONNECTION, HeaderValue::from_static("a, b"));
        headers.append(CONNECTION, HeaderValue::from_static("c"));
        headers.append(RANGE, HeaderValue::from_bytes(b"\xe4").unwrap());
        assert_eq!(single_text(&headers, HOST), Some("x"));
        assert_eq!(single_text(&headers, CONNECTION), None);
        assert_eq!(list(&headers, CONNECTION).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(single(&headers, RANGE).is_some());
        assert_eq!(single_text(&headers, RANGE), None);
    }
}
