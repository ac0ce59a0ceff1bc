//! Hints for a text that is not YAML: the usual mistakes of people who rarely write it.

use super::Location;

/// Characters that cannot begin a plain value, because they have a meaning of their own.
const INDICATORS: &str = "*&@`%!|>";

/// What to do about the line that could not be read; `message` is the parser's.
pub(super) fn hint(text: &str, at: Location, message: &str) -> Option<String> {
    line_hint(text, at).or_else(|| {
        let is_indentation =
            ["'-' indicator", "expected key", "block", "indent"].iter().any(|word| message.contains(word));
        is_indentation.then(|| {
            "check the indentation: the entries of one list or mapping begin in the same column".into()
        })
    })
}

fn line_hint(text: &str, at: Location) -> Option<String> {
    let line = text.lines().nth(usize::try_from(at.line).ok()?.checked_sub(1)?)?;
    let indent = line.len() - line.trim_start().len();
    if line[..indent].contains('\t') {
        return Some("indent with spaces instead of tabs".into());
    }
    let entry = line.trim_start().trim_start_matches("- ");
    let (key, value) = match entry.split_once(':') {
        Some((key, value)) if is_word(key) => (key, value),
        _ => return quoted_at(line, at),
    };
    if !value.is_empty() && !value.starts_with(' ') {
        return Some(format!("put a space after the colon: `{key}: {value}`"));
    }
    let value = value.trim();
    if value.starts_with(|c| INDICATORS.contains(c))
        || (value.contains(": ") && !value.starts_with(['{', '[', '"', '\'']))
    {
        let value = value.replace('\'', "''");
        return Some(format!("put the value in quotes: `{key}: '{value}'`"));
    }
    quoted_at(line, at)
}

/// Inside of `{…}` and `[…]` only the character at the place shows what is wrong.
fn quoted_at(line: &str, at: Location) -> Option<String> {
    let column = usize::try_from(at.column).ok()?;
    // An alias begins one character before its name, which is what is missing.
    let near = [column.checked_sub(1)?, column.saturating_sub(2)];
    let character =
        near.into_iter().find_map(|at| line.chars().nth(at).filter(|c| INDICATORS.contains(*c)))?;
    Some(format!("put the value in quotes: `{character}` at its beginning means something else"))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hint_follows_from_the_line() {
        let hint = |line: &str, column| {
            line_hint(&format!("a: 1\n{line}\n"), Location { line: 2, column }).unwrap_or_default()
        };
        assert_eq!(hint("  schedule: */5 * * * *", 13), "put the value in quotes: `schedule: '*/5 * * * *'`");
        assert_eq!(hint("  - name: it's: so", 9), "put the value in quotes: `name: 'it''s: so'`");
        assert_eq!(hint("  recipe:magento", 3), "put a space after the colon: `recipe: magento`");
        assert_eq!(hint("\t- name: a", 2), "indent with spaces instead of tabs");
        assert_eq!(
            hint("  - {name: a, schedule: * * * * *}", 28),
            "put the value in quotes: `*` at its beginning means something else"
        );
        assert_eq!(hint("  - {name: a", 3), "");
        assert_eq!(hint("  url: http://a/", 3), "");
    }
}
