//! `${NAME}` in a string value is replaced by the environment variable; `$${` stands for a literal `${`.
//!
//! What came from the environment may be a password: the node remembers it, and no message prints its value. An
//! unset variable is a mistake, never an empty string.

use super::node::{Kind, Node};
use super::{Environment, Issue, Path};

/// A reference that cannot be expanded.
type Refused = (Path, Issue);

/// Expands every string below `node`, and returns what could not be.
pub(super) fn expand(node: &mut Node, lookup: Environment<'_>) -> Vec<Refused> {
    let mut refused = Vec::new();
    visit(node, &Path::default(), lookup, &mut refused);
    refused
}

fn visit(node: &mut Node, path: &Path, lookup: Environment<'_>, refused: &mut Vec<Refused>) {
    match &mut node.kind {
        Kind::List(nodes) => {
            for (index, node) in nodes.iter_mut().enumerate() {
                visit(node, &path.index(index), lookup, refused);
            }
        }
        Kind::Mapping(entries) => {
            for entry in entries {
                visit(&mut entry.value, &path.key(&entry.key), lookup, refused);
            }
        }
        Kind::String(text) if text.contains("${") => match expand_text(text, lookup) {
            Ok((value, from_environment)) => {
                node.written = Some(std::mem::replace(text, value));
                node.secret = from_environment;
            }
            Err(issue) => refused.push((path.clone(), issue)),
        },
        _ => {}
    }
}

/// The text with its references replaced, and whether there was one.
fn expand_text(text: &str, lookup: Environment<'_>) -> Result<(String, bool), Issue> {
    let mut expanded = String::with_capacity(text.len());
    let mut from_environment = false;
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
        expanded.push_str(&lookup(name).ok_or_else(|| unset(name))?);
        from_environment = true;
        rest = after;
    }
    expanded.push_str(rest);
    Ok((expanded, from_environment))
}

/// Splits `${NAME}rest` into the name and the rest. Names as in POSIX, section 8.1.
fn split_reference(reference: &str) -> Result<(&str, &str), Issue> {
    let (name, after) = reference[2..].split_once('}').unwrap_or(("", ""));
    let valid = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if name.is_empty() || !valid || name.as_bytes()[0].is_ascii_digit() {
        let issue = Issue::new("expected the name of an environment variable in `${…}`");
        return Err(issue.hint("write `$${` for the two characters themselves"));
    }
    Ok((name, after))
}

fn unset(name: &str) -> Issue {
    Issue::new(format!("the environment variable `{name}` is not set"))
        .hint("set it, or write `$${` for the two characters themselves")
}
