//! Files on the volume that exist, but cannot be read: the disk may give them back, so nothing is concluded from that.

use std::path::{Path, PathBuf};

use crate::support::http::get;
use crate::support::store::{all_archives_answer, command, mirror, names, read, release, told};
use serde_json::Value;

/// A file that cannot be read until this is dropped: a symbolic link to itself.
struct Unreadable {
    file: PathBuf,
    whole: PathBuf,
}

impl Unreadable {
    fn new(file: PathBuf) -> Self {
        let whole = file.with_extension("whole");
        std::fs::rename(&file, &whole).unwrap();
        std::os::unix::fs::symlink(&file, &file).unwrap();
        Self { file, whole }
    }
}

impl Drop for Unreadable {
    fn drop(&mut self) {
        std::fs::rename(&self.whole, &self.file).unwrap();
    }
}

fn versions(folder: &Path) -> usize {
    let text = std::fs::read_to_string(folder.join("p2/acme/good.json")).unwrap();
    let p2: Value = serde_json::from_str(&text).unwrap();
    p2["packages"]["acme/good"].as_array().unwrap().len()
}

#[test]
fn new_version_that_cannot_be_read_fails_its_source_and_is_published_later() {
    let (env, upstream, port) = mirror();
    let current = env.path("data/acme/current");
    // During a rollback, archives and ledger grow without metadata.
    release(&upstream, "1.2.0", "first");
    env.build(0);
    command(&env, &["rollback"], 0);
    release(&upstream, "1.3.0", "first");
    env.build(0);
    command(&env, &["rollback", "--end"], 0);
    let unreadable = Unreadable::new(env.path("data/acme/packages/acme/good-1.3.0.zip"));
    for _ in 0..2 {
        let log = env.build(1);
        assert!(log.contains("its published archive could not be read"), "{log}");
        assert_eq!(versions(&current), 3);
    }
    let server = env.serve("serve", port);
    let told = told(port, "/mirror/");
    assert_eq!((&told["state"], &told["counts"]["failed"]), (&"incomplete".into(), &1.into()), "{told}");
    assert!(get(port, "/mirror/status.html").text().contains("could not be read"));
    server.stop();
    drop(unreadable);
    env.build(0);
    assert_eq!(versions(&current), 4);
    let _server = env.serve("serve", port);
    assert_eq!(all_archives_answer(&env, port), 4);
}

#[test]
fn published_version_stays_while_neither_archive_nor_metadata_can_be_read() {
    let (env, upstream, _) = mirror();
    let current = env.path("data/acme/current");
    release(&upstream, "1.2.0", "first");
    {
        let _archive = Unreadable::new(env.path("data/acme/packages/acme/good-1.0.0.zip"));
        let _metadata = Unreadable::new(env.path("data/acme/snapshots/1/p2/acme/good.json"));
        let log = env.build(2);
        assert!(log.contains("failed to read") && log.contains("good.json"), "{log}");
        assert_eq!(names(&env, "data/acme/snapshots"), ["1"]);
    }
    env.build(0);
    assert_eq!(versions(&current), 3);
    // With the metadata, the version is taken from there.
    std::fs::remove_file(env.path("data/acme/current/made.json")).unwrap();
    release(&upstream, "1.3.0", "first");
    let archive = Unreadable::new(env.path("data/acme/packages/acme/good-1.0.0.zip"));
    env.build(1);
    assert_eq!(versions(&current), 4);
    drop(archive);
    env.build(0);
    assert_eq!(versions(&current), 4);
}

#[test]
fn cycle_does_not_build_on_an_older_snapshot_than_the_newest() {
    let (env, upstream, _) = mirror();
    release(&upstream, "1.2.0", "first");
    env.build(0);
    command(&env, &["rollback"], 0);
    let before = read(&env, "data/acme/status/cycles.json");
    for name in ["manifest.json", "report.json"] {
        let _unreadable = Unreadable::new(env.path("data/acme/snapshots/3").join(name));
        let log = env.build(2);
        assert!(log.contains("failed to read") && log.contains(name), "{log}");
    }
    assert_ne!(read(&env, "data/acme/status/cycles.json"), before, "the failure is recorded");
    assert!(env.build(0).contains("the content of snapshot 1 is held"));
    assert_eq!(names(&env, "data/acme/snapshots"), ["1", "2", "3"]);
}

#[test]
fn record_of_cycles_that_cannot_be_read_is_kept() {
    let (env, _, _) = mirror();
    let runs = || {
        let history: Value = serde_json::from_str(&read(&env, "data/acme/status/cycles.json")).unwrap();
        history["past"].as_array().unwrap().len()
    };
    {
        let _unreadable = Unreadable::new(env.path("data/acme/status/cycles.json"));
        let log = env.build(0);
        assert!(log.contains("failed to record the cycle"), "{log}");
    }
    assert_eq!(runs(), 1);
    env.build(0);
    assert_eq!(runs(), 2);
}
