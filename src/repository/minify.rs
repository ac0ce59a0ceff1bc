//! Composer's minified list of versions (`composer/metadata-minifier`): each version names only the top-level keys that
//! differ from the version before it, and `__unset` for those that are gone.

use serde_json::{Map, Value};

/// Minifies versions in the order given; the first stands whole.
pub fn minify(versions: &[Map<String, Value>]) -> Vec<Map<String, Value>> {
    let mut previous: Option<&Map<String, Value>> = None;
    let mut minified = Vec::with_capacity(versions.len());
    for version in versions {
        minified.push(match previous {
            None => version.clone(),
            Some(before) => difference(before, version),
        });
        previous = Some(version);
    }
    minified
}

fn difference(before: &Map<String, Value>, after: &Map<String, Value>) -> Map<String, Value> {
    let mut changed: Map<_, _> = after
        .iter()
        .filter(|(key, value)| !same(before.get(*key), value))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        changed.insert(key.clone(), "__unset".into());
    }
    changed
}

/// PHP's `===`, for which the order of a map's keys counts; serde_json's `==` does not look at it.
#[expect(clippy::cmp_owned, reason = "not the values are compared, but their texts")]
fn same(before: Option<&Value>, after: &Value) -> bool {
    before.is_some_and(|before| before == after && before.to_string() == after.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_version_names_what_differs_from_the_one_before() {
        let versions = [
            json!({"name": "a/b", "version": "2", "require": {"x/y": "1", "php": "8"}, "type": "library"}),
            json!({"name": "a/b", "version": "1", "require": {"php": "8", "x/y": "1"}}),
            json!({"name": "a/b", "version": "0", "require": {"php": "8", "x/y": "1"}, "type": "library"}),
        ]
        .map(|v| v.as_object().cloned().unwrap());
        let expected = json!([
            {"name": "a/b", "version": "2", "require": {"x/y": "1", "php": "8"}, "type": "library"},
            {"version": "1", "require": {"php": "8", "x/y": "1"}, "type": "__unset"},
            {"version": "0", "type": "library"}
        ]);
        assert_eq!(
            serde_json::to_value(minify(&versions)).unwrap().to_string(),
            expected.to_string()
        );
    }
}
