//! Tags that upstream moved or deleted: published versions stay, and what differs is recorded.

use std::collections::BTreeMap;
use std::process::Command;

use crate::support::env::TestEnv;
use crate::support::http::get;
use crate::support::run;
use crate::support::store::{GOOD, all_archives_answer, ledger, mirror, read, release};
use serde_json::Value;

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
    assert!(log.contains("; the published version is kept"), "{log}");
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
