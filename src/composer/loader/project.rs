//! The fields that only the root package has. Composer reads those of a package of the type `project`, in `create-project`.

use serde_json::{Map, Value};

use super::check::{Check, FieldProblem};
use crate::composer::php::{is_array, keys, to_list};
use crate::composer::version::normalize;

const STABILITIES: [&str; 5] = ["stable", "rc", "beta", "alpha", "dev"];

pub(super) fn is_project(manifest: &Map<String, Value>) -> bool {
    manifest.get("type").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("project"))
}

pub(super) fn problems(manifest: &Map<String, Value>) -> Vec<FieldProblem> {
    let mut check = Check::new(manifest);
    let is_stability = |value: &Value| {
        let known = |text: &str| text.is_empty() || STABILITIES.contains(&text.to_ascii_lowercase().as_str());
        value.as_str().is_some_and(|text| known(text.trim()))
    };
    check.field("minimum-stability", is_stability, "must be one of stable, RC, beta, alpha, dev");
    if let Some(platform) = check.get("config").and_then(|config| config.get("platform")) {
        let names: Vec<_> = if is_array(platform) { keys(platform).collect() } else { vec!["0".into()] };
        for (name, version) in names.iter().zip(to_list(platform)) {
            let is_readable = |text: &str| normalize(text).is_some();
            if *version != Value::Bool(false) && !version.as_str().is_some_and(is_readable) {
                check.reject(format!("config.platform.{name}"), "must be a version or false");
            }
        }
    }
    check.field("transport-options", is_array, "must be a map");
    for (field, required) in [("source", &["type", "url", "reference"][..]), ("dist", &["type", "url"])] {
        let is_complete = |value: &Value| is_array(value) && required.iter().all(|key| is_plain(value, key));
        check.field(field, is_complete, "must be a map with strings for type, url and reference");
    }
    check.problems
}

/// Whether the key has a text that the tools of version control do not take for an option; a reference may be a number.
fn is_plain(value: &Value, key: &str) -> bool {
    match value.get(key) {
        Some(Value::String(text)) => key == "type" || !text.trim_start().starts_with('-'),
        Some(Value::Number(number)) => key == "reference" && number.as_u64().is_some(),
        _ => false,
    }
}
