//! JSON as JavaScript reads and prints it: the manifest in an archive is what `JSON.stringify(value, null, 2)` gave.

use serde_json::ser::{Formatter, PrettyFormatter};
use serde_json::{Map, Value};

/// Parses as node and `JSON.parse` do: invalid UTF-8 becomes U+FFFD, and a duplicate key keeps its first position and its last
/// value.
pub fn parse_js(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_str(&String::from_utf8_lossy(text))
}

/// Prints as `JSON.stringify(value, null, 2)` does: keys that are array indices come first, in numeric order, numbers have
/// JavaScript's form, and there is no newline at the end.
pub fn to_js_string(value: &Value) -> String {
    let mut out = Vec::new();
    print(value, &mut PrettyFormatter::new(), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

// Writing to a vector cannot fail.
fn print(value: &Value, pretty: &mut PrettyFormatter<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => out.extend(value.to_string().as_bytes()),
        Value::Number(number) => {
            let mut buffer = ryu_js::Buffer::new();
            out.extend(buffer.format(number.as_f64().unwrap_or(f64::NAN)).as_bytes());
        }
        Value::Array(items) => {
            let _ = pretty.begin_array(out);
            for (i, item) in items.iter().enumerate() {
                let _ = pretty.begin_array_value(out, i == 0);
                print(item, pretty, out);
                let _ = pretty.end_array_value(out);
            }
            let _ = pretty.end_array(out);
        }
        Value::Object(map) => print_object(map, pretty, out),
    }
}

fn print_object(map: &Map<String, Value>, pretty: &mut PrettyFormatter<'_>, out: &mut Vec<u8>) {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| array_index(key).map_or(u64::MAX, u64::from));
    let _ = pretty.begin_object(out);
    for (i, (key, value)) in entries.into_iter().enumerate() {
        let _ = pretty.begin_object_key(out, i == 0);
        out.extend(Value::from(key.as_str()).to_string().as_bytes());
        let _ = pretty.end_object_key(out);
        let _ = pretty.begin_object_value(out);
        print(value, pretty, out);
        let _ = pretty.end_object_value(out);
    }
    let _ = pretty.end_object(out);
}

/// The array index, 0 to 2^32 - 2, that a key is in canonical form. JavaScript objects list these keys first.
pub fn array_index(key: &str) -> Option<u32> {
    let index: u32 = key.parse().ok()?;
    (index != u32::MAX && index.to_string() == key).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_output_equals_that_of_javascript() {
        let text = r#"{"b":[],"2":{},"a":"ü/\u2028\u0001\u007f","10":1.0,"1":[1e21,1e-7,-0,0.1,12345678901234567890],"01":null,"b":[true]}"#;
        let expected = "{\n  \"1\": [\n    1e+21,\n    1e-7,\n    0,\n    0.1,\n    12345678901234567000\n  ],\n  \"2\": {},\n  \"10\": 1,\n  \"b\": [\n    true\n  ],\n  \"a\": \"ü/\u{2028}\\u0001\u{7f}\",\n  \"01\": null\n}";
        assert_eq!(to_js_string(&parse_js(text.as_bytes()).unwrap()), expected);
        assert_eq!(to_js_string(&parse_js(b"{\"a\":\"\xff\"}").unwrap()), "{\n  \"a\": \"\u{fffd}\"\n}");
        assert_eq!(to_js_string(&parse_js(b"[]").unwrap()), "[]");
    }
}
