//! Recipes in the whole program: plans and their warnings, shared clones, branch heads.

use crate::support::env::TestEnv;
use crate::support::free_port;
use serde_json::Value;

fn text(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

/// A JSON file of the newest snapshot of a repository.
fn published(env: &TestEnv, repository: &str, file: &str) -> Value {
    let path = env.path(&format!("data/{repository}/current/{file}"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The versions of a package in the newest snapshot, newest first.
fn versions(env: &TestEnv, repository: &str, package: &str) -> Vec<String> {
    let file = published(env, repository, &format!("p2/{package}.json"));
    let list = file["packages"][package].as_array().cloned().unwrap_or_default();
    list.iter().map(|v| v["version"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn plan_lists_builds_corrections_and_outdated_entries() {
    let env = TestEnv::new();
    let upstream = env.upstream("shop");
    upstream
        .write("a/composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#)
        .write("b/composer.json", r#"{"name": "acme/b", "require": {"acme/a": "*", "acme/c": "*"}}"#)
        .release("1.0.0");
    upstream.git(&["rm", "-q", "-r", "b"]);
    upstream.release("1.0.1");
    let source = "  - name: shop
    git: https://git.example/shop
    packages: [{each: ''}]
    versions:
      1.0.0: {acme/b: 1.0.0, acme/c: 3.0.0, acme/d: 4.0.0}
      2.0.0: {acme/b: 2.0.0}
    corrections:
      - {package: acme/a, versions: [1.0.0], reason: the release had it, set: {require: {php: '*'}}}
      - {package: acme/a, versions: [1.0.9], reason: misspelt, set: {require: {php: '*'}}}
    replacements:
      - {package: acme/x, version: 1.0.0, reason: gone, files: {}}
";
    env.configure(free_port(), source);
    let plan = env.mirror("plan");
    let said = text(&plan);
    assert_eq!(plan.status.code(), Some(0), "{said}");
    for line in [
        "acme shop 1.0.0: build acme/a 1.0.0 (corrected: the release had it)",
        "acme shop 1.0.0: build acme/b 1.0.0 (version pinned)",
        "acme shop: warning: a version of acme/d is pinned for tag 1.0.0, where nothing has or requires that package",
        "acme shop: warning: versions are pinned for tag 2.0.0, which is not released",
        "acme shop: warning: a correction of acme/a matches no version (misspelt)",
        "acme shop: warning: files of acme/x 1.0.0 are replaced, which is not built",
        "acme shop: 2 to build (the same in other refs: 1), 0 already published, 0 excluded, 0 failed",
    ] {
        assert!(said.lines().any(|l| l == line), "`{line}` in\n{said}");
    }
    assert_eq!(said.matches("warning").count(), 4, "{said}");
    assert!(!env.path("data/acme/packages/acme").exists(), "a plan builds nothing");
    let log = env.build(0);
    assert!(log.contains("the recipe is out of date"), "{log}");
}

#[test]
fn repositories_share_a_clone_independently() {
    let env = TestEnv::new();
    let upstream = env.upstream("shop");
    for version in ["1.0.0", "2.0.0"] {
        let manifest = format!(r#"{{"name": "acme/shop", "version": "{version}"}}"#);
        upstream.write("composer.json", &manifest).release(version);
    }
    env.configure(free_port(), "");
    let config = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    let config = config
        .replace("\ngit:", "\n  - {name: new, url: 'http://127.0.0.1:1/new/', recipe: ./new.yaml}\ngit:");
    env.write("mirror.yaml", &config);
    let recipe = |from: &str| {
        format!(
            "sources:\n  - {{name: shop, git: https://git.example/shop, tags: {{from: {from}}}, packages: [{{one: ''}}]}}\n"
        )
    };
    env.write("recipe.yaml", &recipe("1.0.0"));
    env.write("new.yaml", &recipe("2.0.0"));
    env.build(0);
    assert_eq!(versions(&env, "acme", "acme/shop"), ["2.0.0", "1.0.0"]);
    assert_eq!(versions(&env, "new", "acme/shop"), ["2.0.0"]);
    let clones = std::fs::read_dir(env.path("data/git")).unwrap();
    let clones = clones.filter(|clone| clone.as_ref().unwrap().path().is_dir());
    assert_eq!(clones.count(), 1, "one clone for both");
    let before = env.volume();
    env.build(0);
    assert_eq!(env.volume(), before, "a second cycle changes nothing");
}

#[test]
fn nightly_version_follows_the_newest_tag() {
    let env = TestEnv::new();
    let upstream = env.upstream("shop");
    upstream
        .write("a/composer.json", r#"{"name": "acme/a", "version": "1.0.0-p1"}"#)
        .write("b/composer.json", r#"{"name": "acme/b", "version": "2.0.0", "require": {"acme/a": "1.0.0"}}"#)
        .release("1.0.0");
    upstream
        .write("a/composer.json", r#"{"name": "acme/a"}"#)
        .write("b/composer.json", r#"{"name": "acme/b", "require": {"acme/a": "*"}}"#)
        .write("c/composer.json", r#"{"name": "acme/c"}"#);
    upstream.git(&["add", "-A"]);
    upstream.git(&["commit", "-q", "-m", "later"]);
    env.configure(
        free_port(),
        "  - {name: shop, git: https://git.example/shop, nightly: main, packages: [{each: ''}]}\n",
    );
    env.build(0);
    let night = versions(&env, "acme", "acme/b").remove(0);
    let date = night.strip_prefix("2.0.0.1-a").expect("it follows 2.0.0");
    assert!(date.len() == 8 && date.starts_with("20"), "{night}");
    assert_eq!(versions(&env, "acme", "acme/a"), [format!("1.0.0.1-a{date}+p1")]);
    assert_eq!(versions(&env, "acme", "acme/c"), [format!("0.0.1.1-a{date}")]);
    let b = &published(&env, "acme", "p2/acme/b.json")["packages"]["acme/b"][0];
    assert_eq!(b["require"]["acme/a"], format!("1.0.0.1-a{date}+p1"), "a night pins its own");

    let before = env.volume();
    env.build(0);
    assert_eq!(env.volume(), before, "a branch that did not move is no new night");
    let plan = || String::from_utf8(env.mirror("plan").stdout).unwrap();
    assert!(plan().contains("0 to build, 3 already published"), "{}", plan());

    let ledger = || std::fs::read_to_string(env.path("data/acme/ledger.jsonl")).unwrap();
    assert_eq!(ledger().lines().count(), 3);
    upstream.write("c/new.txt", "new");
    upstream.git(&["add", "-A"]);
    upstream.git(&["commit", "-q", "-m", "later still"]);
    assert!(plan().contains("3 to build, 0 already published"), "{}", plan());
    env.build(0);
    let ledger = ledger();
    let last: Value = serde_json::from_str(ledger.lines().last().unwrap()).unwrap();
    // After midnight it is another nightly version; before, the version moves to another file and the first file stays.
    if last["version"] == format!("0.0.1.1-a{date}") {
        assert_eq!(ledger.lines().count(), 4, "only what changed is published again\n{ledger}");
        assert_eq!((&last["name"], &last["kind"]), (&"acme/c".into(), &"dev".into()));
        let c = &published(&env, "acme", "p2/acme/c.json")["packages"]["acme/c"][0];
        assert!(c["dist"]["url"].as_str().unwrap().ends_with(last["file"].as_str().unwrap()));
        let first = format!("data/acme/packages/acme/c-0.0.1.1-a{date}.zip");
        assert!(env.path(&first).exists(), "what was published stays");
    }
}

#[test]
fn extending_recipe_includes_sources_of_its_base() {
    let env = TestEnv::new();
    env.upstream("own")
        .write("composer.json", r#"{"name": "acme/own", "version": "1.0.0"}"#)
        .release("1.0.0");
    env.upstream("mirror-composer.git")
        .write("composer.json", r#"{"name": "magento/composer"}"#)
        .release("1.0.0");
    env.configure(free_port(), "");
    let config = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    let config =
        config.replace("recipe: ./recipe.yaml", "recipe: ./recipe.yaml, only: [composer, own]").replace(
            "rewrite: {",
            &format!("rewrite: {{'https://github.com/mage-os/': 'file://{}/', ", env.path("git").display()),
        );
    env.write("mirror.yaml", &config);
    env.write(
        "recipe.yaml",
        "extends: magento
sources:
  - {name: own, git: https://git.example/own, packages: [{one: ''}]}
amend:
  composer:
    versions: {1.0.0: {magento/composer: 1.0.0}}
    corrections: [{package: magento/composer, versions: [1.0.0], reason: ours, set: {require: {php: '*'}}}]
",
    );
    // The resources of the recipe are missing, but nothing that is built needs them.
    let log = env.build(0);
    assert_eq!(versions(&env, "acme", "acme/own"), ["1.0.0"], "{log}");
    let composer = &published(&env, "acme", "p2/magento/composer.json")["packages"]["magento/composer"][0];
    assert_eq!((&composer["version"], &composer["require"]["php"]), (&"1.0.0".into(), &"*".into()));
}

#[test]
fn recipe_schema_covers_built_in_recipes() {
    let mut mirror = std::process::Command::new(env!("CARGO_BIN_EXE_mirror"));
    let output = mirror.args(["schema", "recipe"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    for key in ["extends", "amend", "sources", "archives", "resources", "aliases", "retention"] {
        assert!(schema["properties"][key].is_object(), "{key} in\n{schema:#}");
    }
    assert_eq!(schema["additionalProperties"], false);
}
