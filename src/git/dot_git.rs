//! The spellings of `.git` on file systems that read more than one name as it.
//!
//! git refuses them in trees (`is_ntfs_dotgit` and `is_hfs_dotgit` of git's path.c and utf8.c, `core.protectNTFS`,
//! `core.protectHFS`); a server or an archive need not be git's.

/// Code points that HFS+ leaves out when it compares names.
const IGNORED_BY_HFS: [std::ops::RangeInclusive<char>; 4] =
    ['\u{200c}'..='\u{200f}', '\u{202a}'..='\u{202e}', '\u{206a}'..='\u{206f}', '\u{feff}'..='\u{feff}'];

/// Whether a component of a path is `.git` on some file system: in any case, with code points that HFS+ ignores, by its
/// short name on NTFS, with spaces or dots at its end, or with the name of a stream after it.
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
