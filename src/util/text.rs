//! Text that people read: messages, lists, counts.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with control characters escaped as in JSON, so that text from upstream cannot control a terminal, reorder a line or
/// add lines to a log. A line break stays only before `hint: ` and `note: ` of our own messages.
pub(crate) fn inert(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        let rest = &text[at + character.len_utf8()..];
        match character {
            '\n' if rest.starts_with("hint: ") || rest.starts_with("note: ") => plain.push('\n'),
            '\n' => plain.push_str("\\n"),
            _ => push_inert(&mut plain, character),
        }
    }
    plain
}

/// Like [`inert`], for text from upstream within a message: no line break stays.
pub(crate) fn quoted(text: &str) -> String {
    inert(text).replace('\n', "\\n")
}

/// Like [`inert`], for a text of several lines: all line breaks stay.
pub(crate) fn inert_lines(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => plain.push('\n'),
            _ => push_inert(&mut plain, character),
        }
    }
    plain
}

fn push_inert(plain: &mut String, character: char) {
    match character {
        '\t' => plain.push('\t'),
        _ if character.is_control() || moves_text(character) => {
            let _ = write!(plain, "\\u{:04x}", u32::from(character));
        }
        _ => plain.push(character),
    }
}

/// Unicode's line separators and the characters that change the direction of others.
fn moves_text(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text, or its beginning if it has more than `most` characters.
pub(crate) fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        None => text.into(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()).into(),
    }
}

/// The text without ` (os error 2)` and the like, which `io::Error` appends to the description.
pub(crate) fn without_error_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if number.parse::<u32>().is_ok() => plain.push_str(rest),
            _ => plain.extend([" (os error ", part]),
        }
    }
    plain
}

/// A count with its noun: `1 source`, `2 sources`.
pub(crate) fn plural(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// The first `most` of these names, and how many more there are.
pub(crate) fn first_of(names: &[impl AsRef<str>], most: usize) -> String {
    let named = names.iter().take(most).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(most) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        let text = "a\u{1b}[31m\r\u{7}\u{7f}\u{9b}\u{202e}\tä\nforged\nhint: b";
        let escaped = "a\\u001b[31m\\u000d\\u0007\\u007f\\u009b\\u202e\tä";
        assert_eq!(inert(text), format!("{escaped}\\nforged\nhint: b"));
        assert_eq!(quoted(text), format!("{escaped}\\nforged\\nhint: b"));
        assert_eq!(inert_lines(text), format!("{escaped}\nforged\nhint: b"));
    }

    #[test]
    fn long_texts_keep_their_beginning() {
        assert_eq!(shortened("äb", 2), "äb");
        assert_eq!(shortened("äbc", 2), "äb… (4 bytes)");
        assert_eq!(shortened("", 0), "");
    }

    #[test]
    fn error_numbers_are_removed() {
        for (text, plain) in [
            ("`a`: No such file or directory (os error 2)", "`a`: No such file or directory"),
            ("a (os error 2): b (os error 13)\nhint: c", "a: b\nhint: c"),
            ("a (os error x) b", "a (os error x) b"),
            ("", ""),
        ] {
            assert_eq!(without_error_numbers(text), plain);
        }
    }
}
