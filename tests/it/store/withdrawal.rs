//! `mirror withdraw` and its undoing.

use std::path::Path;

use crate::support::env::TestEnv;
use crate::support::http::get;
use crate::support::store::{command, ledger, mirror, names, read, release, told};
use crate::support::until;
use serde_json::Value;

const ZIP: &str = "/mirror/packages/acme/good-1.0.0.zip";

fn withdraw(env: &TestEnv, version: &str) -> String {
    command(env, &["withdraw", "acme/good", version, "--reason", "it holds <a password>"], 0)
}

fn undo(env: &TestEnv, version: &str) -> String {
    command(env, &["withdraw", "acme/good", version, "--undo"], 0)
}

/// The versions in the newest snapshot, newest first.
fn listed(env: &TestEnv) -> Vec<String> {
    let p2: Value = serde_json::from_str(&read(env, "data/acme/current/p2/acme/good.json")).unwrap();
    let versions = p2["packages"]["acme/good"].as_array().unwrap().iter();
    versions.map(|version| version["version"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn withdrawn_version_is_gone_until_that_is_undone() {
    let (env, upstream, port) = mirror();
    let server = env.serve("run", port);
    until("the first cycle", || told(port, "/mirror/")["state"] == "fresh");
    let (bytes, metadata) = (get(port, ZIP).body, get(port, "/mirror/p2/acme/good.json").body);
    // The cycle may hold its lock for a moment after its record.
    let arguments = ["withdraw", "acme/good", "1.0.0", "--reason", "it holds <a password>"];
    until("the lock is free", || env.command(&arguments).output().unwrap().status.success());
    until("it is gone", || get(port, ZIP).status == 410);
    let gone = get(port, ZIP);
    let warning = gone.json()["warning"].to_string();
    assert!(warning.starts_with("\"acme/good 1.0.0 was withdrawn on 2"), "{warning}");
    assert!(warning.contains(": it holds <a password> (`composer update acme/good` takes"), "{warning}");
    // Composer prints the warning of this media type only.
    assert_eq!(gone.header("content-type"), Some("application/json"));
    assert_eq!(get(port, "/mirror/packages/acme/good-1.1.0.zip").status, 200);
    assert_eq!(listed(&env), ["1.1.0"]);
    until("the status says so", || told(port, "/mirror/")["counts"]["withdrawn"] == 1);
    let told_of = &told(port, "/mirror/")["withdrawn"][0];
    assert_eq!((&told_of["name"], &told_of["version"]), (&"acme/good".into(), &"1.0.0".into()));
    for page in ["status.html", "package/acme/good.html"] {
        let page = get(port, &format!("/mirror/{page}")).into_text();
        assert!(page.contains("was withdrawn on") && page.contains("&lt;a password&gt;"), "{page}");
    }
    // It stays so through cycles, restarts and repairs, and its bytes stay on the volume.
    release(&upstream, "1.2.0", "first");
    server.stop();
    env.build(0);
    assert_eq!(listed(&env), ["1.2.0", "1.1.0"]);
    let before = env.volume();
    env.build(0);
    assert_eq!(env.volume(), before);
    assert!(command(&env, &["verify", "--rebuild"], 0).contains("1 version is withdrawn"));
    let server = env.serve("serve", port);
    assert_eq!((get(port, ZIP).status, ledger(&env).len()), (410, 3));
    assert_eq!(std::fs::read(env.path("data/acme/packages/acme/good-1.0.0.zip")).unwrap(), bytes);
    undo(&env, "1.0.0");
    until("it is back", || get(port, ZIP).body == bytes);
    assert_eq!(listed(&env), ["1.2.0", "1.1.0", "1.0.0"]);
    until("the status follows", || told(port, "/mirror/")["withdrawn"] == Value::Array(Vec::new()));
    withdraw(&env, "1.2.0");
    assert_eq!(read(&env, "data/acme/current/p2/acme/good.json").as_bytes(), metadata);
    server.stop();
}

#[test]
fn withdrawn_package_keeps_its_name() {
    let (env, _, port) = mirror();
    withdraw(&env, "1.0.0");
    withdraw(&env, "1.1.0");
    assert!(listed(&env).is_empty());
    let _server = env.serve("serve", port);
    let root = get(port, "/mirror/packages.json").json();
    assert_eq!(root["available-packages"], serde_json::json!(["acme/good"]));
    let page = get(port, "/mirror/package/acme/good.html").into_text();
    assert!(page.contains("acme/good 1.0.0 was withdrawn") && page.contains("acme/good 1.1.0"), "{page}");
    command(&env, &["verify"], 0);
}

#[test]
fn withdrawn_version_stays_so_in_a_rollback() {
    let (env, upstream, port) = mirror();
    release(&upstream, "1.2.0", "first");
    env.build(0);
    withdraw(&env, "1.0.0");
    command(&env, &["rollback", "--to", "1"], 0);
    assert_eq!(listed(&env), ["1.1.0"]);
    let _server = env.serve("serve", port);
    assert_eq!(get(port, ZIP).status, 410);
    assert!(env.build(0).contains("the content of snapshot 1 is held"));
    assert_eq!(listed(&env), ["1.1.0"]);
    // During the rollback, too, both are published at once.
    undo(&env, "1.0.0");
    assert_eq!(listed(&env), ["1.1.0", "1.0.0"]);
    until("it is back", || get(port, ZIP).status == 200);
    withdraw(&env, "1.1.0");
    assert_eq!(listed(&env), ["1.0.0"]);
    assert_eq!(told(port, "/mirror/")["held_at"], 1);
    command(&env, &["rollback", "--end"], 0);
    env.build(0);
    assert_eq!(listed(&env), ["1.2.0", "1.0.0"]);
}

#[test]
fn withdrawal_without_its_snapshot_is_finished() {
    for finish in ["the command", "a cycle"] {
        let (env, _, _) = mirror();
        withdraw(&env, "1.0.0");
        // What a kill between the two leaves.
        std::fs::remove_dir_all(env.path("data/acme/snapshots/2")).unwrap();
        match finish {
            "the command" => drop(withdraw(&env, "1.0.0")),
            _ => drop(env.build(0)),
        }
        assert_eq!(
            (listed(&env), names(&env, "data/acme/snapshots")),
            (vec!["1.1.0".to_owned()], vec!["1".to_owned(), "2".to_owned()])
        );
        assert_eq!(read(&env, "data/acme/withdrawn.jsonl").lines().count(), 1);
    }
}

#[test]
fn older_program_cannot_publish_a_withdrawn_version_again() {
    let (env, _, _) = mirror();
    assert!(read(&env, "data/STORE").starts_with("mirror store 2\n"));
    withdraw(&env, "1.0.0");
    let marker = read(&env, "data/STORE");
    assert!(marker.starts_with("mirror store 3\n") && marker.contains("\nwithdrawals acme\n"), "{marker}");
    let record = env.path("data/acme/withdrawn.jsonl");
    let hidden = Path::new(&record).with_extension("hidden");
    std::fs::rename(&record, &hidden).unwrap();
    let log = env.build(2);
    assert!(log.contains("withdrawn.jsonl` is missing, but versions"), "{log}");
    std::fs::write(&record, "no JSON\n").unwrap();
    let log = env.build(2);
    assert!(log.contains("withdrawn.jsonl` is damaged at line 1"), "{log}");
    std::fs::rename(&hidden, &record).unwrap();
    env.build(0);
    assert_eq!(listed(&env), ["1.1.0"]);
}

#[test]
fn what_cannot_be_withdrawn_is_named() {
    let (env, _, _) = mirror();
    for (arguments, code, expected) in [
        (&["acme/god", "1.0.0", "--reason", "x"][..], 2, "no version of `acme/god` was ever published here"),
        (
            &["acme/good", "9.9", "--reason", "x"],
            2,
            "no published version `9.9`\nhint: its versions are 1.1.0, 1.0.0",
        ),
        (&["acme/good", "1.0.0", "--undo"], 2, "acme/good 1.0.0 is not withdrawn"),
        (&["acme/good", "1.0.0"], 64, "--reason"),
        (&["acme/good", "1.0.0", "--reason", " "], 64, "expected a reason"),
        (&["acme/good", "1.0.0", "--reason", "a\nb"], 64, "one line"),
    ] {
        let text = command(&env, &[&["withdraw"], arguments].concat(), code);
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(names(&env, "data/acme/snapshots"), ["1"]);
    assert!(!env.path("data/acme/withdrawn.jsonl").exists());
}
