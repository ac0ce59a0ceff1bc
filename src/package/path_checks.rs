//! Names that a package cannot have on every machine that it is installed on.

use std::collections::HashSet;

use anyhow::bail;

/// Checks the paths of a package's files.
///
/// # Errors
/// A path with a control character or a backslash, which is a separator elsewhere; two paths that are the same file, or a
/// file and a folder, where upper and lower case are not told apart.
pub fn check<'a>(paths: impl Iterator<Item = &'a str>) -> anyhow::Result<()> {
    let (mut files, mut folders) = (HashSet::new(), HashSet::new());
    for path in paths {
        if path.contains(|c: char| c.is_control() || c == '\\') {
            bail!("the name of its file `{}` is unusable", path.escape_debug());
        }
        let folded = path.to_lowercase();
        let mut above = folded.as_str();
        while let Some((folder, _)) = above.rsplit_once('/') {
            if !folders.contains(folder) {
                folders.insert(folder.to_owned());
            }
            above = folder;
        }
        if !files.insert(folded) {
            bail!("two of its files differ only in upper and lower case: `{path}`");
        }
    }
    if let Some(both) = files.intersection(&folders).next() {
        bail!("`{both}` is a file and a folder, but for upper and lower case");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn names_that_collide_or_cannot_be_written_are_refused() {
        let said = |paths: &[&str]| check(paths.iter().copied()).unwrap_err().to_string();
        assert!(said(&["a/b.php", "A/B.php"]).contains("upper and lower case: `A/B.php`"));
        assert!(said(&["lib", "Lib/x"]).contains("a file and a folder"));
        assert!(said(&["a\nb"]).contains(r"`a\nb` is unusable"));
        assert!(said(&["..\\x"]).contains("unusable"));
        check(["a/b", "a/c", "ab", "Ä/x"].into_iter()).unwrap();
    }
}
