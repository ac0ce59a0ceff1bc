//! Withdrawn versions as the real Composer sees them, and `mirror withdraw` killed at every step that it takes on the volume.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use serde_json::Value;

use crate::composer::ComposerProject;
use crate::support::env::TestEnv;
use crate::support::http::{get, request};
use crate::support::shop::configure_repository;
use crate::support::store::{command, mirror, names, read, told};
use crate::support::{missing, run, until};

const REASON: &str = "it holds a password, use 1.0.0";

fn withdraw(env: &TestEnv) -> String {
    command(env, &["withdraw", "acme/good", "1.1.0", "--reason", REASON], 0)
}

#[test]
fn composer_names_a_withdrawal_and_takes_another_version() {
    for (metadata, is_private) in [("inline", false), ("lazy", false), ("inline", true), ("lazy", true)] {
        let (env, _, port) = mirror();
        let users = if is_private { ", users: users" } else { "" };
        configure_repository(&env, &format!("metadata: {metadata}{users}"));
        let token = mirror::util::digest::Sha256::digest(b"long-and-random");
        env.write("users", &format!("ci:sha256:{token}\n"));
        env.build(0);
        let _server = env.serve("serve", port);
        let basic = base64::engine::general_purpose::STANDARD.encode("ci:long-and-random");
        let authorization = format!("Authorization: Basic {basic}\r\n");
        let archive = || request(port, "GET", "/mirror/packages/acme/good-1.1.0.zip", &authorization);
        let bytes = archive().body;

        env.write("project/composer.json", &format!(
            r#"{{"name": "a/project", "require": {{"acme/good": "^1.0"}}, "config": {{"secure-http": false}},
                "repositories": [{{"type": "composer", "url": "http://127.0.0.1:{port}/mirror/"}}, {{"packagist.org": false}}]}}"#
        ));
        if is_private {
            let login = r#"{"username": "ci", "password": "long-and-random"}"#;
            env.write("project/auth.json", &format!(r#"{{"http-basic": {{"127.0.0.1:{port}": {login}}}}}"#));
        }
        let project = env.path("project");
        let composer = ComposerProject { folder: &project };
        let locked =
            || serde_json::from_str::<Value>(&env.read("project/composer.lock")).unwrap()["packages"].take();
        composer.composer(&["update"]);
        let before = locked();
        assert_eq!(before[0]["version"], "1.1.0");

        withdraw(&env);
        until("it is gone", || archive().status == 410);
        run(Command::new("rm").args(["-r", "vendor", ".home"]).current_dir(&project));
        let output = composer.try_composer(&["install"]);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(!output.status.success(), "{metadata}: {said}");
        assert!(
            said.contains(&format!("Warning from 127.0.0.1:{port}: acme/good 1.1.0 was withdrawn on ")),
            "{said}"
        );
        assert!(
            said.contains(&format!(": {REASON} (`composer update acme/good` takes another version")),
            "{said}"
        );
        assert!(said.contains("410 Gone"), "{said}");
        assert_eq!(locked(), before, "the lock file stays");

        composer.composer(&["update", "acme/good"]);
        assert_eq!(locked()[0]["version"], "1.0.0", "{metadata}");
        command(&env, &["withdraw", "acme/good", "1.1.0", "--undo"], 0);
        until("it is back", || archive().body == bytes);
        composer.composer(&["update"]);
        assert_eq!(locked(), before, "{metadata}");
    }
}

/// The system calls by which a writer makes something durable or public.
const CALLS: [&str; 4] = ["mkdir", "fsync", "rename", "renameat2"];

/// Runs the withdrawal under strace, which kills it at its `number`th system call of this name. Returns whether it was killed.
fn is_killed(env: &TestEnv, call: &str, number: usize) -> bool {
    let status = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={number}")])
        .args([
            env!("CARGO_BIN_EXE_mirror"),
            "withdraw",
            "acme/good",
            "1.1.0",
            "--reason",
            REASON,
            "--config",
        ])
        .arg(env.path("mirror.yaml"))
        .output()
        .unwrap_or_else(|error| panic!("{}", missing("strace", &error)))
        .status;
    !status.success()
}

fn listed(env: &TestEnv) -> usize {
    let p2: Value = serde_json::from_str(&read(env, "data/acme/current/p2/acme/good.json")).unwrap();
    p2["packages"]["acme/good"].as_array().unwrap().len()
}

#[test]
fn killed_withdrawal_is_finished_by_the_next_start() {
    let (env, _, port) = mirror();
    let (data, saved) = (env.path("data"), env.path("saved"));
    let copy = |from: &Path, to: &Path| run(Command::new("cp").arg("-a").arg(from).arg(to));
    copy(&data, &saved);
    let mut between = 0;
    for call in CALLS {
        for number in 1.. {
            run(Command::new("rm").arg("-r").arg(&data));
            copy(&saved, &data);
            if !is_killed(&env, call, number) {
                assert_eq!(listed(&env), 1);
                break;
            }
            let record = std::fs::read_to_string(env.path("data/acme/withdrawn.jsonl")).unwrap_or_default();
            let is_recorded = record.contains("1.1.0");
            let has_snapshot = names(&env, "data/acme/snapshots").contains(&"2".to_owned());
            assert!(is_recorded || !has_snapshot, "{call} {number}");
            if is_recorded && !has_snapshot {
                between += 1;
                // Its cycle is due only because of the record.
                if between == 1 {
                    let server = env.serve("run", port);
                    until("it is withdrawn", || {
                        get(port, "/mirror/packages/acme/good-1.1.0.zip").status == 410
                    });
                    until("the cycle has ended", || told(port, "/mirror/")["running"].is_null());
                    server.stop();
                }
            }
            env.build(0);
            assert_eq!(listed(&env), if is_recorded { 1 } else { 2 }, "{call} {number}");
            assert_eq!(names(&env, "data/acme/tmp"), Vec::<String>::new(), "{call} {number}");
            command(&env, &["verify"], 0);
        }
    }
    assert!(between > 2, "{between} kills between the record and the snapshot");
}
