//! Rejects file names that cannot be installed on every system.

use std::collections::HashSet;

use anyhow::bail;

/// Rejects paths with a control character or a backslash, which is a separator on Windows, and paths that are the same file,
/// or a file and a folder, on a case-insensitive file system.
pub(super) fn check<'a>(paths: impl Iterator<Item = &'a str>) -> anyhow::Result<()> {
    let (mut files, mut folders) = (HashSet::new(), HashSet::new());
    for path in paths {
        if path.contains(|c: char| c.is_control() || c == '\\') {
            bail!(
                "its file name `{}` is unusable: it has a control character or a backslash",
                path.escape_debug()
            );
        }
        let folded = path.to_lowercase();
        let mut parent = folded.as_str();
        while let Some((folder, _)) = parent.rsplit_once('/') {
            if !folders.contains(folder) {
                folders.insert(folder.to_owned());
            }
            parent = folder;
        }
        if !files.insert(folded) {
            bail!("two of its file names differ only in upper and lower case: `{path}`");
        }
    }
    if let Some(both) = files.intersection(&folders).next() {
        bail!("`{both}` is both a file and a folder on a case-insensitive file system");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn colliding_and_unportable_names_are_rejected() {
        let error = |paths: &[&str]| check(paths.iter().copied()).unwrap_err().to_string();
        assert!(error(&["a/b.php", "A/B.php"]).contains("only in upper and lower case: `A/B.php`"));
        assert!(error(&["lib", "Lib/x"]).contains("both a file and a folder"));
        assert!(error(&["a\nb"]).contains(r"`a\nb` is unusable"));
        assert!(error(&["..\\x"]).contains("unusable"));
        check(["a/b", "a/c", "ab", "Ä/x"].into_iter()).unwrap();
    }
}
