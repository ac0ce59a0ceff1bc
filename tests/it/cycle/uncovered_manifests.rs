//! Manifests of upstream that no rule of the recipe makes a package of.

use serde_json::{Value, json};

use crate::support::env::TestEnv;
use crate::support::free_port;

#[test]
fn new_package_without_a_rule_is_named_once() {
    let env = TestEnv::new();
    let shop = env.upstream("shop");
    let manifest = |name: &str| format!(r#"{{"name": "acme/{name}", "version": "1.0.0"}}"#);
    shop.write("composer.json", &manifest("base"))
        .write("lib/Framework/composer.json", &manifest("framework"))
        .write("lib/Framework/Bulk/composer.json", &manifest("bulk"))
        .write("lib/Framework/Test/Unit/_files/composer.json", &manifest("test-data"))
        .write("design/blank/composer.json", &manifest("blank"))
        .write("dev/tool/composer.json", &manifest("tool"))
        .release("1.0.0");
    env.configure(
        free_port(),
        "  - name: shop
    git: https://git.example/shop
    fixtures: [Test/Unit]
    packages:
      - {one: '', exclude: [lib/Framework/, design/, dev/]}
      - {one: lib/Framework, exclude: [lib/Framework/Bulk/]}
      - {one: lib/Framework/Bulk}
      - {one: design/blank}
",
    );
    let log = env.build(0);
    assert!(!log.contains("makes a package"), "{log}");

    // One becomes part of its parent, the other one part of nothing.
    shop.write("lib/Framework/NewThing/composer.json", &manifest("new-thing"))
        .write("design/luma/composer.json", &manifest("luma"))
        .release("1.1.0");
    let log = env.build(0);
    let paths = ["design/luma/composer.json", "lib/Framework/NewThing/composer.json"];
    for path in paths {
        assert_eq!(log.matches(path).count(), 1, "{log}");
    }
    shop.write("lib/Framework/NewThing/x.php", "").release("1.2.0");
    let log = env.build(0);
    assert!(!log.contains("makes a package"), "{log}");
    let report: Value = serde_json::from_str(&env.read("data/acme/current/report.json")).unwrap();
    let tags = json!(["1.1.0", "1.2.0"]);
    assert_eq!(report["sources"]["shop"]["uncovered"], json!({ paths[0]: tags, paths[1]: tags }));
    let plan = String::from_utf8(env.mirror("plan").stdout).unwrap();
    let line =
        "acme shop: warning: no rule makes a package of `design/luma/composer.json` (1.1.0 to 1.2.0, 2 tags)";
    assert!(plan.lines().any(|said| said == line), "{plan}");

    let recipe = env.read("recipe.yaml");
    env.write(
        "recipe.yaml",
        &format!("{recipe}      - {{one: lib/Framework/NewThing}}\n      - {{one: design/luma}}\n"),
    );
    env.build(0);
    let report: Value = serde_json::from_str(&env.read("data/acme/current/report.json")).unwrap();
    assert_eq!(report["sources"]["shop"]["uncovered"], Value::Null);
}
