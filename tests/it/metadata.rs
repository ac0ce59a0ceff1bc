//! The metadata equals what Composer itself generates from the archives, and so what satis would publish.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::support::env::TestEnv;
use crate::support::shop::configure_repository;
use crate::support::{free_port, run};
use mirror::util::digest::Sha256;
use serde_json::Value;

/// The public files of the newest snapshot in a data folder, and its number.
fn newest(data: &Path) -> (u64, BTreeMap<String, Vec<u8>>) {
    let folder = data.join("acme/snapshots");
    let numbers = std::fs::read_dir(&folder).unwrap();
    let numbers = numbers.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let number: u64 = numbers.max().unwrap();
    let folder = folder.join(number.to_string());
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let paths = manifest["files"].as_object().unwrap().keys();
    let files = paths.map(|path| (path.clone(), std::fs::read(folder.join(path)).unwrap()));
    (number, files.collect())
}

/// The name of a step, the change before its cycle, further keys of the repository's configuration, and the package whose
/// archives the cycle need not read.
type Step<'a> = (&'a str, &'a dyn Fn(), &'a str, Option<&'a str>);

#[test]
fn reused_metadata_equals_newly_rendered_metadata() {
    let env = TestEnv::new();
    let upstream = env.upstream("modules");
    let write = |name: &str, version: &str, more: &str| {
        let manifest = format!(r#"{{"name": "acme/{name}", "version": "{version}"{more}}}"#);
        upstream.write(&format!("{name}/composer.json"), &manifest);
    };
    write("a", "1.0.0", r#", "provide": {"acme/virtual": "1"}, "description": "The <first>""#);
    write("b", "1.0.0", r#", "require": {"acme/a": "^1", "acme/c": "*"}"#);
    write("all", "1.0.0", r#", "type": "metapackage", "require": {"acme/a": "1.0.0", "acme/z": "1.0.0"}"#);
    upstream.release("1.0.0");
    env.configure(
        free_port(),
        "  - {name: modules, git: 'https://git.example/modules', packages: [{each: ''}]}\n",
    );
    let configuration = std::fs::read_to_string(env.path("mirror.yaml")).unwrap();
    let configure = |more: &str| {
        let with = configuration.replace("recipe: ./recipe.yaml", &format!("recipe: ./recipe.yaml{more}"));
        env.write("mirror.yaml", &with);
        with
    };
    env.write("users", "");
    env.build(0);
    let (mut before, _) = newest(&env.path("data"));
    let mut state = "";
    let steps: [Step<'_>; 7] = [
        ("a version", &|| write("a", "1.1.0", ""), "", Some("b")),
        (
            "a package that requires another",
            &|| write("c", "1.2.0", r#", "require": {"acme/b": "*"}"#),
            "",
            Some("a"),
        ),
        ("a message", &|| (), ", hints: {infos: [{message: hello, versions: '*'}]}", None),
        ("lazy", &|| (), ", metadata: lazy", None),
        ("a version, lazily", &|| write("a", "1.3.0", ""), ", metadata: lazy", Some("b")),
        ("private", &|| (), ", users: ./users", None),
        (
            "a version older than another",
            &|| write("b", "0.9.0", r#", "require": {"acme/d": "1"}"#),
            ", users: ./users",
            Some("c"),
        ),
    ];
    for (n, (what, change, configured, untouched)) in steps.into_iter().enumerate() {
        change();
        if configured == state {
            upstream.release(&format!("1.0.{}", n + 1));
        }
        state = configured;
        let configuration = configure(configured);
        let archives = untouched.map(|name| env.path(&format!("data/acme/packages/acme/{name}-1.0.0.zip")));
        let archives = archives.filter(|archive| archive.exists());
        let hide = |hidden: bool| {
            if let Some(archive) = &archives {
                let away = archive.with_extension("away");
                let (from, to) = if hidden { (archive, &away) } else { (&away, archive) };
                std::fs::rename(from, to).unwrap();
            }
        };
        hide(true);
        // The missing archive is reported, but the cycle does not need to read it.
        env.build(i32::from(archives.is_some()));
        hide(false);
        let (number, files) = newest(&env.path("data"));
        assert_eq!(number, before + 1, "{what}");
        run(Command::new("cp").arg("-a").arg(env.path("data")).arg(env.path("rebuilt")));
        let snapshot = |number: u64| env.path(&format!("rebuilt/acme/snapshots/{number}"));
        std::fs::remove_dir_all(snapshot(number)).unwrap();
        std::fs::remove_file(snapshot(before).join("made.json")).unwrap();
        let data = |name: &str| env.path(name).display().to_string();
        env.write("mirror.yaml", &configuration.replace(&data("data"), &data("rebuilt")));
        env.build(0);
        let (again, rebuilt) = newest(&env.path("rebuilt"));
        assert_eq!(again, number, "{what}");
        assert_eq!(files.keys().collect::<Vec<_>>(), rebuilt.keys().collect::<Vec<_>>(), "{what}");
        for (path, text) in &files {
            let [text, other] = [text, &rebuilt[path]].map(|text| String::from_utf8_lossy(text));
            assert_eq!(text, other, "{what}: {path}");
        }
        std::fs::remove_dir_all(env.path("rebuilt")).unwrap();
        env.write("mirror.yaml", &configuration);
        before = number;
    }
    let (_, files) = newest(&env.path("data"));
    let page =
        |name: &str| String::from_utf8_lossy(&files[&format!("package/acme/{name}.html")]).into_owned();
    assert!(page("b").contains(r#"<a href="../../package/acme/c.html">"#));
    assert!(page("c").contains("Required by"), "{}", page("c"));
    let main = String::from_utf8_lossy(&files["index.html"]).into_owned();
    assert!(main.contains("composer config --global --auth http-basic.127.0.0.1:"), "{main}");
}

/// A JSON file of what is published.
fn published(env: &TestEnv, path: &str) -> Value {
    serde_json::from_str(&env.read(&format!("data/acme/current/{path}"))).unwrap()
}

#[test]
fn packages_without_versions_are_claimed() {
    let (env, port) = (TestEnv::new(), free_port());
    let upstream = env.upstream("modules");
    upstream.write("good/composer.json", r#"{"name": "acme/good", "version": "1.0.0"}"#);
    upstream.write("bad/composer.json", r#"{"name": "acme/bad", "version": "first"}"#);
    upstream
        .write("wrong/composer.json", r#"{"name": "acme/wrong", "version": "1.0.0", "autoload": "src/"}"#);
    upstream.write("lib/internal/composer.json", "no manifest").release("1.0.0");
    env.upstream("night")
        .write("composer.json", r#"{"name": "acme/night", "version": "1.0.0"}"#)
        .release("1");
    env.configure(
        port,
        "  - {name: modules, git: 'https://git.example/modules', packages: [{each: ''}, {each: lib}]}
  - {name: night, git: 'https://git.example/night', nightly: main, packages: [{one: ''}]}
",
    );
    env.build(1);
    let names = |names: &[&str]| Value::from(names.iter().map(|name| (*name).into()).collect::<Vec<Value>>());
    let empty = |name: &str| format!(r#"{{"packages":{{"{name}":[]}},"minified":"composer/2.0"}}"#);
    let root = published(&env, "packages.json");
    assert_eq!(root["available-packages"], names(&["acme/bad", "acme/good", "acme/night", "acme/wrong"]));
    assert_eq!(env.read("data/acme/current/p2/acme/good~dev.json"), empty("acme/good"));

    // The nightly version is a year old, and expires.
    let ledger = env.read("data/acme/ledger.jsonl");
    let night = ledger.lines().find(|line| line.contains(r#""kind":"dev""#)).unwrap();
    let mut night: Value = serde_json::from_str(night).unwrap();
    (night["number"], night["previous"], night["time"]) =
        (1.into(), "0".repeat(64).into(), "2025-01-01T00:00:00Z".into());
    env.write("data/acme/ledger.jsonl", &format!("{night}\n"));
    std::fs::remove_dir_all(env.path("data/acme/snapshots")).unwrap();
    let recipe = env.read("recipe.yaml");
    env.write("recipe.yaml", &format!("{recipe}retention: {{days: 30}}\n"));
    env.build(1);
    let configuration = env.read("mirror.yaml");
    for metadata in ["lazy", "inline"] {
        env.write("mirror.yaml", &configuration);
        configure_repository(&env, &format!("metadata: {metadata}"));
        env.build(1);
        for name in ["acme/bad", "acme/night", "acme/wrong"] {
            for suffix in ["", "~dev"] {
                assert_eq!(env.read(&format!("data/acme/current/p2/{name}{suffix}.json")), empty(name));
            }
        }
        let root = published(&env, "packages.json");
        assert_eq!(root["available-packages"], names(&["acme/bad", "acme/good", "acme/night", "acme/wrong"]));
        let claimed = root["packages"]
            .as_object()
            .map(|packages| packages.keys().map(String::as_str).collect::<Vec<_>>());
        let is_lazy = metadata == "lazy";
        assert_eq!(root.get("metadata-url").is_some(), is_lazy);
        assert_eq!(claimed, (!is_lazy).then_some(vec!["acme/bad", "acme/night", "acme/wrong"]));
        let include = root["includes"].as_object().unwrap().keys().next().unwrap();
        let packages =
            published(&env, include)["packages"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(packages, ["acme/good"]);
    }
}

/// The bytes of a package's file without versions, as this program wrote them before it claimed names.
const UNCLAIMED: &str = r#"{"packages":[]}"#;

#[test]
fn metadata_of_older_versions_is_rendered_again() {
    let env = TestEnv::new();
    env.upstream("modules")
        .write("composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#)
        .release("1.0.0");
    env.configure(
        free_port(),
        "  - {name: modules, git: 'https://git.example/modules', packages: [{one: ''}]}\n",
    );
    configure_repository(&env, "metadata: lazy");
    env.build(0);
    let (first, _) = newest(&env.path("data"));
    env.build(0);
    assert_eq!(newest(&env.path("data")).0, first);
    let path = format!("data/acme/snapshots/{first}/p2/acme/a~dev.json");
    let manifest_path = format!("data/acme/snapshots/{first}/manifest.json");
    std::fs::remove_file(env.path(&path)).unwrap();
    env.write(&path, UNCLAIMED);
    let mut manifest: Value = serde_json::from_str(&env.read(&manifest_path)).unwrap();
    let file = &mut manifest["files"]["p2/acme/a~dev.json"];
    (file["sha256"], file["size"]) =
        (Sha256::digest(UNCLAIMED.as_bytes()).to_string().into(), UNCLAIMED.len().into());
    std::fs::remove_file(env.path(&manifest_path)).unwrap();
    env.write(&manifest_path, &manifest.to_string());
    // What another program has rendered is not reused.
    std::fs::remove_file(env.path(&format!("data/acme/snapshots/{first}/made.json"))).unwrap();
    env.build(0);
    let (number, files) = newest(&env.path("data"));
    assert_eq!(number, first + 1);
    assert_ne!(files["p2/acme/a~dev.json"], UNCLAIMED.as_bytes());
}

#[test]
fn published_time_is_that_of_the_ledger() {
    let env = TestEnv::new();
    let upstream = env.upstream("modules");
    for version in ["1.0.0", "1.1.0"] {
        upstream.write("composer.json", &format!(r#"{{"name": "acme/a", "version": "{version}"}}"#));
        upstream.release(version);
    }
    env.configure(
        free_port(),
        "  - {name: modules, git: 'https://git.example/modules', packages: [{one: ''}]}\n",
    );
    env.build(0);
    let times: BTreeMap<String, Value> = env
        .read("data/acme/ledger.jsonl")
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            (line["version"].as_str().unwrap().to_owned(), line["time"].clone())
        })
        .collect();
    let versions = || {
        let document = published(&env, "p2/acme/a.json");
        // Both versions were published by one cycle, so the minified form may have the time once.
        mirror::metadata::expand(document["packages"]["acme/a"].as_array().unwrap())
    };
    for version in versions() {
        let second = times[version["version"].as_str().unwrap()].as_str().unwrap()[..19].to_owned();
        assert_eq!(version["published-time"], format!("{second}+00:00"));
        assert_ne!(version["published-time"], version["time"]);
    }
    let before = versions();
    upstream.write("composer.json", r#"{"name": "acme/a", "version": "1.2.0"}"#).release("1.2.0");
    env.build(0);
    assert_eq!(versions()[1..], before);
}
