//! Reads text files that people write: UTF-8, with or without the byte order mark that editors on Windows add.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use unicode_bom::Bom;

/// An encoding other than plain UTF-8, recognized by the first bytes of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnusualEncoding {
    #[error("it begins with the byte order mark of {0}")]
    Marked(Bom),
    #[error("it is in {0}, without a byte order mark")]
    Unmarked(Bom),
}

impl UnusualEncoding {
    /// The encoding of a text; `None` if it may be plain UTF-8. Only the marks of Unicode encodings count: others could be text.
    pub fn of(text: &[u8]) -> Option<Self> {
        match Bom::from(text) {
            mark @ (Bom::Utf8 | Bom::Utf16Be | Bom::Utf16Le | Bom::Utf32Be | Bom::Utf32Le) => {
                Some(Self::Marked(mark))
            }
            _ => match text {
                // All files that are read here begin with an ASCII character.
                [0, second, ..] if *second != 0 => Some(Self::Unmarked(Bom::Utf16Be)),
                [first, 0, ..] if *first != 0 => Some(Self::Unmarked(Bom::Utf16Le)),
                _ => None,
            },
        }
    }
}

/// Reads a file, without the byte order mark of UTF-8.
///
/// # Errors
/// It cannot be read, or is in UTF-16 or UTF-32.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = fs::read(path)?;
    match UnusualEncoding::of(&bytes) {
        None => Ok(bytes),
        Some(UnusualEncoding::Marked(mark @ Bom::Utf8)) => Ok(bytes.split_off(mark.len())),
        Some(other) => Err(invalid(&other.to_string())),
    }
}

/// The same for a file that must be in UTF-8.
pub(crate) fn read_to_string(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|_| invalid("it is not in UTF-8"))
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("{reason}\nhint: save it in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_follows_from_the_first_bytes() {
        for (bytes, encoding) in [
            (&b""[..], ""),
            (b"a", ""),
            (b"{}", ""),
            (b"\xc3\xa4", ""),
            // The mark of UTF-7 is also the beginning of a token in base64.
            (b"+/v8", ""),
            (b"\xef\xbb\xbf", "it begins with the byte order mark of UTF-8"),
            (b"\xff\xfe{\0", "it begins with the byte order mark of UTF-16 (little-endian)"),
            (b"\xfe\xff\0{", "it begins with the byte order mark of UTF-16 (big-endian)"),
            (b"\xff\xfe\0\0{\0\0\0", "it begins with the byte order mark of UTF-32 (little-endian)"),
            (b"{\0}\0", "it is in UTF-16 (little-endian), without a byte order mark"),
            (b"\0{\0}", "it is in UTF-16 (big-endian), without a byte order mark"),
        ] {
            let found = UnusualEncoding::of(bytes).map(|found| found.to_string()).unwrap_or_default();
            assert_eq!(found, encoding, "{bytes:?}");
        }
    }
}
