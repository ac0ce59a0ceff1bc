//! Checks a tree of nodes against a JSON Schema, and keeps the values that fit.
//!
//! Only the keywords that schemars writes for our types are known. `pattern` and `minItems` are for editors: the checks
//! of meaning say the same in better words. Nothing is converted: a number is never a string, nor a string a number.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::environment::{Environment, expand};
use super::parse::{Node, NodeContent, key, place, written};
use super::{FromYaml, Issue, Location, Path, Report, nearest};

/// Adds every mistake to `report`, and returns the document without the values that do not fit.
pub(super) fn check<T: FromYaml>(
    node: &Node,
    text: &str,
    schema: &Value,
    environment: Option<Environment<'_>>,
    report: &mut Report,
) -> Option<Value> {
    if matches!(node.value, NodeContent::Scalar(Value::Null)) {
        let issue = Issue::new("the document is empty").hint(format!("begin with `{}`", T::EXAMPLE));
        report.add_at(Location { line: 1, column: 1 }, &Path::default(), issue);
        return None;
    }
    let mut checker = Checker { text, root: schema, environment, check_format: T::check_format, report };
    checker.check(node, schema, &Path::default())
}

struct Checker<'a> {
    text: &'a str,
    root: &'a Value,
    environment: Option<Environment<'a>>,
    check_format: fn(&str, &str, &str) -> Result<(), Issue>,
    report: &'a mut Report,
}

impl<'a> Checker<'a> {
    /// The value without what does not fit in it; `None` if it does not fit itself.
    fn check(&mut self, node: &Node, schema: &'a Value, path: &Path) -> Option<Value> {
        let value = self.value(node, schema, path);
        if value.is_none() {
            self.report.reject(path);
        }
        value
    }

    fn value(&mut self, node: &Node, schema: &'a Value, path: &Path) -> Option<Value> {
        let content = self.expanded(node, path)?;
        let schemas = self.alternatives(schema);
        let Some(schema) = schemas.iter().find(|schema| self.fits(&content, schema)) else {
            let issue = self.mismatch(&content, node, &schemas);
            self.report.add(path, issue);
            return None;
        };
        self.content(&content, node, schema, path)
    }

    /// The content with its references to the environment replaced; `None` if a reference is wrong.
    fn expanded<'n>(&mut self, node: &'n Node, path: &Path) -> Option<Cow<'n, NodeContent>> {
        let (text, environment) = match (&node.value, self.environment) {
            (NodeContent::Scalar(Value::String(text)), Some(environment)) if text.contains("${") => {
                (text, environment)
            }
            _ => {
                self.report.set_place(path, place(node), None);
                return Some(Cow::Borrowed(&node.value));
            }
        };
        let expanded = expand(text, environment);
        let is_secret = matches!(expanded, Ok((_, true)));
        self.report.set_place(path, place(node), is_secret.then(|| text.clone()));
        match expanded {
            Ok((expanded, _)) => Some(Cow::Owned(NodeContent::Scalar(expanded.into()))),
            Err(issue) => {
                self.report.add(path, issue);
                None
            }
        }
    }

    /// The schemas one of which the value has to fit: those of an option, of an enum's variants, or just this one.
    fn alternatives(&self, schema: &'a Value) -> Vec<&'a Value> {
        let definition =
            schema["$ref"].as_str().and_then(|reference| self.root.pointer(reference.strip_prefix('#')?));
        let schema = definition.unwrap_or(schema);
        match schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
            Some(schemas) => schemas.iter().flat_map(|schema| self.alternatives(schema)).collect(),
            None => vec![schema],
        }
    }

    /// Whether the value has the type of the schema. The contents of lists and mappings are not checked.
    fn fits(&self, content: &NodeContent, schema: &Value) -> bool {
        let types = types(schema);
        let is_type = |name: &str| types.is_empty() || types.contains(&name);
        match content {
            NodeContent::Mapping(entries) => match variant_key(schema) {
                Some(variant) => {
                    matches!(entries.as_slice(), [(only, _)] if key(only, self.text).as_deref() == Some(variant))
                }
                None => is_type("object"),
            },
            NodeContent::List(_) => is_type("array"),
            NodeContent::Scalar(Value::Null) => is_type("null"),
            NodeContent::Scalar(Value::Bool(_)) => is_type("boolean"),
            NodeContent::Scalar(Value::Number(number)) => {
                let (minimum, maximum) = range(schema);
                let in_range = minimum.is_none_or(|least| number.as_f64() >= Some(least as f64))
                    && maximum.is_none_or(|most| number.as_f64() <= Some(most as f64));
                is_type("number") || (is_type("integer") && !number.is_f64() && in_range)
            }
            NodeContent::Scalar(value) => {
                let names = scalar_names(schema);
                is_type("string") && (names.is_empty() || names.iter().any(|name| value == name))
            }
        }
    }

    fn content(
        &mut self,
        content: &NodeContent,
        node: &Node,
        schema: &'a Value,
        path: &Path,
    ) -> Option<Value> {
        match content {
            NodeContent::Mapping(entries) => Some(self.mapping(entries, schema, path)),
            NodeContent::List(nodes) => {
                // A list without one of its elements would have other indices.
                let values: Vec<_> = nodes
                    .iter()
                    .enumerate()
                    .map(|(index, node)| self.check(node, &schema["items"], &path.index(index)))
                    .collect();
                values.into_iter().collect()
            }
            NodeContent::Scalar(value) => {
                if let (Some(text), Some(format)) = (value.as_str(), schema["format"].as_str()) {
                    let written = match &node.value {
                        NodeContent::Scalar(Value::String(written)) => written,
                        _ => text,
                    };
                    if let Err(issue) = (self.check_format)(format, text, written) {
                        self.report.add(path, issue);
                        return None;
                    }
                }
                Some(value.clone())
            }
        }
    }

    fn mapping(&mut self, entries: &[(Node, Node)], schema: &'a Value, path: &Path) -> Value {
        let properties = schema["properties"].as_object();
        let others = Some(&schema["additionalProperties"]).filter(|others| **others != Value::Bool(false));
        let keys: Vec<_> = entries.iter().map(|(node, _)| key(node, self.text)).collect();
        let mut seen: Vec<(&str, Location)> = Vec::new();
        let mut values = Map::new();
        for ((key_node, node), key) in entries.iter().zip(&keys) {
            let at = place(key_node);
            let Some(key) = key else {
                let issue = Issue::new("a key must be a plain word or a string");
                self.report.add_at(at, path, issue);
                continue;
            };
            if let Some((_, first)) = seen.iter().find(|(earlier, _)| earlier == key) {
                let issue = Issue::new(format!("duplicate key, first set at line {}", first.line));
                self.report.add_at(at, &path.key(key), issue.hint("keep one of the two"));
                continue;
            }
            let (key, schema) = match properties.and_then(|properties| properties.get_key_value(key)) {
                Some((key, schema)) => (key.as_str(), schema),
                None if let Some(others) = others => (key.as_str(), others),
                None => {
                    let known: Vec<_> =
                        properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
                    let near = nearest(key, known.iter().copied());
                    self.report.add_at(at, &path.key(key), unknown_key(near, &known));
                    // The value of a misspelt key is checked, too.
                    match near.filter(|near| !keys.iter().flatten().any(|key| key == near)) {
                        Some(near) => (near, &schema["properties"][near]),
                        None => continue,
                    }
                }
            };
            seen.push((key, at));
            if let Some(value) = self.check(node, schema, &path.key(key)) {
                values.insert(key.to_owned(), value);
            }
        }
        for required in schema["required"].as_array().into_iter().flatten() {
            if let Some(required) = required.as_str()
                && seen.iter().all(|(key, _)| *key != required)
            {
                self.report.add(path, Issue::new(format!("the key `{required}` is missing")));
                self.report.reject(&path.key(required));
            }
        }
        Value::Object(values)
    }

    fn mismatch(&self, content: &NodeContent, node: &Node, schemas: &[&Value]) -> Issue {
        let found = match content {
            NodeContent::Mapping(_) => "a mapping".to_owned(),
            NodeContent::List(_) => "a list".to_owned(),
            NodeContent::Scalar(Value::Null) => "nothing".to_owned(),
            NodeContent::Scalar(Value::String(text)) => format!("`{text}`"),
            NodeContent::Scalar(Value::Number(number)) => {
                let written = written(node, self.text).unwrap_or_else(|| number.to_string());
                format!("the number {written}")
            }
            NodeContent::Scalar(value) => value.to_string(),
        };
        let names: Vec<&str> = schemas.iter().flat_map(|schema| names(schema)).collect();
        if !names.is_empty() {
            return self.not_a_variant(content, found, &names);
        }
        let text = match content {
            NodeContent::Scalar(Value::String(text)) => text.clone(),
            NodeContent::Scalar(_) => written(node, self.text).unwrap_or_default(),
            _ => String::new(),
        };
        let formats = schemas
            .iter()
            .filter(|schema| types(schema).contains(&"string"))
            .filter_map(|schema| schema["format"].as_str());
        let format = formats.map(|format| (self.check_format)(format, &text, &text)).find_map(Result::err);
        let expected: Vec<String> = schemas.iter().flat_map(|schema| expected(schema)).collect();
        let mut issue = format.unwrap_or_else(|| {
            let issue = Issue::new(format!("expected {}", expected.join(" or "))).found("");
            Issue { hint: hint(content, &text, &expected), ..issue }
        });
        if matches!(content, NodeContent::Scalar(Value::Null)) {
            issue.hint = Some("give it a value or remove the key".into());
        }
        issue.found = issue.found.and(Some(found));
        issue
    }

    /// What is wrong with a value that should be one of `names`, or a mapping with one of them as its only key.
    fn not_a_variant(&self, content: &NodeContent, found: String, names: &[&str]) -> Issue {
        let (word, is_alone) = match content {
            NodeContent::Scalar(Value::String(text)) => (Some(text.clone()), true),
            NodeContent::Mapping(entries) => match entries.as_slice() {
                [(only, _)] => (key(only, self.text), false),
                _ => (None, false),
            },
            _ => (None, false),
        };
        let word = word.as_deref();
        if let Some(word) = word.filter(|word| names.contains(word)) {
            return Issue::new(match is_alone {
                true => format!("`{word}` needs a value"),
                false => format!("`{word}` takes no value"),
            });
        }
        let expected = match names {
            [only] => format!("`{only}`"),
            _ => format!("one of {}", quoted(names)),
        };
        let found = word.map_or(found, |word| format!("`{word}`"));
        let issue = Issue::new(format!("expected {expected}")).found(found);
        match word.and_then(|word| nearest(word, names.iter().copied())) {
            Some(near) => issue.hint(format!("did you mean `{near}`?")),
            None => issue,
        }
    }
}

fn unknown_key(near: Option<&str>, known: &[&str]) -> Issue {
    Issue::new("unknown key").hint(match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the keys here are {}", quoted(known)),
    })
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The words that a schema allows.
fn scalar_names(schema: &Value) -> Vec<&str> {
    let several = schema["enum"].as_array().into_iter().flatten();
    several.chain(schema.get("const")).filter_map(Value::as_str).collect()
}

/// The name of an enum's variant that has a value: schemars writes it as a mapping with one key, which is required.
fn variant_key(schema: &Value) -> Option<&str> {
    match schema["required"].as_array()?.as_slice() {
        [only] if schema["properties"].as_object()?.len() == 1 => only.as_str(),
        _ => None,
    }
}

fn names(schema: &Value) -> Vec<&str> {
    let mut names = scalar_names(schema);
    names.extend(variant_key(schema));
    names
}

/// The least and the greatest number of an integer.
fn range(schema: &Value) -> (Option<i64>, Option<u64>) {
    let maximum = match schema["format"].as_str() {
        Some("uint32") => Some(u32::MAX.into()),
        _ => schema["maximum"].as_u64(),
    };
    (schema["minimum"].as_i64(), maximum)
}

/// The types of a schema, in the terms of YAML.
fn expected(schema: &Value) -> Vec<String> {
    let word = |name: &str| {
        Some(match name {
            "string" => "a string".to_owned(),
            "boolean" => "true or false".to_owned(),
            "number" => "a number".to_owned(),
            "integer" => match range(schema) {
                (Some(1), None) => "a whole number above 0".to_owned(),
                (Some(least), Some(most)) if least > 0 => format!("a whole number from {least} to {most}"),
                (_, Some(most)) => format!("a whole number up to {most}"),
                _ => "a whole number".to_owned(),
            },
            "array" => "a list".to_owned(),
            "object" => "a mapping".to_owned(),
            _ => return None,
        })
    };
    types(schema).into_iter().filter_map(word).collect()
}

fn hint(content: &NodeContent, text: &str, expected: &[String]) -> Option<String> {
    let expects = |word: &str| expected.iter().any(|expected| expected.contains(word));
    match content {
        NodeContent::Scalar(Value::String(text)) if expects("true or false") => {
            let meant = match text.to_lowercase().as_str() {
                "yes" | "y" | "on" => "true",
                "no" | "n" | "off" => "false",
                _ => return None,
            };
            Some(format!("write {meant}"))
        }
        NodeContent::Scalar(Value::String(_)) if expects("number") && text.parse::<f64>().is_ok() => {
            Some(format!("write {text}, without quotes"))
        }
        NodeContent::Scalar(Value::Bool(_) | Value::Number(_)) if expects("a string") => {
            Some("put it in quotes".into())
        }
        _ => None,
    }
}
