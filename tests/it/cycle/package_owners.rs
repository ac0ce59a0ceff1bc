//! A package and its versions belong to who published them first, however another source names or spells them.

use mirror::package::zip_writer::{EntryType, ZipWriter};
use serde_json::Value;

use crate::support::env::TestEnv;
use crate::support::store::{GOOD, mirror};

const EVIL: &str = "  - {name: evil, git: 'https://git.example/evil', packages: [{one: ''}]}\n";

fn archive(manifest: &str, content: &str) -> Vec<u8> {
    let mut zip = ZipWriter::new(Vec::new());
    zip.add("composer.json", EntryType::File, manifest.as_bytes()).unwrap();
    zip.add("content", EntryType::File, content.as_bytes()).unwrap();
    zip.finish().unwrap()
}

/// The listed versions of a package, newest first, each with its checksum.
fn listed(env: &TestEnv, name: &str) -> Vec<(String, String)> {
    let p2: Value =
        serde_json::from_str(&env.read(&format!("data/acme/current/p2/acme/{name}.json"))).unwrap();
    let versions = p2["packages"][format!("acme/{name}")].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    versions.map(|version| (text(&version["version"]), text(&version["dist"]["shasum"]))).collect()
}

#[test]
fn claim_of_a_published_package_fails_by_name() {
    let belongs = "the package belongs to source `good`, which published it first";
    let published = "source `good` has published this version";
    for (manifest, path, source, expected) in [
        (r#""acme/good", "version": "9.9.9""#, "", EVIL.to_owned(), belongs),
        (r#""Acme/Good", "version": "9.9.9""#, "", EVIL.to_owned(), "`Acme/Good` is not a package name"),
        (r#""acme/good", "version": "v1.0""#, "", EVIL.to_owned(), published),
        (r#""acme/good", "version": "1.0.0+9""#, "", EVIL.to_owned(), belongs),
        (r#""acme/good""#, "", EVIL.replace("one: ''", "one: '', tag_is_version: true"), belongs),
        (r#""acme/good", "version": "9.9.9""#, "lib/a/", EVIL.replace("one: ''", "each: lib"), belongs),
        (r#""acme/good", "version": "9.9.9""#, "", EVIL.replace("one: ''", "metapackage: ''"), belongs),
        (
            r#""evil/good", "version": "9.9.9""#,
            "",
            EVIL.replace("name: evil,", "name: evil, rename_vendor: {evil: acme},"),
            belongs,
        ),
        (
            r#""acme/good", "version": "1.0.0""#,
            "",
            EVIL.replace("name: evil,", "name: evil, nightly: main,"),
            belongs,
        ),
    ] {
        let (env, _, port) = mirror();
        let before = listed(&env, "good");
        let manifest = format!("{{\"name\": {manifest}}}");
        env.upstream("evil").write(&format!("{path}composer.json"), &manifest).release("9.9.9");
        // Whatever the order of the sources.
        for sources in [format!("{GOOD}{source}"), format!("{source}{GOOD}"), source] {
            env.configure(port, &sources);
            let log = env.build(1);
            assert!(log.contains(expected), "{manifest} {sources}: {log}");
            assert_eq!(listed(&env, "good"), before, "{manifest} {sources}");
        }
    }
}

#[test]
fn archives_of_published_versions_fail_or_are_excluded_however_they_are_spelled() {
    let resource = "resources: {r: {git: 'https://git.example/zips', ref: main}}\narchives: [{name: old, resource: r, path: zips}]\nsources:\n";
    let (env, ..) = mirror();
    let before = listed(&env, "good");
    let zips = env.upstream("zips");
    std::fs::create_dir(zips.path.join("zips")).unwrap();
    for (file, name, version) in [
        ("a", "good", "v1.0"),
        ("b", "good", "9.9.9"),
        ("c", "new", "1.0"),
        ("d", "new", "1.0.0"),
        ("e", "new", "1.0.0+5"),
    ] {
        let manifest = format!(r#"{{"name": "acme/{name}", "version": "{version}"}}"#);
        std::fs::write(zips.path.join(format!("zips/{file}.zip")), archive(&manifest, file)).unwrap();
    }
    zips.release("x");
    env.write("recipe.yaml", &format!("{resource}{GOOD}"));
    let log = env.build(1);
    assert!(log.contains("source `good` has published this version"), "{log}");
    assert!(log.contains("the package belongs to source `good`"), "{log}");
    assert_eq!(listed(&env, "good"), before);
    // Of three spellings the first is published; build metadata makes a version of its own.
    let new: Vec<_> = listed(&env, "new").into_iter().map(|(version, _)| version).collect();
    assert_eq!(new, ["1.0", "1.0.0+5"]);

    // With leave to share the package, versions are still published once.
    env.write(
        "recipe.yaml",
        &format!("{resource}{}", GOOD.replace("name: good", "name: good\n    takes_over: [old]")),
    );
    env.build(1);
    let shared = listed(&env, "good");
    assert_eq!((shared[0].0.as_str(), &shared[1..]), ("9.9.9", &before[..]));
}

#[test]
fn package_that_replaces_one_of_another_source_is_published_with_a_notice() {
    let (env, _, port) = mirror();
    let evil = env.upstream("evil");
    let release = |version: &str| {
        let replaces = r#""replace": {"Acme/Good": "*", "acme/nobody": "*"}"#;
        evil.write("composer.json", &format!(r#"{{"name": "evil/x", "version": "{version}", {replaces}}}"#))
            .release(version);
        env.build(0);
        env.read("data/acme/current/report.json").matches("it replaces packages of other sources").count()
    };
    env.configure(port, &format!("{GOOD}{EVIL}"));
    assert_eq!(release("1.0.0"), 1);
    let report = env.read("data/acme/current/report.json");
    assert!(
        report.contains("it replaces packages of other sources: acme/good of source `good`\""),
        "{report}"
    );
    env.configure(port, &format!("{GOOD}{}", EVIL.replace("name: evil,", "name: evil, takes_over: [good],")));
    assert_eq!(release("2.0.0"), 1, "one that may publish the package may replace it without a word");
}
