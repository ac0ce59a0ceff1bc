//! From the path of a request to an entry of the table; pure.
//!
//! A path is split at its slashes first and percent-decoded after, once: an encoded slash never separates, and `..`
//! is a name like any other, which no entry has. Composer asks for `include/all$…` with `%24`
//! (`ComposerRepository::fetchFile`). Empty segments are left out, since a base URL that ends in a slash makes
//! clients ask for `//packages.json`. The Host header is not looked at.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::site::{Entry, Repository, Site};

/// What a path leads to.
pub(super) enum Route<'s> {
    /// An entry, and its path below the base.
    Found(&'s Entry, &'s str),
    /// The base of a repository without its last slash: where to go instead, relative to the request.
    MissingSlash(String),
    /// Below a repository that has no snapshot yet.
    Unpublished,
    NotFound,
}

/// All but the unreserved characters (RFC 3986 section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Looks `path`, still encoded, up in `site`; the repository with the longest base decides.
pub(super) fn route<'s>(site: &'s Site, path: &str) -> Route<'s> {
    if let Some((path, entry)) = named(site, path) {
        return Route::Found(entry, path);
    }
    let Some(path) = decode(path) else {
        return Route::NotFound;
    };
    for repository in &site.repositories {
        if let Some(rest) = path.strip_prefix(&*repository.base) {
            return find(repository, rest);
        }
        if repository.base.strip_suffix('/') == Some(&*path) {
            return missing_slash(&path);
        }
    }
    Route::NotFound
}

/// The entry with the name that a path is, undecoded: most are one, and one that says what it means leads nowhere else.
fn named<'s>(site: &'s Site, path: &str) -> Option<(&'s str, &'s Entry)> {
    let mut plain = site.repositories.iter().filter(|repository| repository.is_plain);
    plain.find_map(|repository| {
        let rest = path.strip_prefix(&*repository.base)?;
        let (path, entry) = repository.entries.get_key_value(rest)?;
        Some((&**path, entry))
    })
}

impl Site {
    /// The file name of the URL that the path of a request leads to, if it leads to one.
    pub fn file_name(&self, path: &str) -> Option<&str> {
        match route(self, path) {
            Route::Found(_, path) => Some(file_name(path)),
            _ => None,
        }
    }
}

pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn find<'s>(repository: &'s Repository, rest: &str) -> Route<'s> {
    let found = if rest.is_empty() || rest.ends_with('/') {
        repository
            .entries
            .get_key_value(format!("{rest}index.html").as_str())
    } else {
        repository.entries.get_key_value(rest)
    };
    match found {
        Some((path, entry)) => Route::Found(entry, path),
        None if repository.is_published() => Route::NotFound,
        None => Route::Unpublished,
    }
}

/// A relative answer is right behind any proxy and cannot lead to another host.
fn missing_slash<'s>(path: &str) -> Route<'s> {
    let last = utf8_percent_encode(file_name(path), RESERVED);
    Route::MissingSlash(format!("./{last}/"))
}

/// The decoded path, or nothing where no entry can have this name.
pub(super) fn decode(path: &str) -> Option<Cow<'_, str>> {
    if !path.starts_with('/') {
        return None;
    }
    if is_plain(path) {
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

/// Whether a path says what it means: without escapes and empty segments.
pub(super) fn is_plain(path: &str) -> bool {
    let mut before = 0;
    for &byte in path.as_bytes() {
        if byte == b'%' || byte == b'/' && before == b'/' {
            return false;
        }
        before = byte;
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
