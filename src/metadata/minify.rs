//! Composer's minified list of versions (`composer/metadata-minifier`): each version has only the top-level keys that differ
//! from the version before it, and `__unset` for removed keys.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// The value of a removed key.
const UNSET: &str = "__unset";

/// A version of a minified list: its keys that differ from the version before, without a value if they are removed.
pub(super) struct MinifiedVersion<'v>(Vec<(&'v str, Option<&'v Value>)>);

impl Serialize for MinifiedVersion<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let unset = Value::from(UNSET);
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value.unwrap_or(&unset))))
    }
}

/// Minifies versions in the given order; the first is complete.
pub(super) fn minify<'v>(versions: &[&'v Map<String, Value>]) -> Vec<MinifiedVersion<'v>> {
    let before = std::iter::once(None).chain(versions.iter().copied().map(Some));
    before.zip(versions).map(|(before, version)| difference(before, version)).collect()
}

/// The complete versions of a minified list; items that are not objects are skipped.
pub fn expand(minified: &[Value]) -> Vec<Map<String, Value>> {
    let mut version = Map::new();
    let versions = minified.iter().filter_map(Value::as_object);
    versions
        .map(|changed| {
            for (key, value) in changed {
                match value == UNSET {
                    true => version.shift_remove(key),
                    false => version.insert(key.clone(), value.clone()),
                };
            }
            version.clone()
        })
        .collect()
}

fn difference<'v>(
    before: Option<&'v Map<String, Value>>,
    after: &'v Map<String, Value>,
) -> MinifiedVersion<'v> {
    let is_unchanged = |key: &str, value: &Value| {
        let before = before.and_then(|before| before.get(key));
        before.is_some_and(|before| is_identical(before, value))
    };
    let changed = after.iter().filter(|(key, value)| !is_unchanged(key, value));
    let removed = before.into_iter().flat_map(Map::keys).filter(|key| !after.contains_key(*key));
    let changed = changed.map(|(key, value)| (key.as_str(), Some(value)));
    MinifiedVersion(changed.chain(removed.map(|key| (key.as_str(), None))).collect())
}

/// Equality as PHP's `===`: unlike in serde_json, the order of an object's keys counts.
fn is_identical(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let mut pairs = before.iter().zip(after);
            before.len() == after.len() && pairs.all(|((k, v), (l, w))| k == l && is_identical(v, w))
        }
        (Value::Array(before), Value::Array(after)) => {
            before.len() == after.len() && before.iter().zip(after).all(|(v, w)| is_identical(v, w))
        }
        _ => before == after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn versions_have_only_the_keys_that_differ() {
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
            serde_json::to_value(minify(&versions.each_ref())).unwrap().to_string(),
            expected.to_string()
        );
        let expanded = expand(expected.as_array().unwrap());
        assert_eq!(expanded, versions);
    }

    #[test]
    fn equal_values_are_given_once_and_removed_keys_once() {
        let versions = [
            json!({"name": "a/b", "version": "3", "scripts": {"x": ["y"]}, "license": ["MIT"], "dist": null}),
            json!({"name": "a/b", "version": "2", "license": ["GPL"], "homepage": "https://b.example", "dist": null}),
            json!({"name": "a/b", "version": "1", "license": ["GPL"], "dist": null}),
            json!({"name": "a/b", "version": "0", "license": ["GPL"], "dist": {}}),
        ]
        .map(|v| v.as_object().cloned().unwrap());
        let expected = json!([
            {"name": "a/b", "version": "3", "scripts": {"x": ["y"]}, "license": ["MIT"], "dist": null},
            {"version": "2", "license": ["GPL"], "homepage": "https://b.example", "scripts": "__unset"},
            {"version": "1", "homepage": "__unset"},
            {"version": "0", "dist": {}}
        ]);
        assert_eq!(
            serde_json::to_value(minify(&versions.each_ref())).unwrap().to_string(),
            expected.to_string()
        );
        assert_eq!(expand(expected.as_array().unwrap()), versions);
        assert!(minify(&[]).is_empty() && expand(&[]).is_empty());
    }
}
