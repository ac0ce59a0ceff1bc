//! What the volume withstands: crashes, damage, old formats, other writers. With the real binary on real files.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::lab::{self, Lab, Upstream, free_port, get, request, run, until};
use crate::support::published::{GOOD, all_archives_answer, ledger, mirror, names, read, release, told};
use serde_json::Value;

#[test]
fn a_store_of_format_1_is_migrated_and_keeps_its_bytes() {
    let (lab, port) = (Lab::new(), free_port());
    let upstream = lab.upstream("good");
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        release(&upstream, version, "first");
    }
    lab.configure(port, GOOD);
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/store/format-1");
    run(Command::new("cp").arg("-a").arg(kept).arg(lab.path("data")));
    let before = read(&lab, "data/acme/ledger.jsonl");
    let log = lab.build(0);
    assert!(log.contains("migrated the data volume"), "{log}");
    let marker = read(&lab, "data/STORE");
    assert!(
        marker.starts_with("mirror store 2\nwritten by mirror "),
        "{marker}"
    );
    assert!(marker.ends_with("repository acme\n"), "{marker}");
    assert!(read(&lab, "data/acme/ledger.jsonl").starts_with(&before));
    assert_eq!(names(&lab, "data/acme/snapshots"), ["1", "2"]);
    let _server = lab.serve("serve", port);
    assert_eq!(all_archives_answer(&lab, port), 3);
}

#[test]
fn a_newer_format_is_refused_with_the_version_that_knows_it() {
    let (lab, ..) = mirror();
    lab.write("data/STORE", "mirror store 3\nwritten by mirror 7.8.9\nid 0\n");
    let before = lab.volume();
    for command in ["build", "run", "serve"] {
        let output = lab.mirror(command);
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{log}");
        assert!(
            log.contains("hint: use image version 7.8.9, which wrote this volume"),
            "{log}"
        );
    }
    assert_eq!(lab.volume(), before);
}

#[test]
fn a_volume_that_is_missing_or_gone_in_part_is_refused() {
    let (lab, ..) = mirror();
    std::fs::rename(lab.path("data/acme"), lab.path("elsewhere")).unwrap();
    assert!(
        lab.build(2)
            .contains("this volume has published the repository `acme`")
    );
    assert!(!lab.path("data/acme").exists());
    std::fs::rename(lab.path("elsewhere"), lab.path("data/acme")).unwrap();
    lab.build(0);
    std::fs::rename(lab.path("data"), lab.path("elsewhere")).unwrap();
    std::fs::create_dir(lab.path("data")).unwrap();
    let output = lab.mirror("serve");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{log}");
    assert!(log.contains("is the data volume mounted?"), "{log}");
}

#[test]
fn a_torn_line_is_passed_over_but_not_lines_that_a_snapshot_names() {
    let (lab, upstream, port) = mirror();
    let whole = read(&lab, "data/acme/ledger.jsonl");
    lab.write("data/acme/ledger.jsonl", &format!("{whole}{{\"number\":3,\"prev"));
    release(&upstream, "1.2.0", "first");
    assert!(lab.build(0).contains("passing over a torn line"));
    let text = read(&lab, "data/acme/ledger.jsonl");
    assert!(text.starts_with(&whole) && text.lines().count() == 3, "{text}");

    let first: String = text.split_inclusive('\n').take(1).collect();
    lab.write("data/acme/ledger.jsonl", &first);
    let before = lab.volume();
    let log = lab.build(2);
    assert!(
        log.contains("has lost lines: it has 1, and snapshot 2 names 3"),
        "{log}"
    );
    assert_eq!(lab.volume(), before);
    lab.write("data/acme/ledger.jsonl", &text);
    lab.build(0);
    let _server = lab.serve("serve", port);
    assert_eq!(all_archives_answer(&lab, port), 3);
}

#[test]
fn the_highest_whole_snapshot_is_served_and_the_next_one_goes_past_a_damaged_one() {
    let (lab, upstream, port) = mirror();
    release(&upstream, "1.2.0", "first");
    lab.build(0);
    for damage in [
        "packages.json",
        "p2/acme/good.json",
        "manifest.json",
        "report.json",
    ] {
        let newest = names(&lab, "data/acme/snapshots").pop().unwrap();
        let file = lab.path(&format!("data/acme/snapshots/{newest}/{damage}"));
        // A file of its own, because equal files of several snapshots are one.
        let text = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, &text[..text.len() - 1]).unwrap();
        let server = lab.serve("serve", port);
        assert!(get(port, "/mirror/p2/acme/good.json").status == 200, "{damage}");
        server.stop();
        release(&upstream, &format!("1.3.{newest}"), "first");
        let log = lab.build(0);
        let words = match damage {
            "report.json" => "is of no use",
            _ => "passing over a damaged snapshot",
        };
        assert!(log.contains(words), "{damage}: {log}");
        let next: u64 = newest.parse::<u64>().unwrap() + 1;
        assert!(
            lab.path(&format!("data/acme/snapshots/{next}")).exists(),
            "{damage}"
        );
    }
    let _server = lab.serve("serve", port);
    assert_eq!(all_archives_answer(&lab, port), 7);
}

/// Equal files of several snapshots are one.
#[test]
fn damage_that_all_snapshots_share_is_mended_and_costs_nothing_else() {
    let (lab, upstream, port) = mirror();
    for version in ["1.2.0", "1.3.0"] {
        release(&upstream, version, "first");
        lab.build(0);
    }
    let includes = || -> Vec<String> { names(&lab, "data/acme/current/include") };
    let before = includes();
    assert_eq!(before.len(), 3);
    let style = lab.path("data/acme/current/pages/style.css");
    let text = std::fs::read(&style).unwrap();
    run(Command::new("chmod").arg("u+w").arg(&style));
    std::fs::write(&style, [b"x", &text[1..]].concat()).unwrap();
    let server = lab.serve("serve", port);
    assert_eq!(all_archives_answer(&lab, port), 4);
    assert_eq!(get(port, "/mirror/packages.json").status, 200);
    assert_eq!(get(port, "/mirror/pages/style.css").status, 503);
    server.stop();
    lab.build(0);
    assert_eq!(includes(), before, "what is out there keeps answering");
    let _server = lab.serve("serve", port);
    let mended = get(port, "/mirror/pages/style.css");
    assert_eq!((mended.status, &mended.body), (200, &text));
    assert_eq!(all_archives_answer(&lab, port), 4);
    // A rollback can be ended all the same.
    release(&upstream, "1.4.0", "first");
    lab.build(0);
    command(&lab, &["rollback"], 0);
    let style = lab.path("data/acme/current/pages/style.css");
    std::fs::write(&style, [b"y", &text[1..]].concat()).unwrap();
    command(&lab, &["rollback", "--end"], 0);
    lab.build(0);
    assert_eq!(
        std::fs::read(lab.path("data/acme/current/pages/style.css")).unwrap(),
        text
    );
}

#[test]
fn a_running_mirror_mends_damaged_metadata_at_once() {
    let (lab, _, port) = mirror();
    let file = lab.path("data/acme/current/packages.json");
    let text = std::fs::read(&file).unwrap();
    std::fs::write(&file, [b"x", &text[1..]].concat()).unwrap();
    let _server = lab.serve("run", port);
    until("it is mended", || {
        get(port, "/mirror/packages.json").status == 200
    });
    until("word of it", || told(port, "/mirror/")["state"] == "fresh");
}

#[test]
fn a_running_mirror_publishes_what_waited_for_a_repair() {
    let (lab, upstream, port) = mirror();
    release(&upstream, "1.2.0", "first");
    std::fs::remove_file(lab.path("data/acme/packages/acme/good-1.0.0.zip")).unwrap();
    lab.upstream("other")
        .write("composer.json", r#"{"name": "acme/other", "version": "1.0.0"}"#)
        .release("1.0.0");
    let recipe = read(&lab, "recipe.yaml");
    // With another source everything is due.
    lab.write(
        "recipe.yaml",
        &format!("{recipe}  - {{name: other, git: https://git.example/other, packages: [{{one: ''}}]}}\n"),
    );
    let _server = lab.serve("run", port);
    until("the new version", || {
        get(port, "/mirror/p2/acme/good.json").text().contains("1.2.0")
    });
    let zip = "/mirror/packages/acme/good-1.0.0.zip";
    until("the repair", || get(port, zip).status == 200);
    until("word of it", || told(port, "/mirror/")["state"] == "fresh");
    assert_eq!(all_archives_answer(&lab, port), 4);
}

#[test]
fn an_archive_that_cannot_be_read_holds_nothing_back_and_is_told_as_before() {
    let (lab, upstream, port) = mirror();
    let rich = r#"{"name": "acme/good", "version": "0.9.0", "type": "Magento2-Module", "description": " It  is <good> ",
        "keywords": ["b", "a"], "license": "OSL-3.0", "authors": [{"name": "A", "email": "a@b.example"}], "homepage": "https://a.example",
        "support": {"issues": "https://a.example/i"}, "require": {"php": "~8.1", "acme/x": "self.version"}, "replace": {"acme/y": "*"},
        "require-dev": {"acme/z": "1.*"}, "suggest": {"acme/w": "self.version"}, "bin": "/bin/good", "scripts": {"test": "true"},
        "autoload": {"psr-4": {"Acme\\": "src/"}, "files": ["registration.php"]}, "extra": {"map": [["*", "good"]]}, "abandoned": "acme/better",
        "archive": {"exclude": ["/tests"]}, "minimum-stability": "dev", "config": {"sort-packages": true}}"#;
    upstream.write("composer.json", rich).release("0.9.0");
    let other = lab.upstream("other");
    let other_release = |version: &str| {
        let manifest = format!(r#"{{"name": "acme/other", "version": "{version}"}}"#);
        other.write("composer.json", &manifest).release(version);
    };
    other_release("1.0.0");
    let recipe = read(&lab, "recipe.yaml");
    lab.write(
        "recipe.yaml",
        &format!("{recipe}  - {{name: other, git: https://git.example/other, packages: [{{one: ''}}]}}\n"),
    );
    lab.build(0);
    let zip = lab.path("data/acme/packages/acme/good-0.9.0.zip");
    let whole = std::fs::read(&zip).unwrap();
    std::fs::write(&zip, "no archive").unwrap();
    release(&upstream, "1.2.0", "first");
    other_release("1.1.0");
    let log = lab.build(1);
    assert!(
        log.contains("packages/acme/good-0.9.0.zip") && log.contains("could not be read"),
        "{log}"
    );
    let text = |package: &str| read(&lab, &format!("data/acme/current/p2/acme/{package}.json"));
    let versions = |package: &str| {
        let metadata: Value = serde_json::from_str(&text(package)).unwrap();
        let versions = metadata["packages"][format!("acme/{package}")].as_array();
        versions.unwrap().len()
    };
    assert_eq!((versions("good"), versions("other")), (4, 2));
    let recalled = text("good");
    let before = lab.volume();
    lab.build(1);
    assert_eq!(
        lab.volume(),
        before,
        "it is damaged still, and there is nothing new"
    );
    // With it, and nothing taken over from the snapshot before, the metadata is the same.
    std::fs::write(&zip, whole).unwrap();
    std::fs::remove_file(lab.path("data/acme/current/made.json")).unwrap();
    other_release("1.2.0");
    lab.build(0);
    assert_eq!(text("good"), recalled);
    let _server = lab.serve("serve", port);
    assert_eq!(all_archives_answer(&lab, port), 7);
}

#[test]
fn what_could_not_be_published_is_as_soon_as_it_can() {
    let (lab, _, _) = mirror();
    let zip = lab.path("data/acme/packages/acme/good-1.0.0.zip");
    let whole = std::fs::read(&zip).unwrap();
    std::fs::write(&zip, "no archive").unwrap();
    // Nothing is left that could tell of it.
    for snapshot in names(&lab, "data/acme/snapshots") {
        std::fs::remove_dir_all(lab.path("data/acme/snapshots").join(snapshot)).unwrap();
    }
    let has_it = || read(&lab, "data/acme/current/p2/acme/good.json").contains("\"1.0.0\"");
    lab.build(1);
    assert!(!has_it());
    let log = lab.build(1);
    assert!(
        log.contains("good-1.0.0.zip") && log.contains("could not be read"),
        "each says why it is not complete: {log}"
    );
    std::fs::write(&zip, whole).unwrap();
    lab.build(0);
    assert!(has_it());
    let before = lab.volume();
    lab.build(0);
    assert_eq!(lab.volume(), before);
}

#[test]
fn a_cycle_with_nothing_new_misses_an_archive() {
    let (lab, _, port) = mirror();
    std::fs::remove_file(lab.path("data/acme/packages/acme/good-1.0.0.zip")).unwrap();
    let log = lab.build(1);
    assert!(
        log.contains("good-1.0.0.zip") && log.contains("is missing"),
        "{log}"
    );
    let server = lab.serve("serve", port);
    assert_eq!(told(port, "/mirror/")["state"], "incomplete");
    assert_eq!(server.stop(), Some(0));
    let _server = lab.serve("run", port);
    until("the repair", || {
        get(port, "/mirror/packages/acme/good-1.0.0.zip").status == 200
    });
    until("word of it", || told(port, "/mirror/")["state"] == "fresh");
}

#[test]
fn a_damaged_variant_is_made_anew() {
    let (lab, _, port) = mirror();
    let listed = run(Command::new("find")
        .arg(lab.path("data/acme/variants"))
        .args(["-name", "*.gz", "-size", "+0"]));
    let variants: Vec<_> = listed.lines().collect();
    assert!(!variants.is_empty());
    for variant in variants {
        let mut bytes = std::fs::read(variant).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(variant, bytes).unwrap();
    }
    let _server = lab.serve("run", port);
    let ask = || {
        request(
            port,
            "GET",
            "/mirror/pages/style.css",
            "Accept-Encoding: gzip\r\n",
        )
    };
    let first = ask();
    assert_eq!((first.status, first.header("content-encoding")), (200, None));
    until("it is compressed again", || {
        ask().header("content-encoding") == Some("gzip")
    });
    let log = read(&lab, "log");
    assert!(log.contains("a damaged variant is made anew"), "{log}");
}

#[test]
fn a_repository_under_another_name_begins_nowhere_else_than_anew() {
    let (lab, _, port) = mirror();
    assert!(!lab.build(0).contains("no configured repository has that name"));
    let config = read(&lab, "mirror.yaml");
    let renamed = config.replace("name: acme", "name: other");
    lab.write("mirror.yaml", &renamed);
    let log = lab.build(2);
    assert!(
        log.contains("what the repository `acme` published, and no configured repository has that name"),
        "{log}"
    );
    assert!(log.contains("`other` would begin anew there"), "{log}");
    assert!(!lab.path("data/other/packages").exists());
    lab.write("mirror.yaml", &renamed.replace("/mirror/", "/other/"));
    lab.build(0);

    // Nor does a mirror that runs take such a configuration over.
    std::fs::remove_dir_all(lab.path("data/other")).unwrap();
    let store = read(&lab, "data/STORE").replace("repository other\n", "");
    lab.write("data/STORE", &store);
    lab.write("mirror.yaml", &config);
    let _server = lab.serve("run", port);
    lab.write("mirror.yaml", &renamed);
    until("it is refused", || {
        read(&lab, "log").contains("`other` would begin anew there")
    });
    assert_eq!(all_archives_answer(&lab, port), 2);
}

#[test]
fn a_repository_goes_on_under_another_name_with_its_folder() {
    let (lab, _, _) = mirror();
    let before = ledger(&lab);
    std::fs::rename(lab.path("data/acme"), lab.path("data/other")).unwrap();
    let store = read(&lab, "data/STORE").replace("repository acme", "repository other");
    lab.write("data/STORE", &store);
    let config = read(&lab, "mirror.yaml").replace("name: acme", "name: other");
    lab.write("mirror.yaml", &config);
    assert!(!lab.build(0).contains("no configured repository has that name"));
    let after = read(&lab, "data/other/ledger.jsonl");
    let after: Vec<Value> = after
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(after, before);
}

#[test]
fn two_folders_with_one_version_of_a_package_are_no_guess() {
    let lab = Lab::new();
    let upstream = lab.upstream("good");
    let manifest = r#"{"name": "acme/good", "version": "1.0.0"}"#;
    upstream
        .write("a/composer.json", manifest)
        .write("b/composer.json", manifest)
        .release("1.0.0");
    lab.configure(
        free_port(),
        "  - {name: good, git: https://git.example/good, packages: [{each: ''}]}\n",
    );
    // What is the same in both is no question.
    lab.build(0);
    upstream.write("b/text", "and more").release("1.0.1");
    for _ in 0..2 {
        let log = lab.build(1);
        assert!(
            log.contains("`a/composer.json` is the same version of the package with other contents"),
            "{log}"
        );
    }
}

#[test]
fn the_link_for_other_servers_is_mended() {
    let (lab, upstream, _) = mirror();
    release(&upstream, "1.2.0", "first");
    lab.build(0);
    let link = lab.path("data/acme/current");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("snapshots/1", &link).unwrap();
    lab.build(0);
    assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("snapshots/2"));
}

/// Two cycles within a second give it two dates, or its old holder would be told that nothing has changed.
#[test]
fn the_date_of_the_ledger_moves_with_its_bytes() {
    let (lab, upstream, port) = mirror();
    let dates = ["1.2.0", "1.3.0", "1.4.0"].map(|version| {
        release(&upstream, version, "first");
        lab.build(0);
        let _server = lab.serve("serve", port);
        let answer = get(port, "/mirror/ledger.jsonl");
        answer.header("last-modified").unwrap().to_owned()
    });
    let distinct: std::collections::BTreeSet<_> = dates.iter().collect();
    assert_eq!(distinct.len(), 3, "{dates:?}");
}

#[test]
fn others_serve_and_follow_what_one_instance_publishes() {
    let (lab, upstream, port) = mirror();
    let _running = lab.serve("run", port);
    let other = free_port();
    let yaml = read(&lab, "mirror.yaml");
    lab.write(
        "other/mirror.yaml",
        &yaml
            .replace(
                &format!("['127.0.0.1:{port}']"),
                &format!("['127.0.0.1:{other}']"),
            )
            .replace("./recipe.yaml", "../recipe.yaml"),
    );
    let serving = Command::new(env!("CARGO_BIN_EXE_mirror"))
        .args(["serve", "--config"])
        .arg(lab.path("other/mirror.yaml"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _serving = lab::Running::of(serving);
    release(&upstream, "1.2.0", "first");
    lab.build(0);
    for port in [port, other] {
        until("the new snapshot is followed", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
                && String::from_utf8_lossy(&get(port, "/mirror/p2/acme/good.json").body).contains("1.2.0")
        });
        assert_eq!(all_archives_answer(&lab, port), 3);
    }
}

#[test]
fn an_upstream_that_deletes_everything_takes_nothing_away() {
    let (lab, upstream, port) = mirror();
    let before: BTreeMap<_, _> = ledger(&lab)
        .into_iter()
        .map(|r| (r["version"].to_string(), r["sha256"].to_string()))
        .collect();
    upstream.git(&["tag", "-d", "1.0.0", "1.1.0"]);
    lab.build(0);
    lab.configure(port, &GOOD.replace("good", "other"));
    lab.build(1);
    let after: BTreeMap<_, _> = ledger(&lab)
        .into_iter()
        .map(|r| (r["version"].to_string(), r["sha256"].to_string()))
        .collect();
    assert_eq!(before, after);
    let _server = lab.serve("serve", port);
    assert_eq!(all_archives_answer(&lab, port), 2);
    let p2 = get(port, "/mirror/p2/acme/good.json");
    assert!(String::from_utf8_lossy(&p2.body).contains("1.0.0"));
}

fn report(lab: &Lab) -> Value {
    serde_json::from_str(&read(lab, "data/acme/current/report.json")).unwrap()
}

#[test]
fn a_moved_tag_is_recorded_as_diverged_once_for_each_commit() {
    let (lab, upstream, port) = mirror();
    let zip = std::fs::read(lab.path("data/acme/packages/acme/good-1.0.0.zip")).unwrap();
    let first = ledger(&lab)[0].clone();
    // The same bytes from another commit are no divergence.
    upstream.git(&["checkout", "-q", "1.1.0"]);
    upstream.git(&["commit", "-q", "--allow-empty", "-m", "again"]);
    upstream.git(&["tag", "-f", "1.1.0"]);
    lab.build(0);
    assert!(!lab.path("data/acme/diverged.jsonl").exists());

    release(&upstream, "1.0.0", "moved");
    let moved = upstream.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let log = lab.build(0);
    assert!(
        log.contains("diverged: upstream's tag would give other bytes"),
        "{log}"
    );
    assert!(log.contains(r#""diverged":1"#), "{log}");
    let lines = read(&lab, "data/acme/diverged.jsonl");
    let line: Value = serde_json::from_str(&lines).unwrap();
    assert_eq!(
        (&line["source"], &line["ref"], &line["version"]),
        (&"good".into(), &"1.0.0".into(), &"1.0.0".into())
    );
    assert_eq!(line["published"]["commit"], first["commit"]);
    assert_eq!(line["published"]["sha1"], first["sha1"]);
    assert_eq!(line["attempted"]["commit"], moved.as_str());
    assert_ne!(line["attempted"]["sha256"], line["published"]["sha256"]);
    assert_eq!(
        report(&lab)["sources"]["good"]["diverged"],
        serde_json::json!([line])
    );

    // Not again: when nothing changes, when another tag comes, and when the report is lost.
    let before = lab.volume();
    lab.build(0);
    assert_eq!(lab.volume(), before);
    release(&upstream, "1.2.0", "first");
    assert!(!lab.build(0).contains("diverged: "));
    run(Command::new("rm").arg("-r").arg(lab.path("data/acme/snapshots")));
    assert!(!lab.build(0).contains("diverged: "));
    assert_eq!(read(&lab, "data/acme/diverged.jsonl"), lines);

    // But for another commit, and also when the tag was away in between.
    upstream.git(&["tag", "-d", "1.0.0"]);
    lab.build(0);
    release(&upstream, "1.0.0", "moved again");
    lab.build(0);
    assert_eq!(read(&lab, "data/acme/diverged.jsonl").lines().count(), 2);
    let kept = std::fs::read(lab.path("data/acme/packages/acme/good-1.0.0.zip")).unwrap();
    assert!(kept == zip);
    let _server = lab.serve("serve", port);
    assert_eq!(all_archives_answer(&lab, port), 3);
}

#[test]
fn a_version_that_an_earlier_tag_published_is_no_divergence() {
    let (lab, upstream, _) = mirror();
    // A tag that has version 1.1.0 still, with other bytes.
    release(&upstream, "1.1.0", "changed without a new version");
    upstream.git(&["tag", "-f", "1.1.0", "HEAD~1"]);
    upstream.git(&["tag", "1.2.0"]);
    let log = lab.build(0);
    assert!(log.contains(r#""diverged":0"#), "{log}");
    assert!(!lab.path("data/acme/diverged.jsonl").exists());
}

#[test]
fn the_fuse_keeps_metadata_that_would_lose_versions_from_being_published() {
    let (lab, _, port) = mirror();
    // What a snapshot names and the ledger does not: as after a mistake of whatever kind.
    let include = names(&lab, "data/acme/snapshots/1/include").pop().unwrap();
    let folder = "data/acme/snapshots/1";
    let path = format!("{folder}/include/{include}");
    let more = read(&lab, &path).replacen(r#""1.0.0":"#, r#""0.9.0":{},"0.8.0":{},"1.0.0":"#, 1);
    std::fs::remove_file(lab.path(&path)).unwrap();
    lab.write(&path, &more);
    let mut manifest: Value = serde_json::from_str(&read(&lab, &format!("{folder}/manifest.json"))).unwrap();
    let file = &mut manifest["files"][format!("include/{include}")];
    file["sha256"] = mirror::util::digest::Sha256::digest(more.as_bytes())
        .to_string()
        .into();
    file["size"] = more.len().into();
    std::fs::remove_file(lab.path(&format!("{folder}/manifest.json"))).unwrap();
    lab.write(&format!("{folder}/manifest.json"), &manifest.to_string());

    release(
        &Upstream {
            folder: lab.path("git/good"),
        },
        "1.2.0",
        "first",
    );
    let log = lab.build(2);
    assert!(
        log.contains("the metadata would lose 2 of 4 versions (50.0 %, allowed are 3 %), such as acme/good 0.8.0, acme/good 0.9.0"),
        "{log}"
    );
    assert_eq!(names(&lab, "data/acme/snapshots"), ["1"]);
    let yaml = read(&lab, "mirror.yaml");
    lab.write("mirror.yaml", &format!("{yaml}build: {{max_removed: 50%}}\n"));
    lab.build(0);
    assert_eq!(names(&lab, "data/acme/snapshots"), ["1", "2"]);
    let _server = lab.serve("serve", port);
    assert_eq!(all_archives_answer(&lab, port), 3);
}

/// Runs `mirror` with these arguments, which must end with `code`, and answers what it printed.
fn command(lab: &Lab, arguments: &[&str], code: i32) -> String {
    let mut mirror = Command::new(env!("CARGO_BIN_EXE_mirror"));
    let output = mirror
        .args(arguments)
        .arg("--config")
        .arg(lab.path("mirror.yaml"))
        .output()
        .unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

#[test]
fn a_rollback_brings_metadata_back_until_it_is_ended() {
    let (lab, upstream, port) = mirror();
    command(&lab, &["rollback"], 2);
    release(&upstream, "1.2.0", "first");
    lab.build(0);
    let _server = lab.serve("run", port);
    let versions = || {
        let p2: Value = serde_json::from_slice(&get(port, "/mirror/p2/acme/good.json").body).unwrap();
        p2["packages"]["acme/good"].as_array().unwrap().len()
    };
    let date = || {
        get(port, "/mirror/p2/acme/good.json")
            .header("last-modified")
            .unwrap()
            .to_owned()
    };
    let parse = |date: &str| httpdate(date);
    let root: Value = serde_json::from_slice(&get(port, "/mirror/packages.json").body).unwrap();
    let include = root["includes"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .replace('$', "%24");
    let (before, new) = (date(), versions());
    assert_eq!(new, 3);
    let text = command(&lab, &["rollback"], 0);
    assert!(
        text.contains("snapshot 3 has the content of snapshot 1"),
        "{text}"
    );
    until("the rollback is served", || versions() == 2);
    assert!(parse(&date()) > parse(&before), "{} > {before}", date());
    assert_eq!(get(port, &format!("/mirror/{include}")).status, 200);
    assert_eq!(all_archives_answer(&lab, port), 3);

    // Cycles go on, without metadata.
    release(&upstream, "1.3.0", "first");
    let log = lab.build(0);
    assert!(log.contains("the content of snapshot 1 is held"), "{log}");
    assert_eq!((ledger(&lab).len(), versions()), (4, 2));
    assert!(
        command(&lab, &["rollback", "--to", "9"], 2)
            .contains("there is no snapshot 9\nhint: there are [1, 2, 3]")
    );
    let text = command(&lab, &["rollback", "--to", "2"], 0);
    assert!(
        text.contains("snapshot 4 has the content of snapshot 2"),
        "{text}"
    );
    until("the other one is served", || versions() == 3);
    command(&lab, &["rollback", "--end"], 0);
    assert!(command(&lab, &["rollback", "--end"], 0).contains("no rollback to end"));
    lab.build(0);
    until("everything is served", || versions() == 4);
    assert_eq!(all_archives_answer(&lab, port), 4);
}

#[test]
fn a_newer_snapshot_that_cannot_be_served_is_told_of() {
    let (lab, upstream, port) = mirror();
    let server = lab.serve("serve", port);
    assert_eq!(told(port, "/mirror/")["state"], "fresh");
    server.suspend();
    release(&upstream, "1.2.0", "first");
    lab.build(0);
    let whole = read(&lab, "data/acme/ledger.jsonl");
    lab.write("data/acme/ledger.jsonl", &whole[..whole.len() - 100]);
    server.signal("CONT");
    until("it is told of", || {
        told(port, "/mirror/")["state"] == "incomplete"
    });
    let because = told(port, "/mirror/")["unserved"].to_string();
    assert!(because.contains("acme/ledger.jsonl"), "{because}");
    assert!(!because.contains(&*lab.path("").to_string_lossy()), "{because}");
    assert_eq!(get(port, "/mirror/packages/acme/good-1.0.0.zip").status, 200);
    lab.write("data/acme/ledger.jsonl", &whole);
    until("all is well", || told(port, "/mirror/")["state"] == "fresh");
}

#[test]
fn a_rollback_tells_no_old_news() {
    let (lab, upstream, port) = mirror();
    upstream.write("composer.json", "not JSON").release("1.2.0");
    lab.build(1);
    upstream.git(&["tag", "-d", "1.2.0"]);
    release(&upstream, "1.3.0", "first");
    lab.build(0);
    let _server = lab.serve("serve", port);
    assert_eq!(told(port, "/mirror/")["counts"]["failed"], 0);
    command(&lab, &["rollback", "--to", "2"], 0);
    until("the rollback is told of", || {
        told(port, "/mirror/")["held_at"] == 2
    });
    assert_eq!(told(port, "/mirror/")["counts"]["failed"], 0);
}

fn httpdate(date: &str) -> i64 {
    run(Command::new("date").args(["+%s", "-d", date]))
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn old_snapshots_go_in_two_steps_and_take_nothing_along() {
    let (lab, upstream, port) = mirror();
    let yaml = read(&lab, "mirror.yaml");
    let keep = |grace: &str| {
        lab.write(
            "mirror.yaml",
            &format!("{yaml}snapshots: {{keep: 2, grace: {grace}}}\n"),
        );
    };
    keep("1h");
    for version in ["1.2.0", "1.3.0", "1.4.0"] {
        release(&upstream, version, "first");
        lab.build(0);
    }
    assert_eq!(names(&lab, "data/acme/snapshots"), ["1", "2", "3", "4"]);
    let marked: Vec<_> = ["1", "2", "3", "4"]
        .map(|n| lab.path(&format!("data/acme/snapshots/{n}/retired")).exists())
        .into();
    assert_eq!(marked, [true, true, false, false]);
    let includes = names(&lab, "data/acme/snapshots/4/include");
    assert_eq!(includes.len(), 3, "its own, and those of the two before");
    keep("0s");
    lab.build(0);
    assert_eq!(names(&lab, "data/acme/snapshots"), ["3", "4"]);
    let before = lab.volume();
    lab.build(0);
    assert_eq!(lab.volume(), before);
    let _server = lab.serve("serve", port);
    assert_eq!(all_archives_answer(&lab, port), 5);
    let answer = get(port, "/mirror/ledger.jsonl");
    assert_eq!(
        (answer.status, answer.body),
        (200, read(&lab, "data/acme/ledger.jsonl").into_bytes())
    );
    for include in includes {
        let url = format!("/mirror/include/{}", include.replace('$', "%24"));
        assert_eq!(get(port, &url).status, 200, "{url}");
    }
}

#[test]
fn the_includes_of_the_last_snapshots_stay_and_older_ones_go() {
    let (lab, upstream, _) = mirror();
    let configuration = read(&lab, "mirror.yaml");
    lab.write("mirror.yaml", &format!("{configuration}snapshots: {{keep: 2}}\n"));
    let mut published = names(&lab, "data/acme/current/include");
    for version in ["1.2.0", "1.3.0", "1.4.0", "1.5.0"] {
        release(&upstream, version, version);
        lab.build(0);
        let now = names(&lab, "data/acme/current/include");
        let new: Vec<_> = now
            .iter()
            .filter(|name| !published.contains(name))
            .cloned()
            .collect();
        assert_eq!(new.len(), 1, "{now:?}");
        let before = published.last().expect("one before");
        assert!(now.contains(before), "the include of the snapshot before is gone");
        assert!(now.len() <= 3, "{now:?}");
        published.extend(new);
    }
}

/// Flips one bit of a file, which stays the same file with the same date.
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
fn verify_finds_damage_and_repairs_what_git_still_has() {
    let (lab, upstream, port) = mirror();
    let well = command(&lab, &["verify"], 0);
    assert!(
        well.contains(
            "acme: 2 archives with 520 bytes, 2 lines of the ledger, snapshot 1, 5 URLs: all is well"
        ),
        "{well}"
    );
    let well = command(&lab, &["verify", "--rebuild"], 0);
    assert!(well.contains("acme: 2 versions built again are equal"), "{well}");

    let zip = |version: &str| lab.path(&format!("data/acme/packages/acme/good-{version}.zip"));
    let whole = std::fs::read(zip("1.0.0")).unwrap();
    flip(&zip("1.0.0"));
    std::fs::remove_file(zip("1.1.0")).unwrap();
    let server = lab.serve("serve", port);
    for version in ["1.0.0", "1.1.0"] {
        assert_eq!(
            get(port, &format!("/mirror/packages/acme/good-{version}.zip")).status,
            503
        );
    }
    let text = command(&lab, &["verify"], 1);
    assert!(
        text.contains("good-1.0.0.zip` is damaged: its SHA-256 is"),
        "{text}"
    );
    assert!(text.contains("good-1.1.0.zip` is missing"), "{text}");
    assert!(text.contains(": 2 problems"), "{text}");

    // What git no longer has as it was published stays damaged, and is never replaced by something else.
    release(&upstream, "1.1.0", "moved");
    let text = command(&lab, &["verify", "--repair"], 1);
    assert!(text.contains("acme/good 1.0.0: repaired"), "{text}");
    assert!(
        text.contains("acme/good 1.1.0: not repaired: upstream's `1.1.0` is at commit"),
        "{text}"
    );
    assert!(std::fs::read(zip("1.0.0")).unwrap() == whole && !zip("1.1.0").exists());
    assert_eq!(get(port, "/mirror/packages/acme/good-1.0.0.zip").status, 200);
    assert_eq!(get(port, "/mirror/packages/acme/good-1.1.0.zip").status, 503);
    upstream.git(&["tag", "-f", "1.1.0", "HEAD^{tree}"]);
    let text = command(&lab, &["verify", "--repair"], 1);
    assert!(
        text.contains("not repaired: `refs/tags/1.1.0` points to a tree, not to a commit"),
        "{text}"
    );
    upstream.git(&["tag", "-f", "1.1.0", "HEAD~1"]);
    command(&lab, &["verify", "--repair"], 0);
    assert_eq!(all_archives_answer(&lab, port), 2);
    server.stop();

    flip(&lab.path("data/acme/snapshots/1/p2/acme/good.json"));
    assert!(command(&lab, &["verify"], 1).contains("snapshot 1: `"));
    let ledger = read(&lab, "data/acme/ledger.jsonl");
    lab.write(
        "data/acme/ledger.jsonl",
        &ledger.replacen("\"size\":260", "\"size\":261", 1),
    );
    assert!(command(&lab, &["verify"], 2).contains("line 2 does not follow line 1"));
}

#[test]
fn a_running_mirror_repairs_what_it_finds_damaged() {
    let (lab, _, port) = mirror();
    let yaml = read(&lab, "mirror.yaml");
    let zip = |version: &str| lab.path(&format!("data/acme/packages/acme/good-{version}.zip"));
    // Found by a request for it.
    let server = lab.serve("run", port);
    flip(&zip("1.0.0"));
    assert_eq!(get(port, "/mirror/packages/acme/good-1.0.0.zip").status, 503);
    until("the repair", || {
        get(port, "/mirror/packages/acme/good-1.0.0.zip").status == 200
    });
    assert_eq!(all_archives_answer(&lab, port), 2);
    server.stop();
    // Found although nobody asks.
    flip(&zip("1.1.0"));
    lab.write("mirror.yaml", &format!("{yaml}verify: {{scrub: 1s}}\n"));
    let _server = lab.serve("run", port);
    until("the repair", || {
        std::process::Command::new(env!("CARGO_BIN_EXE_mirror"))
            .args(["verify", "--config"])
            .arg(lab.path("mirror.yaml"))
            .output()
            .unwrap()
            .status
            .success()
    });
    assert_eq!(all_archives_answer(&lab, port), 2);
}

#[test]
fn what_cannot_be_repaired_is_told_until_it_is_put_back() {
    let (lab, upstream, port) = mirror();
    let zip = |version: &str| lab.path(&format!("data/acme/packages/acme/good-{version}.zip"));
    let status = |version: &str| get(port, &format!("/mirror/packages/acme/good-{version}.zip")).status;
    let _server = lab.serve("run", port);
    until("the first cycle", || told(port, "/mirror/")["state"] == "fresh");
    // Each loss is mended, also the second of the same file.
    for _ in 0..2 {
        std::fs::remove_file(zip("1.1.0")).unwrap();
        assert_eq!(status("1.1.0"), 503);
        until("the repair", || status("1.1.0") == 200);
    }
    assert_eq!(told(port, "/mirror/")["state"], "fresh");
    upstream.git(&["tag", "-d", "1.0.0"]);
    std::fs::rename(zip("1.0.0"), lab.path("aside.zip")).unwrap();
    assert_eq!(status("1.0.0"), 503);
    until("word of it", || told(port, "/mirror/")["state"] == "incomplete");
    assert_eq!(told(port, "/mirror/")["counts"]["damaged"], 1);
    let page = get(port, "/mirror/status.html").text();
    let sha256 = ledger(&lab)[0]["sha256"].as_str().unwrap().to_owned();
    for words in [
        "good-1.0.0.zip is missing",
        "upstream has no `1.0.0` any more",
        &sha256,
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let metrics = get(port, "/-/metrics").text();
    assert!(
        metrics.contains("mirror_damaged_archives{repository=\"acme\"} 1"),
        "{metrics}"
    );
    std::fs::rename(lab.path("aside.zip"), zip("1.0.0")).unwrap();
    assert_eq!(status("1.0.0"), 200);
    until("word of it", || told(port, "/mirror/")["state"] == "fresh");
    assert_eq!(told(port, "/mirror/")["counts"]["damaged"], 0);
}

/// Where the sources are fetched from is nobody's business.
#[test]
fn what_is_told_of_damage_names_no_inner_address() {
    let (lab, upstream, port) = mirror();
    std::fs::rename(&upstream.folder, lab.path("away")).unwrap();
    std::fs::remove_file(lab.path("data/acme/packages/acme/good-1.0.0.zip")).unwrap();
    let _server = lab.serve("run", port);
    assert_eq!(get(port, "/mirror/packages/acme/good-1.0.0.zip").status, 503);
    until("word of it", || told(port, "/mirror/")["counts"]["damaged"] == 1);
    let page = get(port, "/mirror/status.html").text();
    assert!(
        page.contains("good-1.0.0.zip is missing and could not be built again"),
        "{page}"
    );
    let inner = lab.path("git").display().to_string();
    assert!(!page.contains(&inner), "{page}");
}

#[test]
fn a_repository_whose_ledger_is_damaged_stops_no_other_and_comes_back() {
    let (lab, _, port) = mirror();
    let config = read(&lab, "mirror.yaml");
    let second = format!(
        "\n  - {{name: second, url: 'http://127.0.0.1:{port}/second/', recipe: ./recipe.yaml}}\ngit:"
    );
    lab.write("mirror.yaml", &config.replace("\ngit:", &second));
    lab.build(0);
    let whole = read(&lab, "data/acme/ledger.jsonl");
    let cut = whole.lines().next().unwrap().to_owned() + "\n";
    let changed = whole.replacen("\"size\":", "\"size\":1", 1);
    for (ledger, words) in [
        (cut, "has lost lines"),
        (changed, "line 2 does not follow line 1"),
    ] {
        lab.write("data/acme/ledger.jsonl", &ledger);
        let log = lab.build(1);
        assert!(log.contains(words), "{log}");
        let server = lab.serve("run", port);
        assert_eq!(get(port, "/second/p2/acme/good.json").status, 200);
        assert_eq!(get(port, "/mirror/p2/acme/good.json").status, 503);
        until("word of it", || {
            told(port, "/mirror/")["error"].to_string().contains(words)
        });
        assert_eq!(told(port, "/second/")["state"], "fresh");
        assert!(get(port, "/mirror/status.html").text().contains(words));
        lab.write("data/acme/ledger.jsonl", &whole);
        until("it is back", || {
            get(port, "/mirror/p2/acme/good.json").status == 200
        });
        until("word of it", || told(port, "/mirror/")["state"] == "fresh");
        server.stop();
    }
    assert_eq!(read(&lab, "data/acme/ledger.jsonl"), whole);
}

#[test]
fn verify_compares_with_another_mirror() {
    let (one, _, port) = mirror();
    let other = Lab::new();
    let upstream = other.upstream("good");
    release(&upstream, "1.0.0", "first");
    release(&upstream, "1.1.0", "something else");
    release(&upstream, "1.2.0", "first");
    other.configure(free_port(), GOOD);
    other.build(0);
    let _server = one.serve("serve", port);
    let url = format!("http://127.0.0.1:{port}/mirror");
    let text = command(&one, &["verify", "--against", &url], 0);
    assert!(
        text.contains("acme: 2 versions are equal, 0 differ, 0 are only here, 0 only at"),
        "{text}"
    );
    let text = command(&other, &["verify", "--against", &url], 1);
    assert!(text.contains("acme/good 1.1.0: SHA-1 "), "{text}");
    assert!(
        text.contains("acme: 1 versions are equal, 1 differ, 1 are only here, 0 only at"),
        "{text}"
    );
    let text = command(
        &other,
        &[
            "verify",
            "--against",
            &format!("http://127.0.0.1:{}/", free_port()),
        ],
        2,
    );
    assert!(text.contains("Connection refused"), "{text}");
    for nonsense in ["nonsense", "127.0.0.1:8080", "localhost:8080", "file:///mirror/"] {
        let text = command(&other, &["verify", "--against", nonsense], 64);
        assert!(text.contains("expected an http or https URL"), "{text}");
    }
}

#[test]
fn a_doubtful_volume_is_named() {
    let (lab, ..) = mirror();
    let tmpfs = Path::new("/dev/shm");
    let data = tempfile::TempDir::new_in(tmpfs).unwrap();
    let yaml = read(&lab, "mirror.yaml");
    let here = lab.path("data").display().to_string();
    lab.write(
        "mirror.yaml",
        &yaml.replace(&here, &data.path().display().to_string()),
    );
    let log = lab.build(0);
    assert!(log.contains("is on tmpfs: it is gone after a restart"), "{log}");
}

#[test]
fn the_archive_of_an_expired_nightly_version_goes_when_no_snapshot_can_name_it_and_no_other_does() {
    let (lab, port) = (Lab::new(), free_port());
    let upstream = lab.upstream("good");
    release(&upstream, "1.0.0", "first");
    lab.configure(
        port,
        &format!("{GOOD}  - {{name: night, git: https://git.example/good, nightly: main, packages: [{{one: ''}}]}}\nretention: {{versions: 1}}\n"),
    );
    let configuration = read(&lab, "mirror.yaml");
    lab.write(
        "mirror.yaml",
        &format!("{configuration}snapshots: {{keep: 1, grace: 0s}}\n"),
    );
    let night = |number: u32| {
        upstream.write("text", &number.to_string());
        upstream.git(&["commit", "-q", "-a", "-m", "later"]);
        lab.build(0)
    };
    let file = |line: &Value| match line["file"].as_str() {
        Some(file) => file.to_owned(),
        None => format!("packages/acme/good-{}.zip", line["version"].as_str().unwrap()),
    };
    let there = || -> Vec<bool> {
        let lines = ledger(&lab);
        let lines = lines.iter().filter(|line| line["kind"] == "dev");
        lines
            .map(|line| lab.path("data/acme").join(file(line)).exists())
            .collect()
    };
    night(1);
    night(2);
    assert_eq!(there(), [true, true], "it has just become unnamed");
    night(3);
    assert_eq!(
        there(),
        [true, true, true],
        "the snapshot before could still be served"
    );
    night(4);
    assert_eq!(there(), [false, true, true, true], "the first, and no other");
    night(5);
    assert_eq!(there(), [false, false, true, true, true]);

    let verified = lab.mirror("verify");
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(0), "{said}");
    assert!(
        said.contains("3 archives") && said.contains("6 lines of the ledger"),
        "{said}"
    );
    let _server = lab.serve("serve", port);
    let answers: Vec<_> = ledger(&lab)
        .iter()
        .map(|line| get(port, &format!("/mirror/{}", file(line))).status)
        .collect();
    assert_eq!(
        answers,
        [200, 404, 404, 404, 200, 200],
        "withdrawn ones are not answered"
    );
}
