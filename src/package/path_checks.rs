//! Rejects file names that cannot be installed on every system, and finds those that some systems cannot store.

use std::collections::HashSet;

use anyhow::{bail, ensure};

use crate::composer::{PackageName, Version};
use crate::git::is_dot_git;
use crate::util::text::shortened;

/// Names of devices on Windows, whatever their extension.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// The most characters of a path that a message shows.
const MAX_SHOWN: usize = 200;

/// The most bytes that common file systems take for one name.
const MAX_NAME: usize = 255;

/// Rejects paths that are absolute or lead out of their folder, `.git` in any spelling, control characters and backslashes,
/// which separate folders on Windows, and paths that are the same file, or a file and a folder, on a case-insensitive file
/// system. A path with a slash at its end is a folder.
pub(super) fn check<'a>(paths: impl Iterator<Item = &'a str>) -> anyhow::Result<()> {
    let (mut files, mut folders) = (HashSet::new(), HashSet::new());
    for path in paths {
        if path.contains(|c: char| c.is_control() || c == '\\') {
            bail!("its file name `{}` is unusable: it has a control character or a backslash", shown(path));
        }
        let (path, is_folder) = match path.strip_suffix('/') {
            Some(folder) => (folder, true),
            None => (path, false),
        };
        check_components(path)?;
        let folded = path.to_lowercase();
        let mut parent = folded.as_str();
        while let Some((folder, _)) = parent.rsplit_once('/')
            && !folders.contains(folder)
        {
            folders.insert(folder.to_owned());
            parent = folder;
        }
        if is_folder {
            folders.insert(folded);
        } else if !files.insert(folded) {
            bail!("two of its file names differ only in upper and lower case: `{}`", shown(path));
        }
    }
    if let Some(both) = files.intersection(&folders).next() {
        bail!("`{}` is both a file and a folder on a case-insensitive file system", shown(both));
    }
    Ok(())
}

fn check_components(path: &str) -> anyhow::Result<()> {
    let has_drive =
        path.as_bytes().get(1) == Some(&b':') && path.starts_with(|c: char| c.is_ascii_alphabetic());
    ensure!(!path.starts_with('/') && !has_drive, "its file name `{}` is absolute", shown(path));
    for component in path.split('/') {
        ensure!(
            !matches!(component, "" | "." | ".."),
            "its file name `{}` would leave the directory or has an empty part",
            shown(path)
        );
        ensure!(!is_dot_git(component), "its file name `{}` is `.git` on some file systems", shown(path));
    }
    Ok(())
}

/// The beginning of a path, for a message.
fn shown(path: &str) -> String {
    shortened(path, MAX_SHOWN).escape_debug().to_string()
}

/// Logs the paths that some systems cannot store.
pub(super) fn warn_of_unportable<'a>(
    package: &PackageName,
    version: &Version,
    paths: impl Iterator<Item = &'a str>,
) {
    let names = unportable(paths);
    if let Some(first) = names.first() {
        tracing::warn!(%package, %version, count = names.len(), "some systems cannot store its file `{}`", shown(first));
    }
}

/// The paths that some systems cannot store: names of devices, characters and ends that Windows reserves, long names.
pub(super) fn unportable<'a>(paths: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    paths.filter(|path| path.trim_end_matches('/').split('/').any(is_unportable)).collect()
}

fn is_unportable(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let is_port = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|n| n.len() == 1 && n.bytes().all(|n| n.is_ascii_digit()))
    };
    name.len() > MAX_NAME
        || name.ends_with([' ', '.'])
        || name.contains(['<', '>', ':', '"', '|', '?', '*'])
        || DEVICES.contains(&&*stem)
        || is_port("com")
        || is_port("lpt")
}

#[cfg(test)]
mod tests {
    use super::{check, unportable};

    #[test]
    fn colliding_and_unportable_names_are_rejected() {
        let error = |paths: &[&str]| check(paths.iter().copied()).unwrap_err().to_string();
        assert!(error(&["a/b.php", "A/B.php"]).contains("only in upper and lower case: `A/B.php`"));
        assert!(error(&["lib", "Lib/x"]).contains("both a file and a folder"));
        assert!(error(&["lib", "LIB/"]).contains("both a file and a folder"));
        assert!(error(&["a\nb"]).contains(r"`a\nb` is unusable"));
        assert!(error(&["..\\x"]).contains("unusable"));
        check(["a/", "a/b", "a/c", "ab", "Ä/x"].into_iter()).unwrap();
    }

    #[test]
    fn paths_out_of_the_folder_and_into_git_are_rejected() {
        let error = |path: &str| check([path].into_iter()).unwrap_err().to_string();
        for path in ["/etc/x", "c:x", "C:/x"] {
            assert!(error(path).contains("is absolute"), "{path}");
        }
        for path in ["../x", "a/../x", "a/./b", "a//b", "a/.."] {
            assert!(error(path).contains("would leave the directory"), "{path}");
        }
        for path in [".git/config", "a/.GIT /x", "git~1/x", "a/.g\u{200d}it/", ".git::$INDEX_ALLOCATION/x"] {
            assert!(error(path).contains("is `.git` on some file systems"), "{path}");
        }
        check([".gitignore", ".github/a", "ab:c", "..a", "a.."].into_iter()).unwrap();
    }

    #[test]
    fn names_that_some_systems_cannot_store_are_found() {
        let long = "x".repeat(256);
        let bad = ["a:b", "x/con", "AUX.php", "com1.txt", "a?", "end.", "end ", "d /x", &long];
        let good = ["console", "com10", "com", "a.b", "x/.hidden", "lpt"];
        assert_eq!(unportable(bad.into_iter().chain(good)), bad);
    }
}
