//! A version that some Composer could not load fails by field and reason; a field that Composer does without is left out with a warning.

use crate::support::env::TestEnv;
use crate::support::free_port;
use serde_json::{Value, json};

/// A field of a manifest beside `"name": "acme/NAME"` and `"version": "1.0.0"`, and why the version fails.
const FATAL: [(&str, &str); 22] = [
    (r#""autoload": "src/""#, "autoload: must be a map"),
    (r#""autoload": {"psr4": {"A\\": "src/"}}"#, "autoload.psr4: must be one of"),
    (r#""autoload": {"psr-4": {"A": "src/"}}"#, "the namespace `A` must end with"),
    (r#""autoload": {"psr-4": "src/"}"#, "autoload.psr-4: must be a map"),
    (r#""autoload": {"files": [1]}"#, "autoload.files: must hold paths"),
    (r#""autoload": {"psr-4": {"A\\": "src/"}}, "target-dir": "A""#, "target-dir: cannot be used"),
    (r#""autoload-dev": true"#, "autoload-dev: must be a map"),
    (r#""include-path": "lib/""#, "include-path: must be a list of strings"),
    (r#""target-dir": ["x"]"#, "target-dir: must be a string"),
    (r#""type": ["library"]"#, "type: must be a string"),
    (r#""bin": {"x": ["bin/x"]}"#, "bin: must be a string or a list of strings"),
    (r#""bin": ["bin/x", "bin/../../x"]"#, "bin: `bin/../../x` leaves the package"),
    (r#""bin": "..\\x""#, "leaves the package"),
    (r#""require": {"1": "1.0"}"#, "require.1: is a number"),
    (r#""require": ["a/b"]"#, "require: must be a map"),
    (r#""require": {"a/b": "1.0\u00a0"}"#, "require.a/b: the constraint"),
    (r#""conflict": {"a/b": "*"}, "replace": {"a/b": "*"}"#, "conflict.a/b: is also replaced"),
    (r#""require": {"acme/p17": "*"}"#, "a package cannot require itself"),
    (r#""type": "php-ext", "php-ext": {"priority": "80"}"#, "php-ext.priority: must be an integer"),
    (r#""type": "php-ext", "php-ext": {"os-families": ["amiga"]}"#, "php-ext.os-families"),
    (r#""type": "project", "minimum-stability": "nightly""#, "minimum-stability: must be one of"),
    (r#""type": "project", "description": 1"#, "description: must be a string"),
];

/// A field without which Composer installs the package all the same, and the reason of the warning.
const OMITTED: [(&str, &str); 14] = [
    (r#""description": ["x"]"#, "description: must be a string"),
    (r#""homepage": {}"#, "homepage: must be a string"),
    (r#""keywords": [["x"]]"#, "keywords: must be a list of strings"),
    (r#""license": [1]"#, "license: must be a string"),
    (r#""authors": ["x"]"#, "authors: must be a list of maps"),
    (r#""funding": [{"url": 1}]"#, "funding: must be a list of maps"),
    (r#""support": "https://acme.example""#, "support: must be a map"),
    (r#""suggest": {"ext-intl": null}"#, "suggest: must be a map"),
    (r#""suggest": ["ext-intl"]"#, "suggest: must be a map"),
    (r#""archive": {"exclude": "/tests"}"#, "archive: must be a map"),
    (r#""scripts": "x""#, "scripts: must be a map"),
    (r#""extra": "x""#, "extra: must be a map"),
    (r#""php-ext": {"priority": 80}"#, "php-ext: needs the type php-ext"),
    (r#""minimum-stability": "nightly""#, "minimum-stability: must be one of"),
];

#[test]
fn versions_that_composer_cannot_load_fail_by_field_and_others_omit_it() {
    let env = TestEnv::new();
    let upstream = env.upstream("modules");
    let all: Vec<_> = FATAL.iter().chain(&OMITTED).collect();
    for (i, (field, _)) in all.iter().enumerate() {
        let manifest = format!(r#"{{"name": "acme/p{i}", "version": "1.0.0", {field}}}"#);
        upstream.write(&format!("p{i}/composer.json"), &manifest);
    }
    let extension = r#"{"name": "acme/extension", "version": "1.0.0", "type": "php-ext", "php-ext": {"extension-name": "x", "priority": 80}}"#;
    upstream.write("extension/composer.json", extension);
    upstream.release("1.0.0");
    env.configure(
        free_port(),
        "  - {name: modules, git: 'https://git.example/modules', packages: [{each: ''}]}\n",
    );
    let log = env.build(1);

    let report: Value = serde_json::from_str(&env.read("data/acme/current/report.json")).unwrap();
    let reason = |rows: &str, package: &str| {
        let rows = report["sources"]["modules"][rows].as_array().unwrap();
        let row = rows.iter().find(|row| row["package"] == package)?;
        Some(row["because"].as_str().unwrap().to_owned())
    };
    assert!(log.contains("the metadata leaves out what Composer cannot read: "), "{log}");
    for (i, (field, because)) in all.iter().enumerate() {
        let package = format!("acme/p{i} 1.0.0");
        if i < FATAL.len() {
            let reason = reason("failed", &package).unwrap_or_else(|| panic!("{field} was published"));
            assert!(reason.contains(because), "{field}: {reason}");
        } else {
            assert_eq!(reason("failed", &package), None, "{field}");
            let notice = reason("notices", &package).unwrap_or_else(|| panic!("{field}: no notice"));
            assert!(notice.contains(because), "{field}: {notice}");
            let page = env.read(&format!("data/acme/current/package/acme/p{i}.html"));
            assert!(page.contains(&because.replace('"', "&quot;")), "{field}: {page}");
            let key = field.split('"').nth(1).unwrap();
            assert_eq!(entry(&env, &format!("acme/p{i}"))[key], Value::Null, "{field}");
        }
    }
    let extension = entry(&env, "acme/extension");
    assert_eq!(extension["php-ext"], json!({"extension-name": "x", "priority": 80}));

    let log = env.build(1);
    assert!(!log.contains("the metadata leaves out"), "warned again: {log}");
}

/// The metadata of the only version of a package.
fn entry(env: &TestEnv, package: &str) -> Value {
    let text = env.read(&format!("data/acme/current/p2/{package}.json"));
    let document: Value = serde_json::from_str(&text).unwrap();
    document["packages"][package][0].clone()
}
