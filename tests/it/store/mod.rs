//! The data volume: crashes, damage, old formats and other writers, with the real binary on real files.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::env::{MirrorProcess, TestEnv};
use crate::support::git::WorkTree;
use crate::support::http::{get, request};
use crate::support::store::{GOOD, all_archives_answer, ledger, mirror, names, read, release, told};
use crate::support::{free_port, run, until};
use serde_json::Value;

#[test]
fn format_1_store_is_migrated_and_keeps_its_bytes() {
    let (env, port) = (TestEnv::new(), free_port());
    let upstream = env.upstream("good");
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        release(&upstream, version, "first");
    }
    env.configure(port, GOOD);
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/store/format-1");
    run(Command::new("cp").arg("-a").arg(kept).arg(env.path("data")));
    let before = read(&env, "data/acme/ledger.jsonl");
    let log = env.build(0);
    assert!(log.contains("migrated the data volume"), "{log}");
    let marker = read(&env, "data/STORE");
    assert!(marker.starts_with("mirror store 2\nwritten by mirror "), "{marker}");
    assert!(marker.ends_with("repository acme\n"), "{marker}");
    assert!(read(&env, "data/acme/ledger.jsonl").starts_with(&before));
    assert_eq!(names(&env, "data/acme/snapshots"), ["1", "2"]);
    let _server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 3);
}

#[test]
fn newer_format_is_refused_naming_its_version() {
    let (env, ..) = mirror();
    env.write("data/STORE", "mirror store 3\nwritten by mirror 7.8.9\nid 0\n");
    let before = env.volume();
    for command in ["build", "run", "serve"] {
        let output = env.mirror(command);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{log}");
        assert!(log.contains("hint: use image version 7.8.9, which wrote this volume"), "{log}");
    }
    assert_eq!(env.volume(), before);
}

#[test]
fn missing_or_partial_volume_is_refused() {
    let (env, ..) = mirror();
    std::fs::rename(env.path("data/acme"), env.path("elsewhere")).unwrap();
    assert!(env.build(2).contains("the repository `acme` was published on this volume"));
    assert!(!env.path("data/acme").exists());
    std::fs::rename(env.path("elsewhere"), env.path("data/acme")).unwrap();
    env.build(0);
    std::fs::rename(env.path("data"), env.path("elsewhere")).unwrap();
    std::fs::create_dir(env.path("data")).unwrap();
    let output = env.mirror("serve");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{log}");
    assert!(log.contains("check that the volume is mounted"), "{log}");
}

#[test]
fn torn_ledger_line_is_skipped_unless_a_snapshot_needs_it() {
    let (env, upstream, port) = mirror();
    let whole = read(&env, "data/acme/ledger.jsonl");
    env.write("data/acme/ledger.jsonl", &format!("{whole}{{\"number\":3,\"prev"));
    release(&upstream, "1.2.0", "first");
    assert!(env.build(0).contains("ignoring an incomplete last line"));
    let text = read(&env, "data/acme/ledger.jsonl");
    assert!(text.starts_with(&whole) && text.lines().count() == 3, "{text}");

    let first: String = text.split_inclusive('\n').take(1).collect();
    env.write("data/acme/ledger.jsonl", &first);
    let before = env.volume();
    let log = env.build(2);
    assert!(log.contains("has lost lines: it has 1, and snapshot 2 needs 3"), "{log}");
    assert_eq!(env.volume(), before);
    env.write("data/acme/ledger.jsonl", &text);
    env.build(0);
    let _server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 3);
}

#[test]
fn newest_intact_snapshot_is_served() {
    let (env, upstream, port) = mirror();
    release(&upstream, "1.2.0", "first");
    env.build(0);
    for damage in ["packages.json", "p2/acme/good.json", "manifest.json", "report.json"] {
        let newest = names(&env, "data/acme/snapshots").pop().unwrap();
        let file = env.path(&format!("data/acme/snapshots/{newest}/{damage}"));
        // Write a new file, because equal files of several snapshots are hard links to one.
        let text = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, &text[..text.len() - 1]).unwrap();
        let server = env.serve("serve", port);
        assert!(get(port, "/mirror/p2/acme/good.json").status == 200, "{damage}");
        server.stop();
        release(&upstream, &format!("1.3.{newest}"), "first");
        let log = env.build(0);
        let words = match damage {
            "report.json" => "failed to read the report",
            _ => "skipping a damaged snapshot",
        };
        assert!(log.contains(words), "{damage}: {log}");
        let next: u64 = newest.parse::<u64>().unwrap() + 1;
        assert!(env.path(&format!("data/acme/snapshots/{next}")).exists(), "{damage}");
    }
    let _server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 7);
}

/// Equal files of several snapshots are hard links to one.
#[test]
fn damage_shared_by_all_snapshots_is_repaired() {
    let (env, upstream, port) = mirror();
    for version in ["1.2.0", "1.3.0"] {
        release(&upstream, version, "first");
        env.build(0);
    }
    let includes = || -> Vec<String> { names(&env, "data/acme/current/include") };
    let before = includes();
    assert_eq!(before.len(), 3);
    let style = env.path("data/acme/current/pages/style.css");
    let text = std::fs::read(&style).unwrap();
    run(Command::new("chmod").arg("u+w").arg(&style));
    std::fs::write(&style, [b"x", &text[1..]].concat()).unwrap();
    let server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 4);
    assert_eq!(get(port, "/mirror/packages.json").status, 200);
    assert_eq!(get(port, "/mirror/pages/style.css").status, 503);
    server.stop();
    env.build(0);
    assert_eq!(includes(), before, "what is out there keeps answering");
    let _server = env.serve("serve", port);
    let repaired = get(port, "/mirror/pages/style.css");
    assert_eq!((repaired.status, &repaired.body), (200, &text));
    assert_eq!(all_archives_answer(&env, port), 4);
    // A rollback can still be ended.
    release(&upstream, "1.4.0", "first");
    env.build(0);
    command(&env, &["rollback"], 0);
    let style = env.path("data/acme/current/pages/style.css");
    std::fs::write(&style, [b"y", &text[1..]].concat()).unwrap();
    command(&env, &["rollback", "--end"], 0);
    env.build(0);
    assert_eq!(std::fs::read(env.path("data/acme/current/pages/style.css")).unwrap(), text);
}

#[test]
fn running_mirror_repairs_damaged_metadata() {
    let (env, _, port) = mirror();
    let file = env.path("data/acme/current/packages.json");
    let text = std::fs::read(&file).unwrap();
    std::fs::write(&file, [b"x", &text[1..]].concat()).unwrap();
    let _server = env.serve("run", port);
    until("it is repaired", || get(port, "/mirror/packages.json").status == 200);
    until("word of it", || told(port, "/mirror/")["state"] == "fresh");
}

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
    until("word of it", || told(port, "/mirror/")["state"] == "fresh");
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
fn unpublished_snapshot_is_published_once_possible() {
    let (env, _, _) = mirror();
    let zip = env.path("data/acme/packages/acme/good-1.0.0.zip");
    let whole = std::fs::read(&zip).unwrap();
    std::fs::write(&zip, "no archive").unwrap();
    // The previous report, which has the failure, is lost.
    for snapshot in names(&env, "data/acme/snapshots") {
        std::fs::remove_dir_all(env.path("data/acme/snapshots").join(snapshot)).unwrap();
    }
    let has_it = || read(&env, "data/acme/current/p2/acme/good.json").contains("\"1.0.0\"");
    env.build(1);
    assert!(!has_it());
    let log = env.build(1);
    assert!(
        log.contains("good-1.0.0.zip") && log.contains("could not be read"),
        "each says why it is not complete: {log}"
    );
    std::fs::write(&zip, whole).unwrap();
    env.build(0);
    assert!(has_it());
    let before = env.volume();
    env.build(0);
    assert_eq!(env.volume(), before);
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
    until("word of it", || told(port, "/mirror/")["state"] == "fresh");
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
fn renamed_repository_is_refused_without_its_folder() {
    let (env, _, port) = mirror();
    assert!(!env.build(0).contains("no configured repository has that name"));
    let config = read(&env, "mirror.yaml");
    let renamed = config.replace("name: acme", "name: other");
    env.write("mirror.yaml", &renamed);
    let log = env.build(2);
    assert!(
        log.contains("contains the published repository `acme`, but no configured repository has that name"),
        "{log}"
    );
    assert!(log.contains("`other` would start empty"), "{log}");
    assert!(!env.path("data/other/packages").exists());
    env.write("mirror.yaml", &renamed.replace("/mirror/", "/other/"));
    env.build(0);

    // A running mirror rejects such a configuration, too.
    std::fs::remove_dir_all(env.path("data/other")).unwrap();
    let store = read(&env, "data/STORE").replace("repository other\n", "");
    env.write("data/STORE", &store);
    env.write("mirror.yaml", &config);
    let _server = env.serve("run", port);
    env.write("mirror.yaml", &renamed);
    until("it is refused", || read(&env, "log").contains("`other` would start empty"));
    assert_eq!(all_archives_answer(&env, port), 2);
}

#[test]
fn renamed_repository_continues_with_its_folder() {
    let (env, _, _) = mirror();
    let before = ledger(&env);
    std::fs::rename(env.path("data/acme"), env.path("data/other")).unwrap();
    let store = read(&env, "data/STORE").replace("repository acme", "repository other");
    env.write("data/STORE", &store);
    let config = read(&env, "mirror.yaml").replace("name: acme", "name: other");
    env.write("mirror.yaml", &config);
    assert!(!env.build(0).contains("no configured repository has that name"));
    let after = read(&env, "data/other/ledger.jsonl");
    let after: Vec<Value> = after.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(after, before);
}

#[test]
fn package_version_in_two_folders_is_ambiguous() {
    let env = TestEnv::new();
    let upstream = env.upstream("good");
    let manifest = r#"{"name": "acme/good", "version": "1.0.0"}"#;
    upstream.write("a/composer.json", manifest).write("b/composer.json", manifest).release("1.0.0");
    env.configure(free_port(), "  - {name: good, git: https://git.example/good, packages: [{each: ''}]}\n");
    // Versions that are equal in both folders are accepted.
    env.build(0);
    upstream.write("b/text", "and more").release("1.0.1");
    for _ in 0..2 {
        let log = env.build(1);
        assert!(
            log.contains("`a/composer.json` is the same version of the package with other contents"),
            "{log}"
        );
    }
}

#[test]
fn current_link_is_repaired() {
    let (env, upstream, _) = mirror();
    release(&upstream, "1.2.0", "first");
    env.build(0);
    let link = env.path("data/acme/current");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("snapshots/1", &link).unwrap();
    env.build(0);
    assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("snapshots/2"));
}

/// Two cycles within a second give two dates; otherwise a client with the old file would get 304.
#[test]
fn ledger_date_changes_with_its_bytes() {
    let (env, upstream, port) = mirror();
    let dates = ["1.2.0", "1.3.0", "1.4.0"].map(|version| {
        release(&upstream, version, "first");
        env.build(0);
        let _server = env.serve("serve", port);
        let answer = get(port, "/mirror/ledger.jsonl");
        answer.header("last-modified").unwrap().to_owned()
    });
    let distinct: std::collections::BTreeSet<_> = dates.iter().collect();
    assert_eq!(distinct.len(), 3, "{dates:?}");
}

#[test]
fn other_instances_follow_published_snapshots() {
    let (env, upstream, port) = mirror();
    let _running = env.serve("run", port);
    let other = free_port();
    let yaml = read(&env, "mirror.yaml");
    env.write(
        "other/mirror.yaml",
        &yaml
            .replace(&format!("['127.0.0.1:{port}']"), &format!("['127.0.0.1:{other}']"))
            .replace("./recipe.yaml", "../recipe.yaml"),
    );
    let serving = Command::new(env!("CARGO_BIN_EXE_mirror"))
        .args(["serve", "--config"])
        .arg(env.path("other/mirror.yaml"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _serving = MirrorProcess::new(serving);
    release(&upstream, "1.2.0", "first");
    env.build(0);
    for port in [port, other] {
        until("the new snapshot is followed", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
                && String::from_utf8_lossy(&get(port, "/mirror/p2/acme/good.json").body).contains("1.2.0")
        });
        assert_eq!(all_archives_answer(&env, port), 3);
    }
}

#[test]
fn upstream_deletion_removes_no_version() {
    let (env, upstream, port) = mirror();
    let before: BTreeMap<_, _> =
        ledger(&env).into_iter().map(|r| (r["version"].to_string(), r["sha256"].to_string())).collect();
    upstream.git(&["tag", "-d", "1.0.0", "1.1.0"]);
    env.build(0);
    env.configure(port, &GOOD.replace("good", "other"));
    env.build(1);
    let after: BTreeMap<_, _> =
        ledger(&env).into_iter().map(|r| (r["version"].to_string(), r["sha256"].to_string())).collect();
    assert_eq!(before, after);
    let _server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 2);
    let p2 = get(port, "/mirror/p2/acme/good.json");
    assert!(String::from_utf8_lossy(&p2.body).contains("1.0.0"));
}

fn report(env: &TestEnv) -> Value {
    serde_json::from_str(&read(env, "data/acme/current/report.json")).unwrap()
}

#[test]
fn moved_tag_is_recorded_once_per_commit() {
    let (env, upstream, port) = mirror();
    let zip = std::fs::read(env.path("data/acme/packages/acme/good-1.0.0.zip")).unwrap();
    let first = ledger(&env)[0].clone();
    // The same bytes from another commit are not a divergence.
    upstream.git(&["checkout", "-q", "1.1.0"]);
    upstream.git(&["commit", "-q", "--allow-empty", "-m", "again"]);
    upstream.git(&["tag", "-f", "1.1.0"]);
    env.build(0);
    assert!(!env.path("data/acme/diverged.jsonl").exists());

    release(&upstream, "1.0.0", "moved");
    let moved = upstream.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let log = env.build(0);
    assert!(log.contains("diverged: upstream moved this tag; keeping the published version"), "{log}");
    assert!(log.contains(r#""diverged":1"#), "{log}");
    let lines = read(&env, "data/acme/diverged.jsonl");
    let line: Value = serde_json::from_str(&lines).unwrap();
    assert_eq!(
        (&line["source"], &line["ref"], &line["version"]),
        (&"good".into(), &"1.0.0".into(), &"1.0.0".into())
    );
    assert_eq!(line["published"]["commit"], first["commit"]);
    assert_eq!(line["published"]["sha1"], first["sha1"]);
    assert_eq!(line["attempted"]["commit"], moved.as_str());
    assert_ne!(line["attempted"]["sha256"], line["published"]["sha256"]);
    assert_eq!(report(&env)["sources"]["good"]["diverged"], serde_json::json!([line]));

    // It is not recorded again when nothing changes, when another tag appears, or when the report is lost.
    let before = env.volume();
    env.build(0);
    assert_eq!(env.volume(), before);
    release(&upstream, "1.2.0", "first");
    assert!(!env.build(0).contains("diverged: "));
    run(Command::new("rm").arg("-r").arg(env.path("data/acme/snapshots")));
    assert!(!env.build(0).contains("diverged: "));
    assert_eq!(read(&env, "data/acme/diverged.jsonl"), lines);

    // Another commit is recorded, also when the tag was missing in between.
    upstream.git(&["tag", "-d", "1.0.0"]);
    env.build(0);
    release(&upstream, "1.0.0", "moved again");
    env.build(0);
    assert_eq!(read(&env, "data/acme/diverged.jsonl").lines().count(), 2);
    let kept = std::fs::read(env.path("data/acme/packages/acme/good-1.0.0.zip")).unwrap();
    assert!(kept == zip);
    let _server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 3);
}

#[test]
fn version_published_by_earlier_tag_is_no_divergence() {
    let (env, upstream, _) = mirror();
    // Another tag that still has version 1.1.0, with other bytes.
    release(&upstream, "1.1.0", "changed without a new version");
    upstream.git(&["tag", "-f", "1.1.0", "HEAD~1"]);
    upstream.git(&["tag", "1.2.0"]);
    let log = env.build(0);
    assert!(log.contains(r#""diverged":0"#), "{log}");
    assert!(!env.path("data/acme/diverged.jsonl").exists());
}

#[test]
fn shrink_guard_keeps_versions_published() {
    let (env, _, port) = mirror();
    // A version that a snapshot names and the ledger does not have.
    let include = names(&env, "data/acme/snapshots/1/include").pop().unwrap();
    let folder = "data/acme/snapshots/1";
    let path = format!("{folder}/include/{include}");
    let more = read(&env, &path).replacen(r#""1.0.0":"#, r#""0.9.0":{},"0.8.0":{},"1.0.0":"#, 1);
    std::fs::remove_file(env.path(&path)).unwrap();
    env.write(&path, &more);
    let mut manifest: Value = serde_json::from_str(&read(&env, &format!("{folder}/manifest.json"))).unwrap();
    let file = &mut manifest["files"][format!("include/{include}")];
    file["sha256"] = mirror::util::digest::Sha256::digest(more.as_bytes()).to_string().into();
    file["size"] = more.len().into();
    std::fs::remove_file(env.path(&format!("{folder}/manifest.json"))).unwrap();
    env.write(&format!("{folder}/manifest.json"), &manifest.to_string());

    release(&WorkTree { path: env.path("git/good") }, "1.2.0", "first");
    let log = env.build(2);
    assert!(
        log.contains("the metadata would lose 2 of 4 versions (50.0 %, allowed are 3 %), such as acme/good 0.8.0, acme/good 0.9.0"),
        "{log}"
    );
    assert_eq!(names(&env, "data/acme/snapshots"), ["1"]);
    let yaml = read(&env, "mirror.yaml");
    env.write("mirror.yaml", &format!("{yaml}build: {{max_removed: 50%}}\n"));
    env.build(0);
    assert_eq!(names(&env, "data/acme/snapshots"), ["1", "2"]);
    let _server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 3);
}

/// Runs `mirror` with these arguments, which must exit with `code`, and returns what it printed.
fn command(env: &TestEnv, arguments: &[&str], code: i32) -> String {
    let mut mirror = Command::new(env!("CARGO_BIN_EXE_mirror"));
    let output = mirror.args(arguments).arg("--config").arg(env.path("mirror.yaml")).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

#[test]
fn rollback_restores_metadata_until_ended() {
    let (env, upstream, port) = mirror();
    command(&env, &["rollback"], 2);
    release(&upstream, "1.2.0", "first");
    env.build(0);
    let _server = env.serve("run", port);
    let versions = || {
        let p2: Value = serde_json::from_slice(&get(port, "/mirror/p2/acme/good.json").body).unwrap();
        p2["packages"]["acme/good"].as_array().unwrap().len()
    };
    let date = || get(port, "/mirror/p2/acme/good.json").header("last-modified").unwrap().to_owned();
    let parse = |date: &str| httpdate(date);
    let root: Value = serde_json::from_slice(&get(port, "/mirror/packages.json").body).unwrap();
    let include = root["includes"].as_object().unwrap().keys().next().unwrap().replace('$', "%24");
    let (before, new) = (date(), versions());
    assert_eq!(new, 3);
    let text = command(&env, &["rollback"], 0);
    assert!(text.contains("snapshot 3 has the content of snapshot 1"), "{text}");
    until("the rollback is served", || versions() == 2);
    assert!(parse(&date()) > parse(&before), "{} > {before}", date());
    assert_eq!(get(port, &format!("/mirror/{include}")).status, 200);
    assert_eq!(all_archives_answer(&env, port), 3);

    // Cycles continue without publishing metadata.
    release(&upstream, "1.3.0", "first");
    let log = env.build(0);
    assert!(log.contains("the content of snapshot 1 is held"), "{log}");
    assert_eq!((ledger(&env).len(), versions()), (4, 2));
    assert!(
        command(&env, &["rollback", "--to", "9"], 2)
            .contains("there is no snapshot 9\nhint: existing snapshots: [1, 2, 3]")
    );
    let text = command(&env, &["rollback", "--to", "2"], 0);
    assert!(text.contains("snapshot 4 has the content of snapshot 2"), "{text}");
    until("the other one is served", || versions() == 3);
    command(&env, &["rollback", "--end"], 0);
    assert!(command(&env, &["rollback", "--end"], 0).contains("no rollback to end"));
    env.build(0);
    until("everything is served", || versions() == 4);
    assert_eq!(all_archives_answer(&env, port), 4);
}

#[test]
fn unservable_newer_snapshot_is_reported() {
    let (env, upstream, port) = mirror();
    let server = env.serve("serve", port);
    assert_eq!(told(port, "/mirror/")["state"], "fresh");
    server.suspend();
    release(&upstream, "1.2.0", "first");
    env.build(0);
    let whole = read(&env, "data/acme/ledger.jsonl");
    env.write("data/acme/ledger.jsonl", &whole[..whole.len() - 100]);
    server.signal("CONT");
    until("it is reported", || told(port, "/mirror/")["state"] == "incomplete");
    let because = told(port, "/mirror/")["unserved"].to_string();
    assert!(because.contains("acme/ledger.jsonl"), "{because}");
    assert!(!because.contains(&*env.path("").to_string_lossy()), "{because}");
    assert_eq!(get(port, "/mirror/packages/acme/good-1.0.0.zip").status, 200);
    env.write("data/acme/ledger.jsonl", &whole);
    until("everything is fresh", || told(port, "/mirror/")["state"] == "fresh");
}

#[test]
fn rollback_sends_no_old_notifications() {
    let (env, upstream, port) = mirror();
    upstream.write("composer.json", "not JSON").release("1.2.0");
    env.build(1);
    upstream.git(&["tag", "-d", "1.2.0"]);
    release(&upstream, "1.3.0", "first");
    env.build(0);
    let _server = env.serve("serve", port);
    assert_eq!(told(port, "/mirror/")["counts"]["failed"], 0);
    command(&env, &["rollback", "--to", "2"], 0);
    until("the rollback is reported", || told(port, "/mirror/")["held_at"] == 2);
    assert_eq!(told(port, "/mirror/")["counts"]["failed"], 0);
}

fn httpdate(date: &str) -> i64 {
    run(Command::new("date").args(["+%s", "-d", date])).trim().parse().unwrap()
}

#[test]
fn old_snapshots_are_removed_in_two_steps() {
    let (env, upstream, port) = mirror();
    let yaml = read(&env, "mirror.yaml");
    let keep = |grace: &str| {
        env.write("mirror.yaml", &format!("{yaml}snapshots: {{keep: 2, grace: {grace}}}\n"));
    };
    keep("1h");
    for version in ["1.2.0", "1.3.0", "1.4.0"] {
        release(&upstream, version, "first");
        env.build(0);
    }
    assert_eq!(names(&env, "data/acme/snapshots"), ["1", "2", "3", "4"]);
    let marked: Vec<_> =
        ["1", "2", "3", "4"].map(|n| env.path(&format!("data/acme/snapshots/{n}/retired")).exists()).into();
    assert_eq!(marked, [true, true, false, false]);
    let includes = names(&env, "data/acme/snapshots/4/include");
    assert_eq!(includes.len(), 3, "its own, and those of the two before");
    keep("0s");
    env.build(0);
    assert_eq!(names(&env, "data/acme/snapshots"), ["3", "4"]);
    let before = env.volume();
    env.build(0);
    assert_eq!(env.volume(), before);
    let _server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 5);
    let answer = get(port, "/mirror/ledger.jsonl");
    assert_eq!((answer.status, answer.body), (200, read(&env, "data/acme/ledger.jsonl").into_bytes()));
    for include in includes {
        let url = format!("/mirror/include/{}", include.replace('$', "%24"));
        assert_eq!(get(port, &url).status, 200, "{url}");
    }
}

#[test]
fn includes_of_recent_snapshots_are_kept() {
    let (env, upstream, _) = mirror();
    let configuration = read(&env, "mirror.yaml");
    env.write("mirror.yaml", &format!("{configuration}snapshots: {{keep: 2}}\n"));
    let mut published = names(&env, "data/acme/current/include");
    for version in ["1.2.0", "1.3.0", "1.4.0", "1.5.0"] {
        release(&upstream, version, version);
        env.build(0);
        let now = names(&env, "data/acme/current/include");
        let new: Vec<_> = now.iter().filter(|name| !published.contains(name)).cloned().collect();
        assert_eq!(new.len(), 1, "{now:?}");
        let before = published.last().expect("one before");
        assert!(now.contains(before), "the include of the snapshot before is gone");
        assert!(now.len() <= 3, "{now:?}");
        published.extend(new);
    }
}

/// Flips one bit of a file in place and keeps its date.
fn flip(path: &Path) {
    let found = std::fs::metadata(path).unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(found.modified().unwrap()).unwrap();
}

#[test]
fn verify_finds_damage_and_repairs_from_git() {
    let (env, upstream, port) = mirror();
    let well = command(&env, &["verify"], 0);
    assert!(
        well.contains(
            "acme: 2 archives with 520 bytes, 2 lines of the ledger, snapshot 1, 5 URLs: no problems"
        ),
        "{well}"
    );
    let well = command(&env, &["verify", "--rebuild"], 0);
    assert!(well.contains("acme: 2 rebuilt versions are equal"), "{well}");

    let zip = |version: &str| env.path(&format!("data/acme/packages/acme/good-{version}.zip"));
    let whole = std::fs::read(zip("1.0.0")).unwrap();
    flip(&zip("1.0.0"));
    std::fs::remove_file(zip("1.1.0")).unwrap();
    let server = env.serve("serve", port);
    for version in ["1.0.0", "1.1.0"] {
        assert_eq!(get(port, &format!("/mirror/packages/acme/good-{version}.zip")).status, 503);
    }
    let text = command(&env, &["verify"], 1);
    assert!(text.contains("good-1.0.0.zip` is damaged: its SHA-256 is"), "{text}");
    assert!(text.contains("good-1.1.0.zip` is missing"), "{text}");
    assert!(text.contains(": 2 problems"), "{text}");

    // An archive whose commit git no longer has stays damaged and is never replaced by other bytes.
    release(&upstream, "1.1.0", "moved");
    let text = command(&env, &["verify", "--repair"], 1);
    assert!(text.contains("acme/good 1.0.0: repaired"), "{text}");
    assert!(text.contains("acme/good 1.1.0: not repaired: upstream moved `1.1.0` to commit"), "{text}");
    assert!(std::fs::read(zip("1.0.0")).unwrap() == whole && !zip("1.1.0").exists());
    assert_eq!(get(port, "/mirror/packages/acme/good-1.0.0.zip").status, 200);
    assert_eq!(get(port, "/mirror/packages/acme/good-1.1.0.zip").status, 503);
    upstream.git(&["tag", "-f", "1.1.0", "HEAD^{tree}"]);
    let text = command(&env, &["verify", "--repair"], 1);
    assert!(text.contains("not repaired: `refs/tags/1.1.0` points to a tree, not to a commit"), "{text}");
    upstream.git(&["tag", "-f", "1.1.0", "HEAD~1"]);
    command(&env, &["verify", "--repair"], 0);
    assert_eq!(all_archives_answer(&env, port), 2);
    server.stop();

    flip(&env.path("data/acme/snapshots/1/p2/acme/good.json"));
    assert!(command(&env, &["verify"], 1).contains("snapshot 1: `"));
    let ledger = read(&env, "data/acme/ledger.jsonl");
    env.write("data/acme/ledger.jsonl", &ledger.replacen("\"size\":260", "\"size\":261", 1));
    assert!(command(&env, &["verify"], 2).contains("line 2 does not follow line 1"));
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
    until("word of it", || told(port, "/mirror/")["state"] == "incomplete");
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
    until("word of it", || told(port, "/mirror/")["state"] == "fresh");
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
    until("word of it", || told(port, "/mirror/")["counts"]["damaged"] == 1);
    let page = get(port, "/mirror/status.html").into_text();
    assert!(page.contains("good-1.0.0.zip is missing and could not be built again"), "{page}");
    let inner = env.path("git").display().to_string();
    assert!(!page.contains(&inner), "{page}");
}

#[test]
fn repository_with_damaged_ledger_stops_alone_and_recovers() {
    let (env, _, port) = mirror();
    let config = read(&env, "mirror.yaml");
    let second = format!(
        "\n  - {{name: second, url: 'http://127.0.0.1:{port}/second/', recipe: ./recipe.yaml}}\ngit:"
    );
    env.write("mirror.yaml", &config.replace("\ngit:", &second));
    env.build(0);
    let whole = read(&env, "data/acme/ledger.jsonl");
    let cut = whole.lines().next().unwrap().to_owned() + "\n";
    let changed = whole.replacen("\"size\":", "\"size\":1", 1);
    for (ledger, words) in [(cut, "has lost lines"), (changed, "line 2 does not follow line 1")] {
        env.write("data/acme/ledger.jsonl", &ledger);
        let log = env.build(1);
        assert!(log.contains(words), "{log}");
        let server = env.serve("run", port);
        assert_eq!(get(port, "/second/p2/acme/good.json").status, 200);
        assert_eq!(get(port, "/mirror/p2/acme/good.json").status, 503);
        until("word of it", || told(port, "/mirror/")["error"].to_string().contains(words));
        assert_eq!(told(port, "/second/")["state"], "fresh");
        assert!(get(port, "/mirror/status.html").text().contains(words));
        env.write("data/acme/ledger.jsonl", &whole);
        until("it is back", || get(port, "/mirror/p2/acme/good.json").status == 200);
        until("word of it", || told(port, "/mirror/")["state"] == "fresh");
        server.stop();
    }
    assert_eq!(read(&env, "data/acme/ledger.jsonl"), whole);
}

#[test]
fn verify_compares_with_another_mirror() {
    let (one, _, port) = mirror();
    let other = TestEnv::new();
    let upstream = other.upstream("good");
    release(&upstream, "1.0.0", "first");
    release(&upstream, "1.1.0", "something else");
    release(&upstream, "1.2.0", "first");
    other.configure(free_port(), GOOD);
    other.build(0);
    let _server = one.serve("serve", port);
    let url = format!("http://127.0.0.1:{port}/mirror");
    let text = command(&one, &["verify", "--against", &url], 0);
    assert!(text.contains("acme: 2 versions are equal, 0 differ, 0 are only here, 0 only at"), "{text}");
    let text = command(&other, &["verify", "--against", &url], 1);
    assert!(text.contains("acme/good 1.1.0: SHA-1 "), "{text}");
    assert!(text.contains("acme: 1 versions are equal, 1 differ, 1 are only here, 0 only at"), "{text}");
    let text = command(&other, &["verify", "--against", &format!("http://127.0.0.1:{}/", free_port())], 2);
    assert!(text.contains("Connection refused"), "{text}");
    for nonsense in ["nonsense", "127.0.0.1:8080", "localhost:8080", "file:///mirror/"] {
        let text = command(&other, &["verify", "--against", nonsense], 64);
        assert!(text.contains("expected an http or https URL"), "{text}");
    }
}

#[test]
fn unsuitable_file_system_is_reported() {
    let (env, ..) = mirror();
    let tmpfs = Path::new("/dev/shm");
    let data = tempfile::TempDir::new_in(tmpfs).unwrap();
    let yaml = read(&env, "mirror.yaml");
    let here = env.path("data").display().to_string();
    env.write("mirror.yaml", &yaml.replace(&here, &data.path().display().to_string()));
    let log = env.build(0);
    assert!(log.contains("is on tmpfs: its contents are lost on restart"), "{log}");
}

#[test]
fn expired_nightly_archive_is_removed_when_no_snapshot_needs_it() {
    let (env, port) = (TestEnv::new(), free_port());
    let upstream = env.upstream("good");
    release(&upstream, "1.0.0", "first");
    env.configure(
        port,
        &format!("{GOOD}  - {{name: night, git: https://git.example/good, nightly: main, packages: [{{one: ''}}]}}\nretention: {{versions: 1}}\n"),
    );
    let configuration = read(&env, "mirror.yaml");
    env.write("mirror.yaml", &format!("{configuration}snapshots: {{keep: 1, grace: 0s}}\n"));
    let night = |number: u32| {
        upstream.write("text", &number.to_string());
        upstream.git(&["commit", "-q", "-a", "-m", "later"]);
        env.build(0)
    };
    let file = |line: &Value| match line["file"].as_str() {
        Some(file) => file.to_owned(),
        None => format!("packages/acme/good-{}.zip", line["version"].as_str().unwrap()),
    };
    let there = || -> Vec<bool> {
        let lines = ledger(&env);
        let lines = lines.iter().filter(|line| line["kind"] == "dev");
        lines.map(|line| env.path("data/acme").join(file(line)).exists()).collect()
    };
    night(1);
    night(2);
    assert_eq!(there(), [true, true], "it has just become unnamed");
    night(3);
    assert_eq!(there(), [true, true, true], "the snapshot before could still be served");
    night(4);
    assert_eq!(there(), [false, true, true, true], "the first, and no other");
    night(5);
    assert_eq!(there(), [false, false, true, true, true]);

    let verified = env.mirror("verify");
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(0), "{said}");
    assert!(said.contains("3 archives") && said.contains("6 lines of the ledger"), "{said}");
    let _server = env.serve("serve", port);
    let answers: Vec<_> =
        ledger(&env).iter().map(|line| get(port, &format!("/mirror/{}", file(line))).status).collect();
    assert_eq!(answers, [200, 404, 404, 404, 200, 200], "withdrawn ones are not answered");
}
