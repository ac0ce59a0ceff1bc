//! Finds the entry of the site for the path of a request. The Host header does not matter.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::site::{Entry, ServedRepository, Site};
use super::url_path::{decode, file_name};

/// What a path leads to.
pub(super) enum Route<'s> {
    /// An entry, and its path below the base.
    Found(&'s Entry, &'s str),
    /// The base of a repository without its last slash: the relative URL to redirect to.
    MissingSlash(String),
    /// Below a repository that has no snapshot yet.
    Unpublished,
    /// A withdrawn archive, with the text of the response.
    Gone(&'s str),
    NotFound,
}

/// All but the unreserved characters (RFC 3986 section 2.3).
pub(super) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Looks up `path`, still encoded; the repository with the longest base decides.
pub(super) fn route<'s>(site: &'s Site, path: &str) -> Route<'s> {
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

impl Site {
    /// Whether there is something at the path of a URL, still encoded.
    pub fn answers(&self, path: &str) -> bool {
        matches!(route(self, path), Route::Found(..))
    }
}

fn find<'s>(repository: &'s ServedRepository, rest: &str) -> Route<'s> {
    let found = if rest.is_empty() || rest.ends_with('/') {
        repository.entries.get_key_value(format!("{rest}index.html").as_str())
    } else {
        repository.entries.get_key_value(rest)
    };
    match found {
        Some((path, entry)) => Route::Found(entry, path),
        None if repository.is_published() => match repository.gone.get(rest) {
            Some(text) => Route::Gone(text),
            None => Route::NotFound,
        },
        None => Route::Unpublished,
    }
}

/// A relative URL is right behind any proxy, and cannot lead to another host.
fn missing_slash<'s>(path: &str) -> Route<'s> {
    let last = utf8_percent_encode(file_name(path), RESERVED);
    Route::MissingSlash(format!("./{last}/"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::server::content_kind::ContentKind;
    use crate::server::site::{RepositorySite, Resource};
    use crate::util::digest::Sha256;

    /// Archives of different sizes.
    fn repository(base: &str, archives: &[(&str, u64)]) -> RepositorySite {
        let archives = archives.iter().map(|(path, size)| Resource {
            path: (*path).to_owned(),
            location: PathBuf::from("/nowhere").into(),
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
            gone: Vec::new(),
        }
    }

    #[test]
    fn longest_base_decides_however_path_is_encoded() {
        let site = Site::new([
            repository("/", &[("a.zip", 1), ("sub", 2), ("page/a.zip", 3), ("sub/b.zip", 4)]),
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
                Route::Found(entry, _) => Some(entry.identity.size()),
                _ => None,
            };
            assert_eq!(found, size, "{path}");
        }
    }

    #[test]
    fn reused_repository_keeps_its_names() {
        let previous = Site::new([repository("/", &[("a%24b.zip", 1)])]).unwrap();
        let unchanged = RepositorySite {
            name: "/".to_owned(),
            base_path: "/".to_owned(),
            resources: None,
            gone: Vec::new(),
        };
        let mut site = Site::new([unchanged]).unwrap();
        site.reuse_from(&previous);
        for (path, is_there) in [("/a%2524b.zip", true), ("/a%24b.zip", false)] {
            assert_eq!(site.answers(path), is_there, "{path}");
        }
    }
}
