//! Decoding of URL paths.
//!
//! A path is split at its slashes first, then each segment is percent-decoded once: an encoded slash does not separate, and `..`
//! is a name like any other, which no entry has. Composer requests `include/all$…` with `%24` (`ComposerRepository::fetchFile`),
//! and `//packages.json` if a base URL ends in a slash.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Whether a decoded path belongs to the repository at `base`; the base without its last slash does, too.
pub(super) fn is_below(base: &str, path: &str) -> bool {
    path.starts_with(base) || base.strip_suffix('/') == Some(path)
}

pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The decoded path without empty segments, or `None` if no entry can have this name.
pub(super) fn decode(path: &str) -> Option<Cow<'_, str>> {
    if !path.starts_with('/') {
        return None;
    }
    if is_canonical(path) {
        return Some(path.into());
    }
    let mut decoded = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        let segment = percent_decode_str(segment).decode_utf8().ok()?;
        if segment.contains('/') {
            return None;
        }
        decoded.push('/');
        decoded.push_str(&segment);
    }
    if path.ends_with('/') {
        decoded.push('/');
    }
    Some(decoded.into())
}

/// Whether decoding changes nothing: there are no escapes and no empty segments.
fn is_canonical(path: &str) -> bool {
    let mut previous = 0;
    for &byte in path.as_bytes() {
        if byte == b'%' || byte == b'/' && previous == b'/' {
            return false;
        }
        previous = byte;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_before_they_are_decoded() {
        for (path, decoded) in [
            ("/", Some("/")),
            ("///", Some("/")),
            ("/packages.json", Some("/packages.json")),
            ("//mirror///packages.json", Some("/mirror/packages.json")),
            ("/mirror/", Some("/mirror/")),
            ("/include/all%24ab.json", Some("/include/all$ab.json")),
            ("/a%2524b", Some("/a%24b")),
            ("/a%zz", Some("/a%zz")),
            ("/../x", Some("/../x")),
            ("/%2e%2e/x", Some("/../x")),
            ("/a%2Fb", None),
            ("/%2F", None),
            ("/%c0%af", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(decode(path).as_deref(), decoded, "{path}");
        }
    }
}
