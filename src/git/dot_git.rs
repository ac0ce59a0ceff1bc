//! The names that some file systems treat as `.git`.
//!
//! git refuses them in trees (`is_ntfs_dotgit` and `is_hfs_dotgit` of git's path.c and utf8.c, `core.protectNTFS`,
//! `core.protectHFS`), but servers and archives may come from other programs.

/// Code points that HFS+ ignores when it compares names.
const IGNORED_BY_HFS: [std::ops::RangeInclusive<char>; 4] =
    ['\u{200c}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{206a}'..='\u{206f}', '\u{feff}'..='\u{feff}'];

/// Whether a component of a path is `.git` on some file system: in upper or lower case, with code points that HFS+ ignores, as
/// its short name on NTFS, with trailing spaces or dots, or followed by the name of an NTFS stream.
pub fn is_dot_git(component: &str) -> bool {
    let is_ignored = |c: &char| IGNORED_BY_HFS.iter().any(|range| range.contains(c));
    let name: String = component.chars().filter(|c| !is_ignored(c)).collect();
    let file = name.split([':', '\\']).next().unwrap_or_default().trim_end_matches([' ', '.']);
    file.eq_ignore_ascii_case(".git") || file.eq_ignore_ascii_case("git~1")
}

#[cfg(test)]
mod tests {
    use super::is_dot_git;

    #[test]
    fn spellings_of_ntfs_and_hfs_are_recognized() {
        for name in [
            ".git",
            ".GiT",
            "git~1",
            "GIT~1",
            ".git ",
            ".git. .",
            "git~1.",
            ".git::$INDEX_ALLOCATION",
            ".git :x",
            ".git\\config",
            ".g\u{200c}it",
            "\u{feff}.git",
            ".gi\u{206f}T",
        ] {
            assert!(is_dot_git(name), "{name:?}");
        }
        for name in [".gitignore", ".github", "git", "git~2", "git~10", ". git", "..git", ".git_", "x.git"] {
            assert!(!is_dot_git(name), "{name:?}");
        }
    }
}
