//! The field `php-ext` of C extensions, which Composer reads since 2.8 and its installer of extensions follows.

use serde_json::Value;

use super::check::Check;
use crate::composer::php::{is_array, to_list, values};

const DOWNLOAD_METHODS: [&str; 3] = ["composer-default", "pre-packaged-source", "pre-packaged-binary"];
const OS_FAMILIES: [&str; 6] = ["windows", "bsd", "darwin", "solaris", "linux", "unknown"];

/// The fields of `php-ext`, whether a value is valid, and what it has to be.
type Rule = (&'static str, fn(&Value) -> bool, &'static str);
const RULES: [Rule; 9] = [
    ("extension-name", Value::is_string, "must be a string"),
    ("priority", Value::is_i64, "must be an integer"),
    ("support-zts", Value::is_boolean, "must be a boolean"),
    ("support-nts", Value::is_boolean, "must be a boolean"),
    ("build-path", Value::is_string, "must be a string"),
    ("download-url-method", are_download_methods, "must name ways to download"),
    ("os-families", are_os_families, "must be a list of operating systems"),
    ("os-families-exclude", are_os_families, "must be a list of operating systems"),
    ("configure-options", are_options, "must be a list of maps with a name"),
];

/// Whether the package is of a type that may have the field.
pub(super) fn is_extension(check: &Check<'_>) -> bool {
    let kind = check.get("type").and_then(Value::as_str);
    matches!(kind, Some("php-ext" | "php-ext-zend"))
}

pub(super) fn check(check: &mut Check<'_>) {
    let Some(extension) = check.get("php-ext") else { return };
    if !is_array(extension) {
        return check.reject("php-ext", "must be a map");
    }
    let get = |key| extension.get(key).filter(|value| !value.is_null());
    for (key, is_valid, reason) in RULES {
        if get(key).is_some_and(|value| !is_valid(value)) {
            check.reject(format!("php-ext.{key}"), reason);
        }
    }
    if get("os-families").is_some() && get("os-families-exclude").is_some() {
        check.reject("php-ext", "os-families and os-families-exclude exclude each other");
    }
}

fn are_download_methods(value: &Value) -> bool {
    let is_known = |method: &Value| method.as_str().is_some_and(|method| DOWNLOAD_METHODS.contains(&method));
    to_list(value).next().is_some() && to_list(value).all(is_known)
}

fn are_os_families(value: &Value) -> bool {
    let is_known = |family: &Value| family.as_str().is_some_and(|family| OS_FAMILIES.contains(&family));
    values(value).next().is_some() && values(value).all(is_known)
}

fn are_options(value: &Value) -> bool {
    let is_option = |option: &Value| {
        let is = |key: &str, is_valid: fn(&Value) -> bool| {
            option.get(key).is_none_or(|value| value.is_null() || is_valid(value))
        };
        option.get("name").is_some_and(Value::is_string)
            && is("needs-value", Value::is_boolean)
            && is("description", Value::is_string)
    };
    is_array(value) && values(value).all(is_option)
}
