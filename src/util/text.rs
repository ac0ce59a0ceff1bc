//! Texts for people.

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
