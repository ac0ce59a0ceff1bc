//! URLs, branches and aliases that return to an earlier value. Files are published once, whatever happened in between.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::env::TestEnv;
use crate::support::free_port;
use crate::support::git::WorkTree;
use crate::support::http::get;
use serde_json::Value;

/// A package and a derived one that contains the base URL.
fn bound(env: &TestEnv) -> WorkTree {
    let upstream = env.upstream("shop");
    upstream
        .write(
            "composer.json",
            r#"{"name": "acme/shop", "version": "1.0.0", "require": {"acme/x": "1.0.0"}}"#,
        )
        .release("1.0.0");
    env.upstream("parts").write("part.json", r#"{"name": "acme/project"}"#).release("1.0.0");
    upstream
}

fn recipe(env: &TestEnv, more: &str) {
    env.write(
        "recipe.yaml",
        &format!(
            "resources: {{parts: {{git: 'https://git.example/parts'}}}}\nsources:\n  - name: shop\n    git: https://git.example/shop\n{more}    packages:\n      - derive:\n          package: acme/project\n          part: [{{resource: parts, path: part.json}}]\n          set: {{version: '{{tag}}', type: project, repositories: [{{type: composer, url: '{{base_url}}'}}]}}\n          require: [root]\n"
        ),
    );
}

/// Adds a second source, so that cycles publish something while the first one does not change.
fn other(env: &TestEnv) -> WorkTree {
    let recipe = std::fs::read_to_string(env.path("recipe.yaml")).unwrap();
    env.write(
        "recipe.yaml",
        &format!("{recipe}  - {{name: other, git: https://git.example/other, packages: [{{one: ''}}]}}\n"),
    );
    let config = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    env.write("mirror.yaml", &format!("{config}snapshots: {{keep: 2, grace: 1s}}\n"));
    env.upstream("other")
}

fn release_other(env: &TestEnv, upstream: &WorkTree, version: &str, code: i32) {
    let manifest = format!(r#"{{"name": "acme/other", "version": "{version}"}}"#);
    upstream.write("composer.json", &manifest).release(version);
    env.build(code);
    std::thread::sleep(Duration::from_millis(1100));
}

fn ledger(env: &TestEnv) -> Vec<Value> {
    let text = std::fs::read_to_string(env.path("data/acme/ledger.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Requests every archive that the metadata names, checks its digest, and returns the names.
fn assert_served(env: &TestEnv, port: u16) -> BTreeSet<String> {
    let verified = env.mirror("verify");
    let said = String::from_utf8_lossy(&[verified.stdout, verified.stderr].concat()).into_owned();
    assert!(verified.status.success(), "{said}");
    let _server = env.serve("serve", port);
    let list: Value = serde_json::from_slice(&get(port, "/mirror/list.json").body).unwrap();
    let mut found = BTreeSet::new();
    for name in list["packageNames"].as_array().unwrap() {
        let name = name.as_str().unwrap();
        let metadata: Value =
            serde_json::from_slice(&get(port, &format!("/mirror/p2/{name}.json")).body).unwrap();
        for version in metadata["packages"][name].as_array().unwrap() {
            let url = version["dist"]["url"].as_str().unwrap();
            let path = &url[url.find("/mirror/").unwrap()..];
            assert_eq!(get(port, path).status, 200, "{path}");
            found.insert(path.to_owned());
        }
    }
    found
}

#[test]
fn base_url_that_returns_reuses_its_packages() {
    let env = TestEnv::new();
    bound(&env);
    let port = free_port();
    env.configure(port, "");
    recipe(&env, "");
    let home = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    let away = home.replace(&format!("http://127.0.0.1:{port}/mirror/"), "http://away.example/");
    for config in [&home, &away, &home] {
        env.write("mirror.yaml", config);
        env.build(0);
    }
    assert_eq!(ledger(&env).len(), 2, "one for each URL");
    assert_eq!(assert_served(&env, port).len(), 1);
}

/// Moves the repository to another URL while the upstream is away, and returns its metadata.
fn move_without_upstream(env: &TestEnv, upstream: &WorkTree, package: &str) -> String {
    std::fs::rename(&upstream.path, env.path("away")).unwrap();
    env.write("mirror.yaml", &env.read("mirror.yaml").replace("/mirror/", "/elsewhere/"));
    let log = env.build(1);
    assert!(!log.contains("failed to publish for the new base URL"), "{log}");
    env.read("data/acme/current/packages.json")
        + &env.read(&format!("data/acme/current/p2/acme/{package}.json"))
}

#[test]
fn new_base_url_needs_no_upstream() {
    let env = TestEnv::new();
    let shop = bound(&env);
    env.configure(free_port(), "");
    recipe(&env, "");
    env.build(0);
    let metadata = move_without_upstream(&env, &shop, "project");
    assert!(!metadata.contains("/mirror/"), "{metadata}");
    assert!(metadata.contains("/elsewhere/packages/acme/project-1.0.0-"), "{metadata}");
}

#[test]
fn new_base_url_keeps_a_rollback() {
    let env = TestEnv::new();
    let shop = env.upstream("shop");
    env.configure(free_port(), "  - {name: shop, git: https://git.example/shop, packages: [{one: ''}]}\n");
    for version in ["1.0.0", "2.0.0"] {
        shop.write("composer.json", &format!(r#"{{"name": "acme/shop", "version": "{version}"}}"#))
            .release(version);
        env.build(0);
    }
    let output = env.command(&["rollback"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let metadata = move_without_upstream(&env, &shop, "shop");
    assert!(metadata.contains("/elsewhere/packages/acme/shop-1.0.0.zip"), "{metadata}");
    assert!(!metadata.contains("shop-2.0.0"), "{metadata}");
}

#[test]
fn branch_that_returns_to_a_commit_reuses_its_archive() {
    let env = TestEnv::new();
    let upstream = env.upstream("shop");
    let heads = ["one", "two"].map(|state| {
        upstream.write("composer.json", r#"{"name": "acme/shop", "version": "1.0.0"}"#);
        upstream.write("state", state).release(state);
        upstream.git(&["rev-parse", "HEAD"]).trim().to_owned()
    });
    upstream.git(&["tag", "1.0.0", "one"]);
    let port = free_port();
    env.configure(
        port,
        "  - {name: shop, git: https://git.example/shop, nightly: main, packages: [{one: ''}]}\n",
    );
    let other = other(&env);
    let release = |version: &str| release_other(&env, &other, version, 0);
    for (turn, head) in heads.iter().cycle().take(4).enumerate() {
        upstream.git(&["reset", "-q", "--hard", head]);
        release(&format!("1.0.{turn}"));
    }
    let nights: Vec<_> = ledger(&env).into_iter().filter(|line| line["kind"] == "dev").collect();
    // After midnight the last versions belong to the next night.
    let is_one_night = nights.iter().all(|line| line["version"] == nights[0]["version"]);
    if is_one_night {
        assert_eq!(nights[1]["file"], nights[3]["file"], "the same bytes are the same file");
    }
    // Withdraw unreferenced versions and remove their archives.
    for turn in 4..9 {
        release(&format!("1.0.{turn}"));
    }
    let served = assert_served(&env, port);
    assert_eq!(served.len(), 9 + if is_one_night { 1 } else { 2 });
    if is_one_night {
        let first =
            env.path(&format!("data/acme/packages/acme/shop-{}.zip", nights[0]["version"].as_str().unwrap()));
        assert!(!first.exists(), "what nothing names goes");
    }
}

#[test]
fn nightly_build_requires_every_source() {
    let env = TestEnv::new();
    let [a, b] = [("a", "acme/b"), ("b", "acme/c")].map(|(name, required)| {
        let upstream = env.upstream(name);
        let manifest =
            format!(r#"{{"name": "acme/{name}", "version": "1.0.0", "require": {{"{required}": "1.0.0"}}}}"#);
        upstream.write("composer.json", &manifest).release("1.0.0");
        upstream
    });
    let port = free_port();
    let source = |name: &str| {
        format!(
            "  - {{name: {name}, git: 'https://git.example/{name}', nightly: main, packages: [{{one: ''}}]}}\n"
        )
    };
    env.configure(port, &(source("a") + &source("b")));
    env.build(0);
    a.write("code", "more").release("x");
    let away = env.path("away");
    std::fs::rename(&b.path, &away).unwrap();
    let before = ledger(&env);
    let log = env.build(1);
    assert!(log.contains("source `a`: no nightly build without `b`"), "{log}");
    assert_eq!(ledger(&env), before);
    std::fs::rename(&away, &b.path).unwrap();
    env.build(0);
    let lines = ledger(&env);
    assert_eq!(lines.last().map(|line| &line["name"]), Some(&"acme/a".into()));
    let metadata = std::fs::read_to_string(env.path("data/acme/current/p2/acme/a.json")).unwrap();
    assert!(metadata.contains("1.0.0.1-a") && !metadata.contains(r#""acme/b":"1.0.0""#), "{metadata}");
    assert_served(&env, port);
}

#[test]
fn package_with_base_url_is_released_again_in_the_same_night() {
    let env = TestEnv::new();
    let upstream = bound(&env);
    let port = free_port();
    env.configure(port, "");
    recipe(&env, "    nightly: main\n");
    env.build(0);
    for requirement in ["1.0.1", "1.0.2"] {
        let manifest = format!(
            r#"{{"name": "acme/shop", "version": "1.0.0", "require": {{"acme/x": "{requirement}"}}}}"#
        );
        upstream.write("composer.json", &manifest);
        upstream.git(&["add", "-A"]);
        upstream.git(&["commit", "-q", "-m", requirement]);
        env.build(0);
    }
    let lines = ledger(&env);
    let files: BTreeSet<_> = lines.iter().map(|line| line["file"].to_string()).collect();
    assert_eq!((lines.len(), files.len()), (3, 3), "each state has its own file");
    assert_eq!(lines[0]["bound"], format!("http://127.0.0.1:{port}/mirror/"));
    assert!(!assert_served(&env, port).is_empty());
}

#[test]
fn withdrawn_nightly_version_returns_with_its_url() {
    let env = TestEnv::new();
    bound(&env);
    let port = free_port();
    env.configure(port, "");
    recipe(&env, "    nightly: main\n");
    let other = other(&env);
    let home = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    let away = home.replace(&format!("http://127.0.0.1:{port}/mirror/"), "http://away.example/");
    release_other(&env, &other, "1.0.0", 0);
    env.write("mirror.yaml", &away);
    for version in ["1.0.1", "1.0.2", "1.0.3"] {
        release_other(&env, &other, version, 0);
    }
    env.write("mirror.yaml", &home);
    env.build(0);
    let served = assert_served(&env, port);
    assert!(served.iter().any(|path| path.contains("acme/project-")), "{served:?}");
}

#[test]
fn versions_required_by_a_held_back_package_are_kept() {
    let env = TestEnv::new();
    let shop = env.upstream("shop");
    for version in ["1.0.0", "1.1.0"] {
        let manifest = format!(r#"{{"name": "acme/shop", "version": "{version}"}}"#);
        shop.write("composer.json", &manifest).release(version);
    }
    env.configure(
        free_port(),
        "  - {name: shop, git: https://git.example/shop, packages: [{one: ''}]}\n  - {name: night, git: https://git.example/shop, nightly: main, packages: [{one: ''}]}\nretention: {versions: 1}\n",
    );
    // The sources come first.
    let recipe = std::fs::read_to_string(env.path("recipe.yaml")).unwrap();
    let retention = "retention: {versions: 1}\n";
    env.write("recipe.yaml", &recipe.replace(retention, ""));
    let other = other(&env);
    let recipe = std::fs::read_to_string(env.path("recipe.yaml")).unwrap();
    env.write("recipe.yaml", &format!("{recipe}{retention}"));
    release_other(&env, &other, "1.0.0", 0);
    shop.git(&["tag", "-d", "1.0.0"]);
    std::fs::remove_file(env.path("data/acme/packages/acme/shop-1.0.0.zip")).unwrap();
    for turn in 1..6 {
        shop.write("text", &turn.to_string());
        shop.git(&["add", "-A"]);
        shop.git(&["commit", "-q", "-m", "later"]);
        release_other(&env, &other, &format!("1.0.{turn}"), 1);
    }
    let metadata = std::fs::read(env.path("data/acme/current/p2/acme/shop.json")).unwrap();
    let metadata: Value = serde_json::from_slice(&metadata).unwrap();
    let versions = metadata["packages"]["acme/shop"].as_array().unwrap();
    assert_eq!(versions.len(), 3);
    for version in versions.iter().filter(|version| version["version"] != "1.0.0") {
        let url = version["dist"]["url"].as_str().unwrap();
        let path = &url[url.find("/packages/").unwrap() + 1..];
        assert!(env.path("data/acme").join(path).exists(), "{path}");
    }
}
