//! `${NAME}` in a string is replaced by the environment variable; `$${` stands for a literal `${`.
//!
//! An unset variable is a mistake, never an empty string.

use super::Issue;

/// Looks an environment variable up by its name.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The text with its references replaced, and whether there was one.
pub(super) fn expand(text: &str, environment: Environment<'_>) -> Result<(String, bool), Issue> {
    let mut expanded = String::with_capacity(text.len());
    let mut has_reference = false;
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, reference) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = &reference[2..];
            continue;
        }
        let (name, after) = split_reference(reference)?;
        expanded.push_str(before);
        expanded.push_str(&environment(name).ok_or_else(|| unset(name))?);
        has_reference = true;
        rest = after;
    }
    expanded.push_str(rest);
    Ok((expanded, has_reference))
}

/// Splits `${NAME}rest` into the name and the rest. Names as in POSIX, section 8.1.
fn split_reference(reference: &str) -> Result<(&str, &str), Issue> {
    let (name, after) = reference[2..].split_once('}').unwrap_or(("", ""));
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if name.is_empty() || !is_name || name.as_bytes()[0].is_ascii_digit() {
        let issue = Issue::new("expected the name of an environment variable in `${…}`");
        return Err(issue.hint("write `$${` for a literal `${`"));
    }
    Ok((name, after))
}

fn unset(name: &str) -> Issue {
    Issue::new(format!("the environment variable `{name}` is not set"))
        .hint("set it, or write `$${` for a literal `${`")
}
