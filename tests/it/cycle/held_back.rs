//! Metapackages that wait for what they require, and what an operator can do about it.

use serde_json::{Value, json};

use crate::support::env::TestEnv;
use crate::support::free_port;
use crate::support::git::WorkTree;

const SHOP: &str = "  - {name: shop, git: https://git.example/shop, packages: [{each: ''}]}\n";
const PARTS: &str = "  - {name: parts, git: https://git.example/parts, packages: [{each: ''}]}\n";

fn package(upstream: &WorkTree, name: &str, version: &str) {
    let manifest = json!({ "name": format!("acme/{name}"), "version": version });
    upstream.write(&format!("{name}/composer.json"), &manifest.to_string());
}

fn metapackage(upstream: &WorkTree, name: &str, version: &str, require: &Value) {
    let manifest = json!({ "name": format!("acme/{name}"), "version": version, "type": "metapackage", "require": require });
    upstream.write(&format!("{name}/composer.json"), &manifest.to_string());
}

/// The published versions of a package, newest first.
fn versions(env: &TestEnv, name: &str) -> Vec<String> {
    let Ok(text) = std::fs::read(env.path(&format!("data/acme/current/p2/acme/{name}.json"))) else {
        return Vec::new();
    };
    let file: Value = serde_json::from_slice(&text).unwrap();
    let list = file["packages"][format!("acme/{name}")].as_array().cloned().unwrap_or_default();
    list.iter().map(|version| version["version"].as_str().unwrap().to_owned()).collect()
}

fn report(env: &TestEnv) -> Value {
    serde_json::from_str(&env.read("data/acme/current/report.json")).unwrap()
}

/// What a source holds back, as `package: the versions that it waits for`.
fn held_back(env: &TestEnv, source: &str) -> Vec<String> {
    let report = report(env);
    let rows = report["sources"][source]["held_back"].as_array().cloned().unwrap_or_default();
    let line = |row: &Value| {
        let missing = row["waits_for"].as_array().cloned().unwrap_or_default();
        let missing = missing
            .iter()
            .map(|m| format!("{} {}", m["name"].as_str().unwrap(), m["version"].as_str().unwrap()));
        format!("{}: {}", row["package"].as_str().unwrap(), missing.collect::<Vec<_>>().join(", "))
    };
    rows.iter().map(line).collect()
}

#[test]
fn metapackage_is_published_once_another_source_has_what_it_requires() {
    let env = TestEnv::new();
    let (shop, parts) = (env.upstream("shop"), env.upstream("parts"));
    package(&shop, "core", "1.0.0");
    metapackage(&shop, "suite", "1.0.0", &json!({ "acme/core": "1.0.0", "acme/part": "1.1.0" }));
    metapackage(&shop, "edition", "1.0.0", &json!({ "acme/suite": "self.version" }));
    shop.release("1.0.0");
    package(&parts, "part", "1.0.0");
    parts.release("1.0.0");
    env.configure(free_port(), &format!("{SHOP}{PARTS}"));

    let log = env.build(0);
    assert!(versions(&env, "suite").is_empty() && versions(&env, "edition").is_empty(), "{log}");
    assert_eq!(versions(&env, "core"), ["1.0.0"]);
    let waiting = ["acme/edition 1.0.0: acme/suite 1.0.0", "acme/suite 1.0.0: acme/part 1.1.0"];
    assert_eq!(held_back(&env, "shop"), waiting);
    for part in ["acme/suite 1.0.0", "nobody provides acme/part 1.1.0", "publish_incomplete"] {
        assert!(log.contains(part), "`{part}` in\n{log}");
    }
    let plan = String::from_utf8(env.mirror("plan").stdout).unwrap();
    assert!(plan.contains("acme/suite 1.0.0 held back: nobody provides acme/part 1.1.0"), "{plan}");
    assert!(plan.contains("0 to build, 1 already published, 0 excluded, 2 held back, 0 failed"), "{plan}");
    let before = env.volume();
    env.build(0);
    assert_eq!(env.volume(), before, "waiting changes nothing");

    package(&parts, "part", "1.1.0");
    parts.release("1.1.0");
    env.build(0);
    assert_eq!(
        (versions(&env, "suite"), versions(&env, "edition")),
        (vec!["1.0.0".into()], vec!["1.0.0".into()])
    );
    assert!(held_back(&env, "shop").is_empty());
    let before = env.volume();
    env.build(0);
    assert_eq!(env.volume(), before, "all is published");
}

#[test]
fn metapackage_is_complete_whatever_the_order_of_sources() {
    let env = TestEnv::new();
    let (shop, parts) = (env.upstream("shop"), env.upstream("parts"));
    // `1.0` and `1.0.0` are the same version. Two metapackages may require each other.
    metapackage(&shop, "suite", "1.0.0", &json!({ "acme/part": "1.0", "acme/edition": "1.0.0" }));
    metapackage(
        &shop,
        "edition",
        "1.0.0",
        &json!({ "acme/suite": "1.0.0", "other/library": "3.0.0", "php": "8.3.0" }),
    );
    shop.release("1.0.0");
    package(&parts, "part", "1.0.0");
    parts.release("1.0.0");
    env.configure(free_port(), &format!("{SHOP}{PARTS}"));
    let plan = String::from_utf8(env.mirror("plan").stdout).unwrap();
    assert!(!plan.contains("held back"), "{plan}");
    env.build(0);
    assert_eq!(held_back(&env, "shop"), Vec::<String>::new());
    assert_eq!((versions(&env, "suite").len(), versions(&env, "edition").len()), (1, 1));
    // The next cycle has nothing to do.
    let before = env.volume();
    env.build(0);
    assert_eq!(env.volume(), before);
}

#[test]
fn package_that_failed_or_is_excluded_holds_its_metapackage_back() {
    let env = TestEnv::new();
    let (shop, parts) = (env.upstream("shop"), env.upstream("parts"));
    parts.write(
        "part/composer.json",
        r#"{"name": "beta/part", "version": "1.0.0", "require": {"a/b": "not one"}}"#,
    );
    parts.release("1.0.0");
    package(&shop, "core", "1.0.0");
    shop.release("1.0.0");
    package(&shop, "core", "2.0.0");
    metapackage(&shop, "suite", "2.0.0", &json!({ "acme/core": "1.0.0", "beta/part": "1.0.0" }));
    shop.release("2.0.0");
    let tags = SHOP.replace("packages", "tags: {exclude: [1.0.0]}, packages");
    env.configure(free_port(), &format!("{tags}{PARTS}"));
    let log = env.build(1);
    assert_eq!(held_back(&env, "shop"), ["acme/suite 2.0.0: acme/core 1.0.0, beta/part 1.0.0"], "{log}");
    assert!(log.contains("beta/part 1.0.0 (failed)"), "{log}");
}

#[test]
fn operator_publishes_an_incomplete_metapackage_by_name() {
    let env = TestEnv::new();
    let shop = env.upstream("shop");
    package(&shop, "core", "1.0.0");
    metapackage(&shop, "suite", "1.0.0", &json!({ "acme/core": "1.0.0", "acme/gone": "1.0.0" }));
    metapackage(&shop, "bundle", "1.0.0", &json!({ "acme/outside": "4.0.0" }));
    shop.release("1.0.0");
    env.configure(free_port(), SHOP);
    env.build(0);
    assert_eq!(held_back(&env, "shop").len(), 2);

    let recipe = env.read("recipe.yaml");
    env.write("recipe.yaml", &format!("{recipe}external_packages: [acme/outside]\n"));
    env.build(0);
    assert_eq!((versions(&env, "bundle").len(), versions(&env, "suite").len()), (1, 0));

    let released =
        "publish_incomplete: [{package: acme/suite, versions: [1.0.0], reason: gone is optional}]\n";
    env.write("recipe.yaml", &format!("{recipe}external_packages: [acme/outside]\n{released}"));
    env.build(0);
    assert_eq!(versions(&env, "suite"), ["1.0.0"]);
    assert!(held_back(&env, "shop").is_empty());
    // It stays published, and is a gap now; what comes from elsewhere is none.
    env.write("recipe.yaml", &format!("{recipe}external_packages: [acme/outside]\n"));
    env.build(0);
    assert_eq!(versions(&env, "suite"), ["1.0.0"]);
    let gaps = report(&env)["gaps"].clone();
    assert_eq!(gaps.as_array().unwrap().len(), 1, "{gaps}");
    assert_eq!(gaps[0]["needs"], "acme/gone");
}

#[test]
fn held_back_versions_are_part_of_the_status() {
    let env = TestEnv::new();
    let shop = env.upstream("shop");
    package(&shop, "core", "1.0.0");
    metapackage(&shop, "suite", "1.0.0", &json!({ "acme/gone": "1.0.0" }));
    shop.release("1.0.0");
    let port = free_port();
    env.configure(port, SHOP);
    env.build(0);
    let _server = env.serve("serve", port);
    let status = crate::support::http::get(port, "/mirror/mirror.json").json();
    assert_eq!(status["repository"]["counts"]["held_back"], 1, "{status:#}");
    assert_eq!(status["repository"]["held_back"][0]["package"], "acme/suite 1.0.0");
    assert_eq!(status["repository"]["state"], "fresh", "waiting is no failure");
    let page = crate::support::http::get(port, "/mirror/status.html").into_text();
    assert!(page.contains("acme/suite 1.0.0: nobody provides acme/gone 1.0.0"), "{page}");
}

#[test]
fn release_without_its_files_is_one_line_until_they_come() {
    let env = TestEnv::new();
    let (shop, files) = (env.upstream("shop"), env.upstream("files"));
    shop.write("composer.json", r#"{"name": "acme/root", "require": {"acme/core": "*", "acme/extra": "*"}}"#);
    package(&shop, "core", "3.0.0");
    package(&shop, "extra", "1.5.0");
    shop.release("3.0.0");
    files.write("README", "").release("1.0.0");
    env.configure(free_port(), "");
    let derive = |name: &str, kind: &str| {
        format!(
            "      - derive:
          package: acme/{name}
          part: [{{resource: files, path: '{name}/{{tag}}.json'}}]
          set: {{type: {kind}, version: '{{tag}}'}}
          require: [root, part]
          together: {{vendor: acme}}
"
        )
    };
    env.write(
        "recipe.yaml",
        &format!(
            "resources: {{files: {{git: 'https://git.example/files'}}}}
sources:
  - name: shop
    git: https://git.example/shop
    packages:
      - {{each: ''}}
      - {{one: '', manifest: [{{resource: files, path: 'base/{{tag}}.json'}}], exclude: [core/, extra/]}}
{}{}",
            derive("product", "metapackage"),
            derive("project", "project")
        ),
    );
    let log = env.build(0);
    let rows = report(&env)["sources"]["shop"]["held_back"].clone();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows:#}");
    assert_eq!(rows[0]["package"], "the root package, acme/product, acme/project");
    for file in ["base/3.0.0.json", "product/3.0.0.json", "project/3.0.0.json"] {
        assert!(rows[0]["because"].as_str().unwrap().contains(file), "{rows:#}");
    }
    assert_eq!(log.matches("base/3.0.0.json").count(), 1, "{log}");
    assert_eq!(versions(&env, "core"), ["3.0.0"], "the others are published");

    // The file says which packages have versions of their own; the others have the release's.
    files.write("base/3.0.0.json", r#"{"name": "acme/base", "version": "3.0.0"}"#);
    files.write("product/3.0.0.json", r#"{"require": {"acme/extra": "1.5.0"}}"#);
    files.write("project/3.0.0.json", r#"{"require": {"acme/extra": "1.5.0"}}"#);
    files.release("1.0.1");
    let log = env.build(0);
    assert_eq!(report(&env)["sources"]["shop"]["held_back"], Value::Null, "{log}");
    let text = env.read("data/acme/current/p2/acme/product.json");
    let product: Value = serde_json::from_str(&text).unwrap();
    let require = &product["packages"]["acme/product"][0]["require"];
    assert_eq!(*require, json!({ "acme/core": "3.0.0", "acme/extra": "1.5.0" }));
    assert_eq!(versions(&env, "project"), ["3.0.0"]);
}
