//! The fields that Composer makes the autoloader of an installed package from.
//!
//! `ValidatingArrayLoader` looks at the kinds and at the namespaces only, but `AutoloadGenerator` dies of what is no path.

use serde_json::Value;

use super::check::Check;
use crate::composer::php::{is_array, is_integer_key, keys, to_list, trim, values};

/// The kinds of autoloading that `ValidatingArrayLoader` knows.
const KINDS: [&str; 5] = ["psr-0", "psr-4", "classmap", "files", "exclude-from-classmap"];

pub(super) fn check(check: &mut Check<'_>) {
    check.field("autoload-dev", is_array, "must be a map");
    check.field(
        "include-path",
        |value| is_array(value) && values(value).all(Value::is_string),
        "must be a list of strings",
    );
    match check.get("autoload") {
        None => {}
        Some(autoload) if is_array(autoload) => {
            for (kind, rules) in keys(autoload).zip(values(autoload)) {
                match KINDS.contains(&kind.as_str()) {
                    true => self::rules(check, &kind, rules),
                    false => check
                        .reject(format!("autoload.{kind}"), format!("must be one of {}", KINDS.join(", "))),
                }
            }
            let folder = check.get("target-dir").and_then(Value::as_str).unwrap_or_default();
            if autoload.get("psr-4").is_some_and(|rules| !rules.is_null()) && !trim(folder).is_empty() {
                check.reject("target-dir", "cannot be used together with autoload.psr-4");
            }
        }
        Some(_) => check.reject("autoload", "must be a map"),
    }
}

fn rules(check: &mut Check<'_>, kind: &str, rules: &Value) {
    let field = format!("autoload.{kind}");
    if !is_array(rules) {
        // The generator passes over the other kinds.
        if kind == "psr-4" {
            check.reject(field, "must be a map of namespaces to paths");
        }
        return;
    }
    if kind.starts_with("psr-") && keys(rules).any(|namespace| is_integer_key(&namespace)) {
        return check.reject(field, "must be a map of namespaces to paths");
    }
    if kind == "psr-4" {
        for namespace in keys(rules).filter(|namespace| !namespace.is_empty() && !namespace.ends_with('\\')) {
            check.reject(&field, format!("the namespace `{namespace}` must end with `\\`"));
        }
    }
    let is_path = |path: &Value| match kind {
        "files" | "exclude-from-classmap" => path.is_string(),
        _ => !is_array(path),
    };
    if !values(rules).flat_map(to_list).all(is_path) {
        check.reject(field, "must hold paths");
    }
}
