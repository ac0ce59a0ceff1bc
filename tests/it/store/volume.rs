//! The file `STORE`, old and newer formats, missing and renamed folders.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::env::TestEnv;
use crate::support::store::{GOOD, all_archives_answer, ledger, mirror, names, read, release};
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
    // What was published is rendered for the URL of this test first.
    assert_eq!(names(&env, "data/acme/snapshots"), ["1", "2", "3"]);
    let _server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 3);
}

#[test]
fn newer_format_is_refused_naming_its_version() {
    let (env, ..) = mirror();
    env.write("data/STORE", "mirror store 5\nwritten by mirror 7.8.9\nid 0\n");
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
    let check = String::from_utf8(env.mirror("check").stdout).unwrap();
    assert!(check.contains("Warning: the repository `acme` was published at"), "{check}");
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
fn private_repositories_are_closed_to_other_users() {
    let (env, _, port) = mirror();
    let mode = |path: &str| std::fs::metadata(env.path(path)).unwrap().permissions().mode() & 0o777;
    let open = |path: &str| {
        std::fs::set_permissions(env.path(path), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    env.build(0);
    for folder in ["data", "data/acme", "data/git"] {
        open(folder);
    }
    env.build(0);
    assert_eq!([mode("data/acme"), mode("data/git")], [0o755; 2], "a public one stays as it is");
    let token = mirror::util::digest::Sha256::digest(b"long-and-random");
    env.write("users", &format!("ci:sha256:{token}\n"));
    crate::support::shop::configure_repository(&env, "users: ./users");
    env.build(0);
    assert_eq!([mode("data/acme"), mode("data/git")], [0o750; 2]);
    assert_eq!(mode("data"), 0o755, "public ones beside it are still read");
    // What was written before is closed at the start, whenever the next cycle is.
    open("data/acme");
    let _server = env.serve("run", port);
    until("it is closed", || mode("data/acme") == 0o750);
}
