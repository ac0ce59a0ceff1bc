//! What the README says of the configuration is what the program reads.
//!
//! `README_UPDATE=1 cargo test --test it reference` writes the table anew.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

const BEGIN: &str = "<!-- Made from `mirror schema` by tests/readme.rs. -->\n";
const END: &str = "<!-- The end of what is made. -->\n";

#[test]
fn the_reference_is_that_of_the_schema() {
    let output = Command::new(env!("CARGO_BIN_EXE_mirror"))
        .arg("schema")
        .output()
        .unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut table = String::from("| key | default | meaning |\n|---|---|---|\n");
    rows(&schema, &schema, "", &Value::Null, &mut table);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect("the begin of the table");
    let (before, tail) = rest.split_once(END).expect("the end of the table");
    if std::env::var_os("README_UPDATE").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{table}{END}{tail}")).unwrap();
    } else {
        assert_eq!(before, table, "README_UPDATE=1 cargo test --test it reference");
    }
}

/// One row for each key that has a value, and those of the objects in it below it.
fn rows(root: &Value, of: &Value, above: &str, default: &Value, table: &mut String) {
    let empty = Map::new();
    for (key, property) in of["properties"].as_object().unwrap_or(&empty) {
        let list = property.get("items");
        let inner = resolve(root, list.unwrap_or(property));
        let name = format!(
            "{above}{key}{}",
            if list.is_some_and(|_| inner.get("properties").is_some()) {
                "[]"
            } else {
                ""
            }
        );
        let default = property
            .get("default")
            .or_else(|| default.get(key))
            .unwrap_or(&Value::Null);
        if inner.get("properties").is_some() {
            rows(root, inner, &format!("{name}."), default, table);
            continue;
        }
        let required = of["required"]
            .as_array()
            .is_some_and(|keys| keys.iter().any(|k| k == key));
        let default = match default {
            Value::Null if required => "required".to_owned(),
            Value::Null => String::new(),
            Value::Array(items) if items.is_empty() => String::new(),
            Value::Object(map) if map.is_empty() => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let text = [property, inner]
            .into_iter()
            .find_map(|of| of["description"].as_str());
        let text = text.unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        let _ = writeln!(table, "| `{name}` | {default} | {text} |");
    }
}

/// What a reference stands for, also one that may be null.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let any = schema["anyOf"]
        .as_array()
        .and_then(|all| all.iter().find(|one| one.get("$ref").is_some()));
    let schema = any.unwrap_or(schema);
    match schema["$ref"]
        .as_str()
        .and_then(|path| path.strip_prefix("#/$defs/"))
    {
        Some(name) => &root["$defs"][name],
        None => schema,
    }
}
