//! The metadata equals what Composer itself generates from the archives, and so what satis would publish.

use crate::support::env::TestEnv;
use crate::support::{free_port, run};
use std::process::Command;

/// Manifests with unusual content that occurs in practice; each is a package of its own.
const MANIFESTS: [(&str, &str); 7] = [
    ("plain", r#"{"name": "acme/plain", "version": "1.0.0"}"#),
    (
        "links",
        r#"{"name": "acme/links", "version": "v2.0.0-p11", "require": {"Zeta/One": "^1", "alpha/two": "self.version", "php": "~8.1||~8.2"},
            "require-dev": {"b/b": "*", "a/a": "dev-main#abc as 1.0"}, "conflict": {"c/c": "<1"}, "replace": {"d/d": "self.version"},
            "provide": {"e/e": "1.0"}, "suggest": {"z/z": "for z", "a/a": " self.version "}}"#,
    ),
    (
        "people",
        r#"{"name": "acme/people", "version": "1.0.0-beta.1", "license": "MIT", "type": "Magento2-Module", "description": "Grüße",
            "keywords": ["zebra", "Apple", "apple"], "authors": [{"name": "A", "email": "a@b.example"}], "homepage": "https://acme.example",
            "support": {"source": "https://acme.example/src"}, "funding": [{"type": "other", "url": "https://acme.example/f"}], "abandoned": "acme/plain"}"#,
    ),
    (
        "paths",
        r#"{"name": "acme/paths", "version": "3.1", "bin": "/bin/run", "autoload": {"psr-4": {"Acme\\": "src/"}, "files": ["a.php"]},
            "autoload-dev": {"psr-4": {"Acme\\Test\\": "test/"}}, "include-path": ["lib"],
            "extra": {"map": [["*", "x"]], "n": 5}, "scripts": {"post-install-cmd": "echo", "x": ["a", "b"]},
            "archive": {"exclude": ["/tests"]}, "license": ["OSL-3.0", "AFL-3.0"]}"#,
    ),
    (
        "folder",
        r#"{"name": "acme/folder", "version": "1.0.0", "autoload": {"psr-0": {"Acme_": ""}}, "target-dir": "x/y", "bin": {"a": "/bin/a"},
            "license": {"a": "MIT"}, "keywords": {"a": "x", "b": 5}, "scripts": [null], "abandoned": 1, "description": "0"}"#,
    ),
    (
        "empty",
        r#"{"name": "acme/empty", "version": "1.0.0-RC1", "require": {}, "suggest": [], "extra": {}, "keywords": [], "description": "",
            "license": [], "autoload": {}, "bin": [], "authors": [], "abandoned": false}"#,
    ),
    (
        "root",
        r#"{"name": "acme/root", "version": "1.0.0", "type": "project", "minimum-stability": "dev", "config": {"x": 1}, "abandoned": true}"#,
    ),
];

#[test]
fn metadata_equals_composer_dump_of_archives() {
    let env = TestEnv::new();
    let upstream = env.upstream("modules");
    for (folder, manifest) in MANIFESTS {
        upstream.write(&format!("{folder}/composer.json"), manifest);
    }
    upstream.release("1.0.0");
    for (version, require) in [
        ("1.1.0", r#""require": {"b/b": "1", "a/a": "1"},"#),
        ("1.2.0", r#""require": {"a/a": "1", "b/b": "1"},"#),
    ] {
        let manifest = format!(r#"{{"name": "acme/plain", {require} "version": "{version}"}}"#);
        upstream.write("plain/composer.json", &manifest).release(version);
    }
    env.configure(
        free_port(),
        "  - {name: modules, git: 'https://git.example/modules', packages: [{each: ''}]}\n",
    );
    env.build(0);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/metadata.php");
    let verdict = run(Command::new("php").arg(script).arg(env.path("data/acme")));
    assert_eq!(verdict, "9 compared, 0 different\n");
}
