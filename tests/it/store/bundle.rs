//! `mirror export` and `mirror import`: a part of a mirror, as one file, for a mirror without network.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::env::TestEnv;
use crate::support::git::WorkTree;
use crate::support::http::get;
use crate::support::shop::{PROJECT, SOURCE, shop};
use crate::support::store::{command, flip, names, read, told};
use crate::support::{free_port, run};

/// A mirror with two versions of each of `acme/catalog`, `acme/sales` and `acme/shop`, and one of `acme/project`.
fn origin() -> (TestEnv, WorkTree) {
    let env = TestEnv::new();
    shop(&env);
    let store = env.upstream("store");
    release(&store, "1.0.0");
    env.upstream("parts").write("part.json", r#"{"name": "acme/project"}"#).release("1.0.0");
    env.configure(free_port(), &format!("{SOURCE}{PROJECT}"));
    env.build(0);
    (env, store)
}

/// Tags another version of `acme/project`.
fn release(store: &WorkTree, version: &str) {
    let root = r#"{"name": "acme/store", "version": "VERSION", "require": {"acme/shop": "1.0.0", "other/tool": "^1", "other/virtual": "^1"}}"#;
    store.write("composer.json", &root.replace("VERSION", version)).release(version);
}

/// Exports from `env` to its file `name`; returns what was said.
fn export(env: &TestEnv, name: &str, arguments: &[&str]) -> String {
    let file = env.path(name).display().to_string();
    command(env, &[&["export"], arguments, &[&file]].concat(), 0)
}

fn import(env: &TestEnv, file: &Path, code: i32) -> String {
    command(env, &["import", &file.display().to_string()], code)
}

/// The packages in the metadata, each with its versions.
fn listed(env: &TestEnv) -> Vec<String> {
    let mut listed = Vec::new();
    for name in names(env, "data/acme/current/p2/acme") {
        let p2: Value =
            serde_json::from_str(&read(env, &format!("data/acme/current/p2/acme/{name}"))).unwrap();
        for (name, versions) in p2["packages"].as_object().unwrap() {
            let versions = versions.as_array().unwrap().iter();
            listed.extend(versions.map(|v| format!("{name} {}", v["version"].as_str().unwrap())));
        }
    }
    listed.sort();
    listed
}

const PART: [&str; 4] = ["acme/catalog 1.0.0", "acme/project 1.0.0", "acme/sales 1.0.0", "acme/shop 1.0.0"];

#[test]
fn part_is_exported_imported_and_completed() {
    let (origin, _) = origin();
    let said = export(&origin, "first.tar", &["--for", "acme/project:1.0.0"]);
    assert!(said.contains("acme: 4 archives with ") && said.contains(" of 4 releases"), "{said}");
    assert!(said.contains("1 package that this repository does not publish: other/tool"), "{said}");
    let said = export(&origin, "range.tar", &["--for", "acme/shop:>1.0.0"]);
    assert!(said.contains(" of 3 releases"), "{said}");
    let (env, port) = TestEnv::importer();
    assert!(command(&env, &["check"], 0).contains("has what `mirror import` brings"));
    let said = import(&env, &origin.path("first.tar"), 0);
    assert!(
        said.contains("acme: 4 archives and 7 lines of the ledger imported, published in snapshot 1"),
        "{said}"
    );
    assert!(said.contains("acme: 3 releases of the ledger are not here"), "{said}");
    assert_eq!(read(&env, "data/acme/ledger.jsonl"), read(&origin, "data/acme/ledger.jsonl"));
    assert_eq!(listed(&env), PART);
    // The project is rendered for the own URL.
    let line: Value = serde_json::from_str(read(&env, "data/acme/bound.jsonl").trim()).unwrap();
    assert_eq!(line["bound"], format!("http://127.0.0.1:{port}/mirror/"));
    command(&env, &["verify"], 0);
    // Again it changes nothing, and neither does a cycle.
    env.build(0);
    let volume = env.volume();
    assert!(import(&env, &origin.path("first.tar"), 0).contains("everything in it is here already"));
    assert!(command(&env, &["plan"], 0).contains("nothing new"));
    env.build(0);
    assert_eq!(env.volume(), volume);
    let server = env.serve("run", port);
    let state = told(port, "/mirror/");
    assert_eq!(
        (&state["state"], &state["counts"]["absent"], &state["follows"]),
        (&"fresh".into(), &3.into(), &"first.tar".into())
    );
    let status = |path: &str| get(port, &format!("/mirror/{path}")).status;
    assert_eq!(status("packages/acme/catalog-1.0.0.zip"), 200);
    assert_eq!(status("packages/acme/catalog-1.0.0-p1.zip"), 404);
    assert_eq!(status(line["file"].as_str().unwrap()), 200);
    server.stop();
    // The rest, without what the first export had.
    let arguments = [
        "--for",
        "acme/project",
        "--for",
        "acme/shop",
        "--since",
        &origin.path("first.tar").display().to_string(),
    ];
    let said = export(&origin, "second.tar", &arguments);
    assert!(said.contains("acme: 3 archives with ") && said.contains(" of 7 releases"), "{said}");
    let said = import(&env, &origin.path("second.tar"), 0);
    assert!(
        said.contains("acme: 3 archives and 0 lines of the ledger imported") && !said.contains("not here"),
        "{said}"
    );
    assert_eq!(listed(&env).len(), 7);
    command(&env, &["verify"], 0);
    // Without the first one it is refused.
    let (late, _) = TestEnv::importer();
    let said = import(&late, &origin.path("second.tar"), 2);
    assert!(
        said.contains("of 7 archives that are not here, 4 cannot be taken from it")
            && said.contains("import the earlier one first"),
        "{said}"
    );
    assert!(!late.path("data/acme/ledger.jsonl").exists());
}

#[test]
fn what_is_new_travels_alone() {
    let (origin, store) = origin();
    let said = export(&origin, "all.tar", &[]);
    assert!(said.contains("acme: 7 archives with "), "{said}");
    let head = said.split("SHA-256 ").nth(1).unwrap().trim().to_owned();
    let (env, _) = TestEnv::importer();
    import(&env, &origin.path("all.tar"), 0);
    release(&store, "1.0.1");
    origin.build(0);
    for since in ["7", &head, &origin.path("all.tar").display().to_string()] {
        let said = export(&origin, "new.tar", &["--since", since]);
        assert!(said.contains("acme: 1 archive with ") && said.contains(" of 8 releases"), "{since}: {said}");
    }
    assert!(import(&env, &origin.path("new.tar"), 0).contains("1 archive and 1 line of the ledger imported"));
    assert_eq!(read(&env, "data/acme/ledger.jsonl"), read(&origin, "data/acme/ledger.jsonl"));
    // An older one says less than what is here.
    let volume = env.volume();
    let said = import(&env, &origin.path("all.tar"), 2);
    assert!(said.contains("the ledger of all.tar is shorter than the one here"), "{said}");
    assert_eq!(env.volume(), volume);
    for (since, reason) in
        [("9", "has 8 lines, not 9"), (&"0".repeat(63).replace('0', "a")[..], "failed to read")]
    {
        let file = origin.path("x.tar").display().to_string();
        let said = command(&origin, &["export", "--since", since, &file], 2);
        assert!(said.contains(reason), "{said}");
        assert!(!origin.path("x.tar").exists());
    }
    let said = command(&origin, &["export", "--for", "acme/shop:2.0.0", "x.tar"], 2);
    assert!(said.contains("no published version of `acme/shop` satisfies `2.0.0`"), "{said}");
}

#[test]
fn wrong_files_are_refused_by_name() {
    let (origin, _) = origin();
    export(&origin, "all.tar", &[]);
    let whole = std::fs::read(origin.path("all.tar")).unwrap();
    let (env, _) = TestEnv::importer();
    let refused = |bytes: &[u8], reasons: &[&str]| {
        std::fs::write(origin.path("wrong.tar"), bytes).unwrap();
        let said = import(&env, &origin.path("wrong.tar"), 2);
        assert!(said.contains("wrong.tar") && reasons.iter().any(|reason| said.contains(reason)), "{said}");
        assert!(!env.path("data/acme/ledger.jsonl").exists(), "{said}");
    };
    let find = |text: &str| whole.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    // A byte of an archive, of the ledger, of follow.json.
    let mut forged = whole.clone();
    forged[find("<?php // 1.0.0")] ^= 1;
    refused(&forged, &["acme/catalog 1.0.0 has other bytes"]);
    let mut forged = whole.clone();
    let line = find(r#""version":"1.0.0-p1""#);
    forged[line + 11] = b'2';
    refused(&forged, &["is damaged or altered"]);
    let mut forged = whole.clone();
    let head = find(r#""head":""#) + 8;
    forged[head] = if forged[head] == b'0' { b'1' } else { b'0' };
    refused(&forged, &["is not the one that its `follow.json` names"]);
    // Every length but the whole one, less the zeros at its end.
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
    for length in (0..end).step_by(whole.len() / 60) {
        refused(&whole[..length], &["ends early", "is not what `mirror export` writes"]);
    }
    refused(b"<html>Please log in</html>", &["is not what `mirror export` writes"]);
    std::fs::write(origin.path("plain"), &whole).unwrap();
    run(Command::new("gzip").arg(origin.path("plain")));
    refused(&std::fs::read(origin.path("plain.gz")).unwrap(), &["is not what `mirror export` writes"]);
    run(Command::new("tar").arg("cf").arg(origin.path("foreign")).arg("-C").arg(origin.path("git")).arg("."));
    refused(&std::fs::read(origin.path("foreign")).unwrap(), &["it has no `ledger.jsonl`"]);
    let said = import(&env, Path::new("/nowhere/at/all"), 2);
    assert!(said.contains("failed to find the folder or file `/nowhere/at/all`"), "{said}");
    import(&env, &origin.path("all.tar"), 0);
}

#[test]
fn bundle_is_a_folder_a_backup_and_a_mirror() {
    let (origin, _) = origin();
    export(&origin, "folder/", &["--for", "acme/project"]);
    export(&origin, "part.tar", &["--for", "acme/project"]);
    export(&origin, "all.tar", &[]);
    // The folder has the same files, and may be packed by another program.
    let unpacked = origin.path("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    run(Command::new("tar").arg("xf").arg(origin.path("part.tar")).arg("-C").arg(&unpacked));
    run(Command::new("diff").arg("-r").arg(&unpacked).arg(origin.path("folder")));
    run(Command::new("tar").arg("cf").arg(origin.path("again.tar")).arg("-C").arg(&unpacked).arg("."));
    for from in ["folder", "again.tar"] {
        let (env, _) = TestEnv::importer();
        import(&env, &origin.path(from), 0);
        assert_eq!(listed(&env), PART);
    }
    // A recipe would never build what is left out.
    let builder = TestEnv::new();
    std::fs::remove_dir(builder.path("git")).unwrap();
    std::os::unix::fs::symlink(origin.path("git"), builder.path("git")).unwrap();
    builder.configure(free_port(), &format!("{SOURCE}{PROJECT}"));
    for arguments in [&["import"][..], &["restore", "--from"]] {
        let file = origin.path("part.tar").display().to_string();
        let said = command(&builder, &[arguments, &[&file]].concat(), 2);
        assert!(said.contains("part.tar has only a part of the releases"), "{said}");
    }
    let file = origin.path("all.tar").display().to_string();
    let said = command(&builder, &["restore", "--from", &file], 0);
    assert!(said.contains("acme: 7 releases and 0 damaged archives restored from file://"), "{said}");
    builder.build(0);
    assert_eq!(read(&builder, "data/acme/ledger.jsonl"), read(&origin, "data/acme/ledger.jsonl"));
    // Damaged archives are restored from a part, too.
    let damaged = builder.path("data/acme/packages/acme/catalog-1.0.0.zip");
    run(Command::new("chmod").arg("u+w").arg(&damaged));
    flip(&damaged);
    let file = origin.path("part.tar").display().to_string();
    let said = command(&builder, &["restore", "--from", &file], 0);
    assert!(said.contains("1 damaged archive restored"), "{said}");
    command(&builder, &["verify"], 0);
    // A part can be followed, and exported again; with a whole mirror to follow it becomes whole.
    let (part, port) = TestEnv::importer();
    import(&part, &origin.path("part.tar"), 0);
    let server = part.serve("serve", port);
    let (follower, follower_port) = TestEnv::importer();
    let configuration = read(&follower, "mirror.yaml");
    let follow = |port: u16| format!("follow: ['http://127.0.0.1:{port}/mirror/']");
    follower.write("mirror.yaml", &configuration.replace("import: true", &follow(port)));
    follower.build(0);
    assert_eq!(listed(&follower), PART);
    command(&follower, &["verify"], 0);
    assert!(export(&follower, "part.tar", &[]).contains("acme: 4 archives with "));
    server.stop();
    let whole_port = origin_port(&origin);
    let _server = origin.serve("serve", whole_port);
    follower.write("mirror.yaml", &configuration.replace("import: true", &follow(whole_port)));
    follower.build(0);
    assert_eq!(listed(&follower), listed(&origin));
    assert!(follower_port != whole_port);
    command(&follower, &["verify"], 0);
}

fn origin_port(env: &TestEnv) -> u16 {
    let configuration = read(env, "mirror.yaml");
    configuration.split("127.0.0.1:").nth(1).unwrap().split('\'').next().unwrap().parse().unwrap()
}
