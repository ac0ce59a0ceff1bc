//! `mirror restore`: from another mirror, and from a folder.

use std::process::Command;

use crate::support::env::TestEnv;
use crate::support::free_port;
use crate::support::run;
use crate::support::store::{GOOD, command, flip, mirror, read, release};

/// An empty mirror of the same sources at another URL.
fn sibling(of: &TestEnv) -> TestEnv {
    let env = TestEnv::new();
    std::fs::remove_dir(env.path("git")).unwrap();
    std::os::unix::fs::symlink(of.path("git"), env.path("git")).unwrap();
    env.configure(free_port(), GOOD);
    env
}

fn restore(env: &TestEnv, from: &str, code: i32) -> String {
    command(env, &["restore", "--from", from], code)
}

fn damage(env: &TestEnv, file: &str) {
    let file = env.path(file);
    run(Command::new("chmod").arg("u+w").arg(&file));
    flip(&file);
}

#[test]
fn empty_repository_is_filled_and_built_on() {
    let (origin, upstream, port) = mirror();
    let server = origin.serve("serve", port);
    let env = sibling(&origin);
    let said = restore(&env, &format!("http://127.0.0.1:{port}/mirror"), 0);
    assert!(said.contains("acme: 2 releases and 0 damaged archives restored from http://"), "{said}");
    let ledger = read(&env, "data/acme/ledger.jsonl");
    assert_eq!(ledger, read(&origin, "data/acme/ledger.jsonl"));
    command(&env, &["verify"], 0);
    assert_eq!(read(&env, "data/acme/imported.jsonl").lines().count(), 2);
    env.build(0);
    assert_eq!(read(&env, "data/acme/ledger.jsonl"), ledger);
    assert_eq!(read(&env, "data/acme/imported.jsonl"), "");
    assert!(command(&env, &["verify", "--rebuild"], 0).contains("2 "));
    release(&upstream, "1.2.0", "later");
    env.build(0);
    assert!(read(&env, "data/acme/ledger.jsonl").starts_with(&ledger));
    assert_eq!(read(&env, "data/acme/ledger.jsonl").lines().count(), 3);
    server.stop();
}

#[test]
fn damaged_archives_are_repaired_from_a_backup() {
    let (env, upstream, _) = mirror();
    let backup = TestEnv::new();
    run(Command::new("cp").arg("-a").arg(env.path("data/acme")).arg(backup.path("acme")));
    release(&upstream, "1.2.0", "later");
    env.build(0);
    let intact = std::fs::read(env.path("data/acme/packages/acme/good-1.0.0.zip")).unwrap();
    damage(&env, "data/acme/packages/acme/good-1.0.0.zip");
    std::fs::remove_file(env.path("data/acme/packages/acme/good-1.1.0.zip")).unwrap();
    command(&env, &["verify"], 1);
    let folder = backup.path("acme").display().to_string();
    let said = restore(&env, &folder, 0);
    assert!(said.contains("acme: 0 releases and 2 damaged archives restored from file://"), "{said}");
    assert_eq!(std::fs::read(env.path("data/acme/packages/acme/good-1.0.0.zip")).unwrap(), intact);
    command(&env, &["verify"], 0);
    // What the backup does not have, or has damaged, is named; the rest is repaired.
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        damage(&env, &format!("data/acme/packages/acme/good-{version}.zip"));
    }
    damage(&backup, "acme/packages/acme/good-1.0.0.zip");
    let said = restore(&env, &folder, 1);
    assert!(said.contains("0 releases and 1 damaged archive restored"), "{said}");
    assert!(said.contains("acme: acme/good 1.0.0: ") && said.contains("acme: acme/good 1.2.0: "), "{said}");
    let said = command(&env, &["restore", "--from", "/nowhere/at/all"], 2);
    assert!(said.contains("failed to find the folder or file `/nowhere/at/all`"), "{said}");
}

#[test]
fn empty_volume_is_filled_from_a_folder() {
    let (origin, _, _) = mirror();
    let env = sibling(&origin);
    let said = restore(&env, &origin.path("data/acme").display().to_string(), 0);
    assert!(said.contains("2 releases and 0 damaged archives"), "{said}");
    assert_eq!(read(&env, "data/acme/ledger.jsonl"), read(&origin, "data/acme/ledger.jsonl"));
    assert!(restore(&env, &origin.path("data/acme").display().to_string(), 0).contains("0 releases"));
    let said = restore(&sibling(&origin), &origin.path("git").display().to_string(), 2);
    assert!(said.contains("ledger.jsonl"), "{said}");
}

#[test]
fn interrupted_restoration_is_published_by_the_next_one() {
    let (origin, _, _) = mirror();
    let env = sibling(&origin);
    let backup = origin.path("data/acme").display().to_string();
    restore(&env, &backup, 0);
    // Its archives and lines of the ledger are there, but no snapshot.
    std::fs::remove_dir_all(env.path("data/acme/snapshots")).unwrap();
    std::fs::remove_file(env.path("data/acme/current")).unwrap();
    restore(&env, &backup, 0);
    assert!(read(&env, "data/acme/current/p2/acme/good.json").contains("1.0.0"));
}
