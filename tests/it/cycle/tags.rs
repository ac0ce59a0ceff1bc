//! Every tag is accounted for: published, or named with the reason why not.

use crate::support::env::TestEnv;
use crate::support::free_port;
use crate::support::git::WorkTree;
use serde_json::Value;
use std::io::Write as _;

const ROOT: &str = "  - {name: s, git: https://git.example/s, packages: [{one: '', tag_is_version: true}]}\n";

fn report(env: &TestEnv) -> Value {
    serde_json::from_str(&env.read("data/acme/current/report.json")).unwrap()
}

fn plan(env: &TestEnv) -> String {
    String::from_utf8(env.mirror("plan").stdout).unwrap()
}

fn is_published(env: &TestEnv, archive: &str) -> bool {
    env.path(&format!("data/acme/packages/acme/{archive}.zip")).exists()
}

/// The tags of rows with their rule.
fn rules(rows: &Value) -> Vec<(&str, &str)> {
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    rows.iter().map(|row| (row["ref"].as_str().unwrap(), row["rule"].as_str().unwrap())).collect()
}

fn tag_again(upstream: &WorkTree, tags: &[&str]) {
    for tag in tags {
        upstream.git(&["tag", tag]);
    }
}

#[test]
fn tag_that_is_not_released_is_named_with_the_rule() {
    let env = TestEnv::new();
    let upstream = env.upstream("s");
    upstream.write("composer.json", r#"{"name": "acme/a"}"#).release("1.0.0");
    tag_again(
        &upstream,
        &["0.9.0", "0.1", "1.1.0", "2.0.0RC1", "V3.0.0", "1.5.0.RC1", "release-1", "4.0.0.0.1", "x/y"],
    );
    env.configure(
        free_port(),
        "  - {name: s, git: https://git.example/s, tags: {from: 1.0.0, exclude: [1.1.0]}, packages: [{one: '', tag_is_version: true}]}\n",
    );
    let log = env.build(0);
    assert!(log.contains("2.0.0RC1, 4.0.0.0.1, V3.0.0, release-1, x/y"), "{log}");
    let expected = [
        ("0.1", "before-first"),
        ("0.9.0", "before-first"),
        ("1.1.0", "recipe"),
        ("1.5.0.RC1", "not-a-version"),
        ("2.0.0RC1", "not-a-version"),
        ("4.0.0.0.1", "not-a-version"),
        ("V3.0.0", "not-a-version"),
        ("release-1", "not-a-version"),
        ("x/y", "not-a-version"),
    ];
    assert_eq!(rules(&report(&env)["sources"]["s"]["passed_over"]), expected);
    let said = plan(&env);
    for line in [
        "acme s: not released: before `tags.from`, 1.0.0: 0.1, 0.9.0",
        "acme s 1.1.0: not released: named in `tags.exclude`",
        "although Composer reads it as 2.0.0.0-RC1; `extra_refs` can release it",
        "acme s V3.0.0: not released: not in a form such as 1.2.3",
        "acme s 4.0.0.0.1: not released: no version, neither here nor to Composer",
    ] {
        assert!(said.contains(line), "`{line}` in\n{said}");
    }
    let status: Value = serde_json::from_str(&env.read("data/acme/current/report.json")).unwrap();
    assert_eq!(status["sources"]["s"]["failed"], Value::Array(Vec::new()), "foreign tags are no failures");

    let before = env.volume();
    let log = env.build(0);
    assert!(!log.contains("2.0.0RC1"), "said once\n{log}");
    assert_eq!(env.volume(), before, "an idle cycle writes nothing");
    upstream.git(&["tag", "nightly-7"]);
    let log = env.build(0);
    assert!(log.contains("are not released: nightly-7"), "only the new one is logged\n{log}");
    assert!(rules(&report(&env)["sources"]["s"]["passed_over"]).contains(&("nightly-7", "not-a-version")));
}

#[test]
fn tag_with_the_version_of_an_earlier_tag_is_named_if_its_contents_differ() {
    let env = TestEnv::new();
    let upstream = env.upstream("s");
    upstream.write("a/composer.json", r#"{"name": "acme/a", "version": "1.0.0"}"#);
    upstream.write("b/composer.json", r#"{"name": "acme/b", "version": "2.0.0"}"#);
    upstream.write("m/composer.json", r#"{"name": "acme/m", "version": "1.0.0", "type": "metapackage"}"#);
    upstream.release("1.0.0");
    upstream.write("a/fix.php", "<?php").write("b/Test/new", "left out").release("1.0.1");
    env.configure(
        free_port(),
        "  - {name: s, git: https://git.example/s, packages: [{each: '', exclude: [m, b/Test/]}, {metapackage: m}]}\n",
    );
    let log = env.build(0);
    assert!(log.contains("with other contents: 1.0.1 (acme/a 1.0.0)"), "{log}");
    let of_source = &report(&env)["sources"]["s"];
    let lost = |of_source: &Value| {
        let rows = rules(&of_source["excluded"]);
        rows.into_iter()
            .filter(|row| row.1 == "first-tag-wins")
            .map(|row| row.0.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(lost(of_source), ["1.0.1"], "b and m pack the same files at both tags\n{of_source}");
    assert_eq!(of_source["excluded"].as_array().unwrap().len(), 1, "m has a rule of its own\n{of_source}");
    assert!(
        plan(&env).contains(
            "acme s 1.0.1: acme/a 1.0.0 excluded: tag 1.0.0 has the same version with other contents"
        )
    );
    assert!(!env.build(0).contains("other contents"), "said once");

    // The same, compared with what an earlier cycle has published.
    upstream
        .write("b/new", "")
        .write("m/composer.json", r#"{"name": "acme/m", "version": "1.0.0", "require": {}}"#);
    upstream.release("1.0.2");
    let log = env.build(0);
    assert!(log.contains("with other contents: 1.0.2 (acme/a 1.0.0 and 2 more)"), "{log}");
    assert_eq!(lost(&report(&env)["sources"]["s"]), ["1.0.1", "1.0.2", "1.0.2", "1.0.2"]);
}

#[test]
fn one_of_several_spellings_of_a_version_is_published() {
    let env = TestEnv::new();
    let upstream = env.upstream("s");
    upstream.write("composer.json", r#"{"name": "acme/a"}"#).release("1.0");
    tag_again(&upstream, &["1.0.0", "v1.0.0", "2.0.0-RC1", "2.0.0-rc1"]);
    upstream.write("changed", "").release("1.0.0.0");
    env.configure(free_port(), ROOT);
    let log = env.build(0);
    assert!(log.contains("with other contents: 1.0.0.0 (acme/a 1.0.0.0)"), "{log}");
    assert!(is_published(&env, "a-1.0") && is_published(&env, "a-2.0.0-RC1"), "the first tag in byte order");
    let rows = &report(&env)["sources"]["s"]["excluded"];
    let expected = [
        ("1.0.0", "another-spelling"),
        ("1.0.0.0", "first-tag-wins"),
        ("2.0.0-rc1", "another-spelling"),
        ("v1.0.0", "another-spelling"),
    ];
    assert_eq!(rules(rows), expected);
    assert!(
        plan(&env).contains("acme s v1.0.0: acme/a v1.0.0 excluded: Composer reads it as 1.0 of tag 1.0")
    );

    // What is published stays, also when a tag appears that would come first.
    upstream.git(&["tag", "1"]);
    env.build(0);
    assert!(!is_published(&env, "a-1"));
    assert!(rules(&report(&env)["sources"]["s"]["excluded"]).contains(&("1", "first-tag-wins")));
}

#[test]
fn versions_that_differ_in_build_metadata_are_published_and_named() {
    let env = TestEnv::new();
    let upstream = env.upstream("s");
    upstream.write("composer.json", r#"{"name": "acme/a"}"#).release("1.0.0");
    upstream.release("1.0.0-beta.1+5");
    tag_again(&upstream, &["1.0.0+5"]);
    env.configure(free_port(), ROOT);
    let log = env.build(0);
    for archive in ["a-1.0.0", "a-1.0.0+5", "a-1.0.0-beta.1+5"] {
        assert!(is_published(&env, archive), "{archive}\n{log}");
    }
    assert!(log.contains("Composer does not tell it from 1.0.0"), "{log}");
    tag_again(&upstream, &["1.0.0+6"]);
    let log = env.build(0);
    assert!(log.contains("\"package\":\"acme/a 1.0.0+6\""), "{log}");
    let notices = report(&env)["sources"]["s"]["notices"].clone();
    assert_eq!(notices.as_array().unwrap().len(), 2, "{notices}");
}

#[test]
fn tag_as_version_that_composer_cannot_read_is_no_failure() {
    let env = TestEnv::new();
    env.upstream("s")
        .write("composer.json", r#"{"name": "acme/a"}"#)
        .release("1.0.0")
        .release("1.0.0-hotfix");
    env.configure(free_port(), ROOT);
    env.build(0);
    assert_eq!(rules(&report(&env)["sources"]["s"]["excluded"]), [("1.0.0-hotfix", "not-a-version")]);
}

#[test]
fn packages_with_the_same_file_name_are_both_published() {
    let env = TestEnv::new();
    let upstream = env.upstream("s");
    upstream
        .write("a/composer.json", r#"{"name": "acme/a", "version": "2010-01-02"}"#)
        .write("b/composer.json", r#"{"name": "acme/a-2010-01", "version": "02"}"#)
        .write("c/composer.json", r#"{"name": "acme/c-1.0.0-alpha", "version": "1"}"#)
        .release("1.0.0");
    upstream.write("d/composer.json", r#"{"name": "acme/c", "version": "1.0.0-alpha-1"}"#).release("1.0.1");
    env.configure(free_port(), "  - {name: s, git: https://git.example/s, packages: [{each: ''}]}\n");
    env.build(0);
    upstream.git(&["tag", "-d", "1.0.0"]);
    env.build(0);
    let versions = |name: &str| {
        let file: Value =
            serde_json::from_str(&env.read(&format!("data/acme/current/p2/acme/{name}.json"))).unwrap();
        let versions = file["packages"][format!("acme/{name}")].as_array().cloned().unwrap_or_default();
        versions.iter().map(|v| v["dist"]["url"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let urls = [versions("a"), versions("a-2010-01"), versions("c-1.0.0-alpha"), versions("c")].concat();
    assert_eq!(urls.len(), 4, "{urls:?}");
    let names: std::collections::BTreeSet<_> = urls.iter().collect();
    assert_eq!(names.len(), 4, "{urls:?}");
    assert_eq!(env.mirror("verify").status.code(), Some(0));
}

#[test]
fn prebuilt_archives_with_the_same_file_name_are_both_published() {
    let env = TestEnv::new();
    let upstream = env.upstream("extra");
    for name in ["a", "b"] {
        std::fs::create_dir(upstream.path.join(name)).unwrap();
        let mut zip =
            zip::ZipWriter::new(std::fs::File::create(upstream.path.join(name).join("x.zip")).unwrap());
        zip.start_file("composer.json", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(format!(r#"{{"name": "acme/{name}", "version": "1.0.0"}}"#).as_bytes()).unwrap();
        zip.finish().unwrap();
    }
    upstream.release("1.0.0");
    env.configure(free_port(), "");
    env.write(
        "recipe.yaml",
        "resources:\n  extra: {git: 'https://git.example/extra', ref: main}\narchives:\n  - {name: a, resource: extra, path: a}\n  - {name: b, resource: extra, path: b}\n",
    );
    env.build(0);
    let folder = env.path("data/acme/packages/additional");
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    let second = files.iter().find(|file| !file.ends_with("x.zip")).unwrap();
    std::fs::remove_file(second).unwrap();
    let output = env.command(&["verify", "--repair"]).output().unwrap();
    assert!(second.exists(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn difference_from_a_checkout_is_named_once() {
    let env = TestEnv::new();
    let upstream = env.upstream("s");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n";
    upstream
        .write(".gitattributes", "*.png filter=lfs -text\n*.bat eol=crlf\n*.key filter=git-crypt\n")
        .write("a/composer.json", r#"{"name": "acme/a"}"#)
        .write("a/logo.png", pointer)
        .write("a/real.png", "not a pointer")
        .write("b/composer.json", r#"{"name": "acme/b"}"#)
        .write("b/.gitattributes", "*.php ident\n*.txt working-tree-encoding=UTF-16LE\n*.sh eol=lf\n")
        .write("b/id.php", "<?php // $Id$\n")
        .write("b/other.php", "<?php\n")
        .write("b/wide.txt", "")
        .write("b/run.bat", "dir\n")
        .write("b/run.sh", "ls\n")
        .write("b/secret.key", "x")
        .write("c/composer.json", r#"{"name": "acme/c"}"#);
    for file in ["a", "b", "c", ".gitattributes"] {
        upstream.git(&["-c", "filter.git-crypt.clean=cat", "-c", "filter.lfs.clean=cat", "add", file]);
    }
    let id = "1111111111111111111111111111111111111111";
    upstream.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{id},a/lib/sub")]);
    upstream.git(&["commit", "-q", "-m", "all"]);
    upstream.git(&["tag", "1.0.0"]);
    env.configure(
        free_port(),
        "  - {name: s, git: https://git.example/s, packages: [{each: '', tag_is_version: true}]}\n",
    );
    let log = env.build(0);
    let notices = report(&env)["sources"]["s"]["notices"].clone();
    let said: Vec<_> = notices.as_array().unwrap().iter().map(|n| n["because"].as_str().unwrap()).collect();
    assert_eq!(
        said,
        [
            "the archive differs from a checkout: a git-lfs pointer instead of its file (`a/logo.png`), a submodule is left out (`a/lib/sub`)",
            "the archive differs from a checkout: attribute `eol=crlf` (`b/run.bat`), attribute `filter=git-crypt` (`b/secret.key`), \
             attribute `ident` (`b/id.php`), attribute `working-tree-encoding=UTF-16LE` (`b/wide.txt`)",
        ]
    );
    assert!(log.contains("a git-lfs pointer instead of its file") && log.contains("acme/b 1.0.0"), "{log}");
    assert!(!env.build(0).contains("differs from a checkout"), "said once");
    upstream.write("d", "").git(&["add", "d"]);
    upstream.git(&["commit", "-q", "-m", "more"]);
    upstream.git(&["tag", "1.0.1"]);
    let log = env.build(0);
    assert!(log.contains("acme/a 1.0.1") && !log.contains("acme/a 1.0.0\""), "{log}");
    assert_eq!(report(&env)["sources"]["s"]["notices"].as_array().unwrap().len(), 4);
}

#[test]
fn nightly_version_after_build_metadata_is_refused() {
    let env = TestEnv::new();
    let upstream = env.upstream("s");
    let manifest =
        |name: &str, version: &str| format!(r#"{{"name": "acme/{name}", "version": "{version}"}}"#);
    upstream
        .write("a/composer.json", &manifest("a", "2.4.5+build.123"))
        .write("b/composer.json", &manifest("b", "2.4.5-"))
        .write("c/composer.json", &manifest("c", "2.4.5"))
        .release("1.0.0");
    env.configure(
        free_port(),
        "  - {name: s, git: https://git.example/s, nightly: main, packages: [{each: ''}]}\n",
    );
    let log = env.build(1);
    assert!(log.contains("version `2.4.5+build.123` of the newest tag has no nightly version"), "{log}");
    let packages: Vec<_> = std::fs::read_dir(env.path("data/acme/packages/acme")).unwrap().collect();
    assert_eq!(packages.len(), 1, "{packages:?}");
    let failed = &report(&env)["sources"]["s"]["failed"];
    assert_eq!(failed.as_array().unwrap().len(), 2, "{failed}");
}
