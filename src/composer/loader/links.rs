//! The links of a package: what it requires, replaces and so on.

use serde_json::Value;

use super::check::Check;
use crate::composer::constraint::is_valid_constraint;
use crate::composer::php::is_integer_key;

/// `BasePackage::$supportedLinkTypes`.
const KINDS: [&str; 5] = ["require", "conflict", "provide", "replace", "require-dev"];

pub(super) fn check(check: &mut Check<'_>) {
    for kind in KINDS {
        links(check, kind);
    }
    replaced_conflicts(check);
}

fn links(check: &mut Check<'_>, kind: &str) {
    let Some(links) = check.get(kind) else { return };
    let links = match links {
        Value::Object(links) => links,
        // PHP prints an empty map as `[]`.
        Value::Array(items) if items.is_empty() => return,
        _ => return check.reject(kind, "must be a map of packages to constraints"),
    };
    let text = |field| check.get(field).and_then(Value::as_str).unwrap_or_default();
    let (name, version) = (text("name"), text("version"));
    // `self.version` is replaced by the version as it is written.
    let is_readable = |text: &str| is_valid_constraint(if text == "self.version" { version } else { text });
    for (target, constraint) in links {
        let field = format!("{kind}.{target}");
        if is_integer_key(target) {
            check.reject(field, "is a number and not the name of a package");
        } else if target.eq_ignore_ascii_case(name) {
            check.reject(field, format!("a package cannot {kind} itself"));
        } else if !constraint.as_str().is_some_and(is_readable) {
            check.reject(field, format!("the constraint {constraint} cannot be read"));
        }
    }
}

/// A replaced package is in conflict anyway, so naming it again is an error.
fn replaced_conflicts(check: &mut Check<'_>) {
    let map = |kind| check.get(kind).and_then(Value::as_object);
    let (Some(conflict), Some(replace)) = (map("conflict"), map("replace")) else {
        return;
    };
    for target in conflict.keys().filter(|target| replace.contains_key(*target)) {
        check.reject(format!("conflict.{target}"), "is also replaced");
    }
}
