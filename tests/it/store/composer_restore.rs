//! `mirror restore` from a mirror without a ledger, as satis makes it: packages.json, an include, and archives with SHA-1.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::env::TestEnv;
use crate::support::git::WorkTree;
use crate::support::http::get;
use crate::support::lying_proxy::LyingProxy;
use crate::support::shop::{PROJECT, SOURCE, shop};
use crate::support::store::{command, flip, ledger, read, told};
use crate::support::{free_port, run};
use mirror::package::zip_writer::{EntryType, ZipWriter};
use mirror::util::digest::Sha1;

/// The mirror that is given up, with its upstreams.
struct Old {
    env: TestEnv,
    modules: WorkTree,
    port: u16,
}

impl Old {
    fn build() -> Self {
        let (env, port) = (TestEnv::new(), free_port());
        let modules = shop(&env);
        let root = r#"{"name": "acme/store", "version": "1.0.0", "require": {"acme/shop": "1.0.0"}}"#;
        env.upstream("store").write("composer.json", root).release("1.0.0");
        env.upstream("parts").write("part.json", r#"{"name": "acme/project"}"#).release("1.0.0");
        env.configure(port, &format!("{SOURCE}{PROJECT}"));
        env.build(0);
        Self { env, modules, port }
    }

    /// A new mirror of the same sources at another URL.
    fn successor(&self) -> (TestEnv, u16) {
        let (env, port) = (TestEnv::new(), free_port());
        std::fs::remove_dir(env.path("git")).unwrap();
        std::os::unix::fs::symlink(self.env.path("git"), env.path("git")).unwrap();
        env.configure(port, &format!("{SOURCE}{PROJECT}"));
        (env, port)
    }

    /// Writes what satis would have published into the folder `satis`; `change` may change the versions.
    fn satis(&self, change: impl FnOnce(&mut Value)) -> String {
        let env = &self.env;
        let root: Value = serde_json::from_str(&read(env, "data/acme/current/packages.json")).unwrap();
        let include = root["includes"].as_object().unwrap().keys().next().unwrap();
        let text = read(env, &format!("data/acme/current/{include}"));
        let mut include: Value = serde_json::from_str(&text).unwrap();
        change(&mut include["packages"]);
        let text = serde_json::to_string_pretty(&include).unwrap();
        let sha1 = Sha1::digest(text.as_bytes());
        let name = format!("include/all${sha1}.json");
        env.write(&format!("satis/{name}"), &text);
        let root = json!({ "packages": [], "includes": { &name: { "sha1": sha1.to_string() } } });
        env.write("satis/packages.json", &root.to_string());
        run(Command::new("cp").arg("-r").arg(env.path("data/acme/packages")).arg(env.path("satis")));
        env.path("satis").display().to_string()
    }
}

fn restore(env: &TestEnv, from: &str, code: i32) -> String {
    command(env, &["restore", "--from", from], code)
}

fn digests(env: &TestEnv) -> Vec<(String, String)> {
    let text = |release: &Value, key: &str| release[key].as_str().unwrap().to_owned();
    let mut digests: Vec<_> = ledger(env)
        .iter()
        .map(|release| {
            (format!("{} {}", text(release, "name"), text(release, "version")), text(release, "sha1"))
        })
        .collect();
    digests.sort();
    digests
}

#[test]
fn versions_are_restored_confirmed_and_built_on() {
    let old = Old::build();
    let folder = old.satis(|_| ());
    let (env, port) = old.successor();
    let said = restore(&env, &folder, 0);
    assert!(said.contains("acme: 7 releases and 0 damaged archives restored from file://"), "{said}");
    assert_eq!(digests(&env), digests(&old.env));
    // Each line says which source, tag and commit it is from.
    let line = |env: &TestEnv, name: &str| {
        let mut lines = ledger(env);
        let line = lines.iter_mut().find(|line| line["name"] == name).unwrap();
        ["source", "ref", "commit", "tree", "committed"].map(|key| line[key].take())
    };
    for name in ["acme/catalog", "acme/shop", "acme/project"] {
        assert_eq!(line(&env, name), line(&old.env, name), "{name}");
    }
    command(&env, &["verify"], 0);
    let server = env.serve("serve", port);
    assert_eq!(get(port, "/mirror/packages/acme/sales-1.0.0.zip").status, 200);
    server.stop();
    assert_eq!(read(&env, "data/acme/imported.jsonl").lines().count(), 7);
    // The next cycle confirms them all, and publishes nothing.
    let before = read(&env, "data/acme/ledger.jsonl");
    env.build(0);
    assert_eq!(read(&env, "data/acme/imported.jsonl"), "");
    assert_eq!(read(&env, "data/acme/ledger.jsonl"), before);
    assert!(!env.path("data/acme/diverged.jsonl").exists());
    let volume = env.volume();
    env.build(0);
    assert_eq!(env.volume(), volume);
    // The project of the old URL cannot be built for it here; that of the own URL is equal.
    assert!(
        command(&env, &["verify", "--rebuild"], 1)
            .contains("acme: 7 rebuilt versions are equal, 1 could not")
    );
    old.modules
        .write("Sales/composer.json", r#"{"name": "acme/sales", "version": "1.1.0"}"#)
        .release("1.1.0");
    env.build(0);
    assert!(read(&env, "data/acme/ledger.jsonl").starts_with(&before));
    // Again it changes nothing.
    assert!(restore(&env, &folder, 0).contains("0 releases and 0 damaged archives"));
}

#[test]
fn what_git_does_not_give_or_gives_otherwise_is_kept_and_named() {
    let old = Old::build();
    // A tag is deleted, another one moves.
    let folder = old.satis(|_| ());
    old.modules.git(&["tag", "-d", "1.0.0-p1"]);
    old.modules.write("Catalog/Model/Product.php", "<?php // other").write(
        "Catalog/composer.json",
        r#"{"name": "acme/catalog", "type": "magento2-module", "version": "1.0.0", "autoload": {"psr-4": {"Acme\\catalog\\": ""}}}"#,
    );
    old.modules.release("1.0.0");
    let (env, port) = old.successor();
    restore(&env, &folder, 0);
    let published = digests(&env);
    assert_eq!(published, digests(&old.env));
    let log = env.build(0);
    assert!(
        log.contains("acme/catalog 1.0.0: it was imported, and tag 1.0.0 of modules gives other bytes"),
        "{log}"
    );
    assert_eq!(digests(&env), published);
    let server = env.serve("serve", port);
    let state = told(port, "/mirror/");
    let counts = &state["counts"];
    assert_eq!((&counts["imported"], &counts["not_confirmed"]), (&0.into(), &3.into()), "{counts}");
    let diverged: Vec<_> =
        state["diverged"].as_array().unwrap().iter().map(|v| v["package"].clone()).collect();
    assert!(diverged.contains(&"acme/catalog".into()), "{state}");
    let page = String::from_utf8(get(port, "/mirror/status.html").body).unwrap();
    assert!(page.contains("3 releases that git does not give"), "{page}");
    let archive = get(port, "/mirror/packages/acme/catalog-1.0.0.zip");
    let of_old = std::fs::read(old.env.path("data/acme/packages/acme/catalog-1.0.0.zip")).unwrap();
    assert_eq!(archive.body, of_old);
    server.stop();
    // A new version of a package that no tag had when it was restored is published all the same.
    old.modules
        .write("Sales/composer.json", r#"{"name": "acme/sales", "version": "1.1.0"}"#)
        .release("1.1.0");
    env.build(0);
    assert!(read(&env, "data/acme/ledger.jsonl").contains(r#""name":"acme/sales","version":"1.1.0""#));
}

#[test]
fn wrong_and_foreign_versions_are_named_and_the_rest_is_restored() {
    let old = Old::build();
    let folder = old.satis(|packages| {
        let of = |name: &str| format!("https://elsewhere.example/x/packages/acme/{name}.zip");
        // Another host, a branch, no checksum, no archive, an archive of something else.
        packages["acme/catalog"]["1.0.0"]["dist"]["url"] = of("catalog-1.0.0").into();
        let mut branch = packages["acme/catalog"]["1.0.0"].clone();
        (branch["version"], branch["version_normalized"]) = ("dev-main".into(), "dev-main".into());
        packages["acme/catalog"]["dev-main"] = branch;
        packages["acme/sales"]["1.0.0"]["dist"]["shasum"] = "".into();
        packages["acme/shop"]["1.0.0"].as_object_mut().unwrap().remove("dist");
        let dist = packages["acme/sales"]["1.0.0-p1"]["dist"].clone();
        packages["acme/catalog"]["1.0.0-p1"]["dist"] = dist;
    });
    let damaged = old.env.path("satis/packages/acme/shop-1.0.0-p1.zip");
    run(Command::new("chmod").arg("u+w").arg(&damaged));
    flip(&damaged);
    let (env, _) = old.successor();
    let said = restore(&env, &folder, 1);
    assert!(said.contains("acme: 3 releases and 0 damaged archives restored"), "{said}");
    for reason in [
        "acme: acme/sales 1.0.0: its archive has no checksum",
        "acme: 1 metapackage without an archive left to the recipe",
        "acme: acme/catalog 1.0.0-p1: its archive is of acme/sales 1.0.0-p1",
        "sent an archive with SHA-1 ",
        "acme: 1 head of a branch was left out",
    ] {
        assert!(said.contains(reason), "{reason}\n{said}");
    }
    command(&env, &["verify"], 0);
    // git gives the rest, with the same bytes.
    env.build(0);
    assert_eq!(digests(&env), digests(&old.env));
    let said = restore(&env, &old.env.path("git").display().to_string(), 2);
    assert!(said.contains("ledger.jsonl") && said.contains("packages.json"), "{said}");
}

#[test]
fn mirror_on_the_web_is_restored_from() {
    let old = Old::build();
    let server = old.env.serve("serve", old.port);
    let proxy = LyingProxy::before(old.port);
    proxy.lie(|path, answer| {
        if path.ends_with("ledger.jsonl") || path.ends_with("follow.json") {
            answer.replace(404, "not found");
        }
    });
    let (env, _) = old.successor();
    // The archives are at another address in a private network than the metadata.
    let said = restore(&env, &proxy.url(), 1);
    assert!(
        said.contains("acme: 0 releases") && said.contains("which `git.redirects` does not allow"),
        "{said}"
    );
    let redirects = format!("git:\n  redirects: ['http://127.0.0.1:{}/']\n", old.port);
    env.write("mirror.yaml", &read(&env, "mirror.yaml").replace("git:\n", &redirects));
    let said = restore(&env, &proxy.url(), 0);
    assert!(said.contains("acme: 7 releases and 0 damaged archives restored from http://"), "{said}");
    assert_eq!(digests(&env), digests(&old.env));
    env.build(0);
    assert_eq!(read(&env, "data/acme/imported.jsonl"), "");
    server.stop();
}

#[test]
fn releases_of_another_mirror_are_confirmed_too() {
    let old = Old::build();
    let (env, _) = old.successor();
    restore(&env, &old.env.path("data/acme").display().to_string(), 0);
    assert_eq!(read(&env, "data/acme/imported.jsonl").lines().count(), 7);
    env.build(0);
    assert_eq!(read(&env, "data/acme/imported.jsonl"), "");
    assert_eq!(read(&env, "data/acme/ledger.jsonl"), read(&old.env, "data/acme/ledger.jsonl"));
}

/// A mirror that satis made published what the recipe would hold back: locks name it, so it stays.
#[test]
fn incomplete_metapackages_are_restored_and_named() {
    let old = Old::build();
    let manifest = r#"{"name": "acme/set", "version": "1.0.0", "type": "metapackage", "require": {"acme/never": "1.0.0"}}"#;
    let mut zip = ZipWriter::new(Vec::new());
    zip.add("composer.json", EntryType::File, manifest.as_bytes()).unwrap();
    let archive = zip.finish().unwrap();
    let folder = old.satis(|packages| {
        let mut entry: Value = serde_json::from_str(manifest).unwrap();
        let sha1 = Sha1::digest(&archive).to_string();
        entry["dist"] = json!({"type": "zip", "url": "packages/acme/set-1.0.0.zip", "shasum": sha1});
        packages["acme/set"]["1.0.0"] = entry;
    });
    std::fs::write(old.env.path("satis/packages/acme/set-1.0.0.zip"), &archive).unwrap();
    let (env, _) = old.successor();
    let said = restore(&env, &folder, 0);
    assert!(said.contains("acme: 8 releases and 0 damaged archives restored"), "{said}");
    assert!(
        said.contains("acme: acme/set 1.0.0 requires what no source provides: acme/never 1.0.0; it stays published, because it was"),
        "{said}"
    );
    let log = env.build(0);
    assert!(log.contains(r#""gaps":1"#), "{log}");
    assert_eq!(std::fs::read(env.path("data/acme/packages/acme/set-1.0.0.zip")).unwrap(), archive);
}

#[test]
fn damaged_and_missing_archives_are_repaired() {
    let old = Old::build();
    let folder = old.satis(|packages| {
        packages["acme/sales"]["1.0.0-p1"]["dist"]["shasum"] =
            json!("0123456789012345678901234567890123456789");
    });
    let archive = |name: &str| old.env.path(&format!("data/acme/packages/acme/{name}.zip"));
    let intact = std::fs::read(archive("catalog-1.0.0")).unwrap();
    for name in ["catalog-1.0.0", "sales-1.0.0", "sales-1.0.0-p1"] {
        run(Command::new("chmod").arg("u+w").arg(archive(name)));
        flip(&archive(name));
    }
    std::fs::remove_file(archive("shop-1.0.0")).unwrap();
    std::fs::remove_file(old.env.path("satis/packages/acme/sales-1.0.0.zip")).unwrap();
    let said = restore(&old.env, &folder, 1);
    assert!(said.contains("acme: 0 releases and 2 damaged archives restored"), "{said}");
    assert_eq!(std::fs::read(archive("catalog-1.0.0")).unwrap(), intact);
    // What is not there, or has other bytes, is named.
    assert!(said.contains("acme: acme/sales 1.0.0: failed to download `"), "{said}");
    assert!(said.contains("acme: acme/sales 1.0.0-p1: the repository lists no archive with SHA-1"), "{said}");
}
