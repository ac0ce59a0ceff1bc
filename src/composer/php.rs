//! JSON values as PHP sees them: lists and maps are one type, the array, and some keys of maps turn into integers.

use serde_json::Value;

/// PHP's `trim`.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\n', '\r', '\t', '\x0B', '\0'])
}

/// PHP's `is_array`.
pub(super) fn is_array(value: &Value) -> bool {
    value.is_array() || value.is_object()
}

/// The values of an array; none of another value.
pub(super) fn values(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(map) => Box::new(map.values()),
        _ => Box::new(std::iter::empty()),
    }
}

/// The keys of an array, those of a list as PHP prints them; none of another value.
pub(super) fn keys(value: &Value) -> Box<dyn Iterator<Item = String> + '_> {
    match value {
        Value::Array(items) => Box::new((0..items.len()).map(|index| index.to_string())),
        Value::Object(map) => Box::new(map.keys().cloned()),
        _ => Box::new(std::iter::empty()),
    }
}

/// PHP's `(array)`: the values of an array, nothing of null, else the value itself.
pub(super) fn to_list(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => values(value),
        _ => Box::new(std::iter::once(value)),
    }
}

/// Whether PHP's arrays turn the key into an integer. Where Composer's code needs text, such a key is a TypeError.
pub(super) fn is_integer_key(key: &str) -> bool {
    key.parse::<i64>().is_ok_and(|number| number.to_string() == key)
}
