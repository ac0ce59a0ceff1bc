//! What is removed: old snapshots, old includes, archives of expired nightly versions.

use crate::support::env::TestEnv;
use crate::support::free_port;
use crate::support::http::get;
use crate::support::store::{GOOD, all_archives_answer, ledger, mirror, names, read, release};
use serde_json::Value;

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
