//! The documents for operators say what the program reads: the list of keys is generated, the examples are valid.
//!
//! `UPDATE=1 cargo test --test it documents` writes the generated parts of `src/help/config.md` and `src/docs/decisions.md`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};

use crate::support::http::get;
use crate::support::served_mirror::ServedMirror;

const BEGIN: &str = "<!-- Generated from `mirror schema` by tests/it/documents.rs. -->\n";
const BEGIN_OF_INDEX: &str = "<!-- Generated from the titles by tests/it/documents.rs. -->\n";
const END: &str = "<!-- End of the generated part. -->\n";

#[test]
fn help_lists_every_key_of_the_configuration() {
    let output = mirror("schema").output().unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut list = String::new();
    sections(&schema, &mut list);
    check_generated("src/help/config.md", BEGIN, |_| list);
}

#[test]
fn decisions_are_listed_by_subject() {
    check_generated("src/docs/decisions.md", BEGIN_OF_INDEX, |decisions| {
        let subjects = decisions.split("\n## ").skip(1).map(|subject| {
            let (name, text) = subject.split_once('\n').unwrap();
            // `**DATE, TITLE.** TEXT`
            let titles: Vec<_> = text
                .lines()
                .filter_map(|line| line.strip_prefix("**")?.split_once(".**")?.0.split_once(", "))
                .map(|(_, title)| title)
                .collect();
            format!("- [{name}](#{}): {}\n", name.to_lowercase().replace(' ', "-"), titles.join("; "))
        });
        subjects.collect()
    });
}

/// Compares the generated part of a document, or writes it. `generate` gets what follows it.
fn check_generated(path: &str, begin: &str, generate: impl FnOnce(&str) -> String) {
    let path = root().join(path);
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(begin).expect("the begin of the generated part");
    let (before, tail) = rest.split_once(END).expect("the end of the generated part");
    let generated = generate(tail);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{head}{begin}{generated}{END}{tail}")).unwrap();
    } else {
        assert_eq!(before, generated, "UPDATE=1 cargo test --test it documents");
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// One section for each key at the top, with a line for each key below it.
fn sections(root: &Value, text: &mut String) {
    let empty = Map::new();
    for (key, property) in root["properties"].as_object().unwrap_or(&empty) {
        let _ = writeln!(text, "\n## {key}\n\n{}\n", description(root, property));
        let mut only = Map::new();
        only.insert(key.clone(), property.clone());
        let top = serde_json::json!({ "properties": only, "required": root["required"] });
        keys(root, &top, "", &Value::Null, text);
    }
    text.push('\n');
}

/// The description of a section: that of its type, which says more, or else that of the key.
fn description(root: &Value, property: &Value) -> String {
    let inner = resolve(root, property.get("items").unwrap_or(property));
    let text = [inner, property].into_iter().find_map(|schema| schema["description"].as_str());
    text.unwrap_or_default().replace('\n', " ")
}

/// One line for each key that has a value, and those of the objects in it below it.
fn keys(root: &Value, schema: &Value, parent: &str, default: &Value, text: &mut String) {
    let empty = Map::new();
    for (key, property) in schema["properties"].as_object().unwrap_or(&empty) {
        let list = property.get("items");
        let inner = resolve(root, list.unwrap_or(property));
        let is_list = list.is_some_and(|_| inner.get("properties").is_some());
        let name = format!("{parent}{key}{}", if is_list { "[]" } else { "" });
        let default = property.get("default").or_else(|| default.get(key)).unwrap_or(&Value::Null);
        if inner.get("properties").is_some() {
            keys(root, inner, &format!("{name}."), default, text);
            continue;
        }
        let is_required =
            schema["required"].as_array().is_some_and(|keys| keys.iter().any(|required| required == key));
        let default = match default {
            Value::Null if is_required => " Required.".to_owned(),
            Value::Null => String::new(),
            Value::Array(items) if items.is_empty() => String::new(),
            Value::Object(map) if map.is_empty() => String::new(),
            Value::String(value) => format!(" Default: `{value}`."),
            value => format!(" Default: `{value}`."),
        };
        let about = [property, inner].into_iter().find_map(|schema| schema["description"].as_str());
        let about = about.unwrap_or_default().replace('\n', " ");
        let _ = writeln!(text, "- `{name}`: {about}{}{default}", values(property));
    }
}

/// The values of a key that takes one of a few.
fn values(property: &Value) -> String {
    let values: Vec<_> = property["oneOf"]
        .as_array()
        .into_iter()
        .flatten()
        .chain([property])
        .flat_map(|schema| {
            let one = schema.get("const").into_iter();
            one.chain(schema["enum"].as_array().into_iter().flatten())
        })
        .map(|value| format!("`{}`", value.as_str().unwrap_or_default()))
        .collect();
    match values.as_slice() {
        [] => String::new(),
        values => format!(" One of {}.", values.join(", ")),
    }
}

/// What a reference stands for, also one that may be null or have another form.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let is_inner = |one: &&Value| one.get("$ref").or(one.get("anyOf")).is_some();
    if let Some(inner) = schema["anyOf"].as_array().and_then(|all| all.iter().find(is_inner)) {
        return resolve(root, inner);
    }
    match schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        Some(name) => &root["$defs"][name],
        None => schema,
    }
}

#[test]
fn examples_in_documents_are_valid() {
    let mut checked = 0;
    for path in documents() {
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        for (number, block) in blocks(&text).enumerate() {
            let name = format!("{path}, example {}", number + 1);
            let keys = ["sources:", "extends:", "composer:"];
            if block.contains("\nsources:") || keys.iter().any(|key| block.starts_with(key)) {
                mirror::recipe::Recipe::parse(&name, block).unwrap_or_else(|error| panic!("{error}"));
            } else {
                check_configuration(&name, block);
            }
            checked += 1;
        }
    }
    assert!(checked >= 8, "{checked}");
}

/// The README, the help, and the pages of the examples.
fn documents() -> Vec<String> {
    let mut all = vec!["README.md".to_owned()];
    for folder in ["src/help", "examples"] {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let page = format!("{folder}/{name}/README.md");
            if name.ends_with(".md") {
                found.push(format!("{folder}/{name}"));
            } else if root().join(&page).exists() {
                found.push(page);
            }
        }
        found.sort();
        all.extend(found);
    }
    all
}

/// What stands between "```yaml" and "```".
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    let begins = text.split("```yaml\n").skip(1);
    begins.map(|rest| rest.split_once("```").expect("the end of an example").0)
}

/// Parses a whole configuration, or the sections of one.
fn check_configuration(name: &str, block: &str) {
    let mut text = block.to_owned();
    if !text.contains("repositories:") {
        text.push_str("repositories: [{ name: a, url: 'http://localhost:8080/', recipe: magento }]\n");
    }
    let environment = |_: &str| Some("https://example.com/".to_owned());
    if let Err(error) = mirror::config::parse(Path::new("mirror.yaml"), &text, &environment) {
        panic!("{name}: {error}");
    }
}

#[test]
fn help_prints_topics_and_commands() {
    let help = |arguments: &[&str]| {
        let output = mirror("help").args(arguments).output().unwrap();
        let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), texts)
    };
    for topic in &mirror::help::TOPICS {
        assert_eq!(help(&[topic.name]), (Some(0), [topic.text.to_owned(), String::new()]));
        let (_, [all, _]) = help(&[]);
        assert!(all.contains(&format!("mirror help {}", topic.name)), "{all}");
    }
    let (code, [plan, _]) = help(&["plan"]);
    assert!(code == Some(0) && plan.contains("Usage: mirror plan"), "{plan}");
    let (code, [_, hint]) = help(&["recipes"]);
    assert!(code == Some(64) && hint.contains("recipe"), "{hint}");
}

fn mirror(name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mirror"));
    command.arg(name);
    command
}

#[test]
fn running_mirror_serves_help() {
    let mirror = ServedMirror::start();
    let port = mirror.port;
    let list = get(port, "/-/help/");
    assert_eq!((list.status, list.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for topic in &mirror::help::TOPICS {
        assert!(list.text().contains(&format!("<a href=\"{}\">", topic.name)), "{}", list.text());
        let page = get(port, &format!("/-/help/{}", topic.name));
        assert_eq!((page.status, page.text()), (200, topic.text));
        for (header, value) in [
            ("content-type", "text/plain; charset=utf-8"),
            ("cache-control", "max-age=0, s-maxage=1, must-revalidate, no-transform"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(page.header(header), Some(value));
        }
    }
    assert_eq!(get(port, "/-/help/other").status, 404);
}

/// Which the release workflow publishes as its text.
#[test]
fn changelog_has_a_section_for_this_version() {
    let changelog = std::fs::read_to_string(root().join(".github/CHANGELOG.md")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    for part in [format!("\n## [{version}] - 2"), format!("\n[{version}]: https://")] {
        assert!(changelog.contains(&part), "{part}");
    }
}

#[test]
fn contributing_names_existing_files_and_items() {
    let text = std::fs::read_to_string(root().join(".github/CONTRIBUTING.md")).unwrap();
    for path in quoted(&text).filter(|word| word.starts_with("src/") || word.starts_with("tests/")) {
        let path = path.split(' ').next().unwrap();
        assert!(root().join(path).exists(), "`{path}`");
    }
    let (_, table) = text.split_once("## Where is").expect("the table");
    for row in table.lines().filter(|line| line.contains(".rs` | `")) {
        let (question, answer) = row.trim_matches('|').split_once('|').unwrap();
        let (files, items) = answer.rsplit_once('|').unwrap();
        let sources: Vec<_> =
            quoted(files).map(|file| std::fs::read_to_string(root().join(file)).unwrap()).collect();
        for item in quoted(items) {
            let name = item.rsplit("::").next().unwrap();
            let defined = ["fn ", "struct ", "const "].map(|kind| format!("{kind}{name}"));
            let is_there = sources.iter().any(|source| defined.iter().any(|item| source.contains(item)));
            assert!(is_there, "{question}: `{item}`");
        }
    }
}

/// The words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}
