//! Missing and damaged archives and variants, and their repair by a running mirror.

use std::process::Command;

use crate::support::http::{get, request};
use crate::support::store::{all_archives_answer, flip, ledger, mirror, read, release, told};
use crate::support::{run, until};
use serde_json::Value;

#[test]
fn running_mirror_publishes_after_a_repair() {
    let (env, upstream, port) = mirror();
    release(&upstream, "1.2.0", "first");
    std::fs::remove_file(env.path("data/acme/packages/acme/good-1.0.0.zip")).unwrap();
    env.upstream("other")
        .write("composer.json", r#"{"name": "acme/other", "version": "1.0.0"}"#)
        .release("1.0.0");
    let recipe = read(&env, "recipe.yaml");
    // A new configuration makes every repository due.
    env.write(
        "recipe.yaml",
        &format!("{recipe}  - {{name: other, git: https://git.example/other, packages: [{{one: ''}}]}}\n"),
    );
    let _server = env.serve("run", port);
    until("the new version", || get(port, "/mirror/p2/acme/good.json").text().contains("1.2.0"));
    let zip = "/mirror/packages/acme/good-1.0.0.zip";
    until("the repair", || get(port, zip).status == 200);
    until("the status reports it", || told(port, "/mirror/")["state"] == "fresh");
    assert_eq!(all_archives_answer(&env, port), 4);
}

#[test]
fn unreadable_archive_does_not_block_publishing() {
    let (env, upstream, port) = mirror();
    let rich = r#"{"name": "acme/good", "version": "0.9.0", "type": "Magento2-Module", "description": " It  is <good> ",
        "keywords": ["b", "a"], "license": "OSL-3.0", "authors": [{"name": "A", "email": "a@b.example"}], "homepage": "https://a.example",
        "support": {"issues": "https://a.example/i"}, "require": {"php": "~8.1", "acme/x": "self.version"}, "replace": {"acme/y": "*"},
        "require-dev": {"acme/z": "1.*"}, "suggest": {"acme/w": "self.version"}, "bin": "/bin/good", "scripts": {"test": "true"},
        "autoload": {"psr-4": {"Acme\\": "src/"}, "files": ["registration.php"]}, "extra": {"map": [["*", "good"]]}, "abandoned": "acme/better",
        "archive": {"exclude": ["/tests"]}, "minimum-stability": "dev", "config": {"sort-packages": true}}"#;
    upstream.write("composer.json", rich).release("0.9.0");
    let other = env.upstream("other");
    let other_release = |version: &str| {
        let manifest = format!(r#"{{"name": "acme/other", "version": "{version}"}}"#);
        other.write("composer.json", &manifest).release(version);
    };
    other_release("1.0.0");
    let recipe = read(&env, "recipe.yaml");
    env.write(
        "recipe.yaml",
        &format!("{recipe}  - {{name: other, git: https://git.example/other, packages: [{{one: ''}}]}}\n"),
    );
    env.build(0);
    let zip = env.path("data/acme/packages/acme/good-0.9.0.zip");
    let whole = std::fs::read(&zip).unwrap();
    std::fs::write(&zip, "no archive").unwrap();
    release(&upstream, "1.2.0", "first");
    other_release("1.1.0");
    let log = env.build(1);
    assert!(log.contains("packages/acme/good-0.9.0.zip") && log.contains("could not be read"), "{log}");
    let text = |package: &str| read(&env, &format!("data/acme/current/p2/acme/{package}.json"));
    let versions = |package: &str| {
        let metadata: Value = serde_json::from_str(&text(package)).unwrap();
        let versions = metadata["packages"][format!("acme/{package}")].as_array();
        versions.unwrap().len()
    };
    assert_eq!((versions("good"), versions("other")), (4, 2));
    let recalled = text("good");
    let before = env.volume();
    env.build(1);
    assert_eq!(env.volume(), before, "it is damaged still, and there is nothing new");
    // With the archive, and without reusing the previous snapshot, the metadata is the same.
    std::fs::write(&zip, whole).unwrap();
    std::fs::remove_file(env.path("data/acme/current/made.json")).unwrap();
    other_release("1.2.0");
    env.build(0);
    assert_eq!(text("good"), recalled);
    let _server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 7);
}

#[test]
fn cycle_without_news_reports_missing_archive() {
    let (env, _, port) = mirror();
    std::fs::remove_file(env.path("data/acme/packages/acme/good-1.0.0.zip")).unwrap();
    let log = env.build(1);
    assert!(log.contains("good-1.0.0.zip") && log.contains("is missing"), "{log}");
    let server = env.serve("serve", port);
    assert_eq!(told(port, "/mirror/")["state"], "incomplete");
    assert_eq!(server.stop(), Some(0));
    let _server = env.serve("run", port);
    until("the repair", || get(port, "/mirror/packages/acme/good-1.0.0.zip").status == 200);
    until("the status reports it", || told(port, "/mirror/")["state"] == "fresh");
}

#[test]
fn damaged_variant_is_compressed_again() {
    let (env, _, port) = mirror();
    let listed =
        run(Command::new("find").arg(env.path("data/acme/variants")).args(["-name", "*.gz", "-size", "+0"]));
    let variants: Vec<_> = listed.lines().collect();
    assert!(!variants.is_empty());
    for variant in variants {
        let mut bytes = std::fs::read(variant).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(variant, bytes).unwrap();
    }
    let _server = env.serve("run", port);
    let ask = || request(port, "GET", "/mirror/pages/style.css", "Accept-Encoding: gzip\r\n");
    let first = ask();
    assert_eq!((first.status, first.header("content-encoding")), (200, None));
    until("it is compressed again", || ask().header("content-encoding") == Some("gzip"));
    let log = read(&env, "log");
    assert!(log.contains("removed a damaged compressed file"), "{log}");
}

#[test]
fn running_mirror_repairs_damaged_archives() {
    let (env, _, port) = mirror();
    let yaml = read(&env, "mirror.yaml");
    let zip = |version: &str| env.path(&format!("data/acme/packages/acme/good-{version}.zip"));
    // Found by a request for it.
    let server = env.serve("run", port);
    flip(&zip("1.0.0"));
    assert_eq!(get(port, "/mirror/packages/acme/good-1.0.0.zip").status, 503);
    until("the repair", || get(port, "/mirror/packages/acme/good-1.0.0.zip").status == 200);
    assert_eq!(all_archives_answer(&env, port), 2);
    server.stop();
    // The scrub finds it without a request.
    flip(&zip("1.1.0"));
    env.write("mirror.yaml", &format!("{yaml}verify: {{scrub: 1s}}\n"));
    let _server = env.serve("run", port);
    until("the repair", || {
        std::process::Command::new(env!("CARGO_BIN_EXE_mirror"))
            .args(["verify", "--config"])
            .arg(env.path("mirror.yaml"))
            .output()
            .unwrap()
            .status
            .success()
    });
    assert_eq!(all_archives_answer(&env, port), 2);
}

#[test]
fn irreparable_archive_is_reported_until_restored() {
    let (env, upstream, port) = mirror();
    let zip = |version: &str| env.path(&format!("data/acme/packages/acme/good-{version}.zip"));
    let status = |version: &str| get(port, &format!("/mirror/packages/acme/good-{version}.zip")).status;
    let _server = env.serve("run", port);
    until("the first cycle", || told(port, "/mirror/")["state"] == "fresh");
    // Each loss is repaired, also a second one of the same file.
    for _ in 0..2 {
        std::fs::remove_file(zip("1.1.0")).unwrap();
        assert_eq!(status("1.1.0"), 503);
        until("the repair", || status("1.1.0") == 200);
    }
    assert_eq!(told(port, "/mirror/")["state"], "fresh");
    upstream.git(&["tag", "-d", "1.0.0"]);
    std::fs::rename(zip("1.0.0"), env.path("aside.zip")).unwrap();
    assert_eq!(status("1.0.0"), 503);
    until("the status reports it", || told(port, "/mirror/")["state"] == "incomplete");
    assert_eq!(told(port, "/mirror/")["counts"]["damaged"], 1);
    let page = get(port, "/mirror/status.html").into_text();
    let sha256 = ledger(&env)[0]["sha256"].as_str().unwrap().to_owned();
    for words in ["good-1.0.0.zip is missing", "upstream no longer has `1.0.0`", &sha256] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let metrics = get(port, "/-/metrics").into_text();
    assert!(metrics.contains("mirror_damaged_archives{repository=\"acme\"} 1"), "{metrics}");
    std::fs::rename(env.path("aside.zip"), zip("1.0.0")).unwrap();
    assert_eq!(status("1.0.0"), 200);
    until("the status reports it", || told(port, "/mirror/")["state"] == "fresh");
    assert_eq!(told(port, "/mirror/")["counts"]["damaged"], 0);
}

/// Internal URLs of sources are not public.
#[test]
fn damage_reports_hide_internal_urls() {
    let (env, upstream, port) = mirror();
    std::fs::rename(&upstream.path, env.path("away")).unwrap();
    std::fs::remove_file(env.path("data/acme/packages/acme/good-1.0.0.zip")).unwrap();
    let _server = env.serve("run", port);
    assert_eq!(get(port, "/mirror/packages/acme/good-1.0.0.zip").status, 503);
    until("the status reports it", || told(port, "/mirror/")["counts"]["damaged"] == 1);
    let page = get(port, "/mirror/status.html").into_text();
    assert!(page.contains("good-1.0.0.zip is missing and could not be built again"), "{page}");
    let inner = env.path("git").display().to_string();
    assert!(!page.contains(&inner), "{page}");
}
