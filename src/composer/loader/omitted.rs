//! The fields without which Composer resolves and installs the package all the same.

use serde_json::{Map, Value};

use super::check::{Check, FieldProblem};
use super::{has_valid_aliases, is_development, php_extension};
use crate::composer::php::{is_array, is_integer_key, keys, values};

const SUPPORT: [&str; 10] =
    ["issues", "forum", "wiki", "source", "email", "irc", "docs", "rss", "chat", "security"];

pub(super) fn problems(manifest: &Map<String, Value>) -> Vec<FieldProblem> {
    let mut check = Check::new(manifest);
    for field in ["description", "homepage"] {
        check.field(field, Value::is_string, "must be a string");
    }
    let is_text = |value: &Value| value.is_string() || value.is_number();
    check.field(
        "keywords",
        |value| is_array(value) && values(value).all(is_text),
        "must be a list of strings",
    );
    check.field(
        "license",
        |value| value.is_string() || is_array(value) && values(value).all(Value::is_string),
        "must be a string or a list of strings",
    );
    for (field, keys) in
        [("authors", &["name", "email", "homepage", "role"][..]), ("funding", &["type", "url"])]
    {
        let are_maps = |value: &Value| is_array(value) && values(value).all(|entry| has_strings(entry, keys));
        check.field(field, are_maps, "must be a list of maps with strings");
    }
    check.field("support", |value| has_strings(value, &SUPPORT), "must be a map with strings");
    check.field("suggest", is_suggest, "must be a map of packages to strings");
    check.field("archive", is_archive, "must be a map with a string `name` and a list `exclude`");
    for field in ["scripts", "extra"] {
        check.field(field, is_array, "must be a map");
    }
    if !is_development(&check) && !has_valid_aliases(&check) {
        check.reject("extra.branch-alias", "must be a map of branches to versions");
    }
    if !php_extension::is_extension(&check) && check.get("php-ext").is_some() {
        check.reject("php-ext", "needs the type php-ext or php-ext-zend");
    }
    check.problems
}

/// Of a list, `SuggestedPackagesReporter` dies.
fn is_suggest(value: &Value) -> bool {
    is_array(value)
        && values(value).all(Value::is_string)
        && !keys(value).any(|package| is_integer_key(&package))
}

fn is_archive(value: &Value) -> bool {
    let is =
        |key: &str, is_valid: fn(&Value) -> bool| value.get(key).is_none_or(|v| v.is_null() || is_valid(v));
    is_array(value) && is("name", Value::is_string) && is("exclude", is_array)
}

fn has_strings(value: &Value, keys: &[&str]) -> bool {
    let is_string = |key: &&str| value.get(*key).is_none_or(|found| found.is_null() || found.is_string());
    is_array(value) && keys.iter().all(is_string)
}
