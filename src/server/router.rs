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

/// The entry whose name a path is as it stands, as most are: where all names are plain, it cannot lead anywhere else.
fn named<'s>(site: &'s Site, path: &str) -> Option<(&'s str, &'s Entry)> {
    let mut repositories = site.repositories.iter();
    let repository = repositories.find(|repository| is_below(&repository.base, path))?;
    let rest = path.strip_prefix(&*repository.base)?;
    let (path, entry) = repository.entries.get_key_value(rest)?;
    repository.is_plain.then_some((path, entry))
}

/// Whether a path belongs to the repository at a base; also the base without its last slash does.
pub(super) fn is_below(base: &str, path: &str) -> bool {
    path.starts_with(base) || base.strip_suffix('/') == Some(path)
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
    use crate::server::content_kind::ContentKind;
    use crate::server::site::{RepositorySite, Resource};
    use crate::util::digest::Sha256;

    /// Archives, each of a size of its own.
    fn repository(base: &str, archives: &[(&str, u64)]) -> RepositorySite {
        let archives = archives.iter().map(|(path, size)| Resource {
            path: (*path).to_owned(),
            file: "/nowhere".into(),
            size: *size,
            sha256: Sha256::digest(b""),
            last_modified: 0,
            kind: ContentKind::Archive,
            variants: Vec::new(),
        });
        RepositorySite {
            name: base.to_owned(),
            base_path: base.to_owned(),
            resources: Some(archives.collect()),
        }
    }

    #[test]
    fn a_path_leads_to_what_the_longest_base_has_however_it_is_spelled() {
        let site = Site::new([
            repository(
                "/",
                &[("a.zip", 1), ("sub", 2), ("page/a.zip", 3), ("sub/b.zip", 4)],
            ),
            repository("/sub/", &[("a.zip", 5)]),
            repository("/page/", &[("100%.zip", 6), ("a%24b.zip", 7), ("c$d.zip", 8)]),
        ])
        .unwrap();
        for (path, size) in [
            ("/a.zip", Some(1)),
            ("//a.zip", Some(1)),
            ("/%61.zip", Some(1)),
            ("/sub", None),
            ("/sub/", None),
            ("/sub/a.zip", Some(5)),
            ("/%73ub/a.zip", Some(5)),
            ("/sub//a.zip", Some(5)),
            ("/sub/b.zip", None),
            ("/sub%2Fb.zip", None),
            ("/page/a.zip", None),
            ("/page/100%.zip", Some(6)),
            ("/page/100%25.zip", Some(6)),
            ("/page/a%24b.zip", None),
            ("/page/a%2524b.zip", Some(7)),
            ("/page/c$d.zip", Some(8)),
            ("/page/c%24d.zip", Some(8)),
            ("a.zip", None),
        ] {
            let found = match route(&site, path) {
                Route::Found(entry, _) => Some(entry.identity.size),
                _ => None,
            };
            assert_eq!(found, size, "{path}");
        }
    }

    #[test]
    fn names_that_were_published_before_are_spelled_as_before() {
        let before = Site::new([repository("/", &[("a%24b.zip", 1)])]).unwrap();
        let mut site = Site::new([RepositorySite {
            name: "/".to_owned(),
            base_path: "/".to_owned(),
            resources: None,
        }])
        .unwrap();
        site.take_over(&before);
        for (path, is_there) in [("/a%2524b.zip", true), ("/a%24b.zip", false)] {
            assert_eq!(site.answers(path), is_there, "{path}");
        }
    }

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
