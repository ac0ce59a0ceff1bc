//! Sources on the same machine, whose objects are used through alternates.

use std::process::Command;

use crate::support::git::{BareRepository, git};
use crate::support::local_clone::{LocalClone, names, unmixed};

#[test]
fn local_fetch_copies_no_objects() {
    let upstream = BareRepository::with_tags(&["1.0", "1.1"]);
    let local = LocalClone::new();
    let url = format!("file://{}", upstream.path().display());
    let fetched = local.fetch(&url).expect("a fetch");
    assert_eq!((names(&fetched.new).len(), fetched.received_bytes), (2, 0));
    assert_eq!(std::fs::read_dir(local.path().join("objects/pack")).expect("a folder").count(), 0);
    assert_eq!(local.versions(), unmixed(&["1.0", "1.1"]));
    upstream.release("1.2");
    upstream.git(&["tag", "-d", "1.0"]);
    upstream.git(&["gc", "--quiet"]);
    let fetched = local.fetch(&url).expect("a fetch");
    assert_eq!(
        (names(&fetched.new), names(&fetched.deleted)),
        (vec!["refs/tags/1.2"], vec!["refs/tags/1.0"])
    );
    assert_eq!(local.fetch(&url).expect("a fetch").unchanged, 2);
    // And the real git can read it.
    assert_eq!(git(&local.path(), &["tag"]), "1.1\n1.2");
}

#[test]
fn local_fetch_follows_work_trees_and_relative_alternates() {
    let upstream = BareRepository::with_tags(&["1.0"]);
    let root = upstream.root();
    git(root, &["clone", "--quiet", "--shared", "--bare", "x.git", "shared.git"]);
    std::fs::write(root.join("shared.git/objects/info/alternates"), "../../x.git/objects\n")
        .expect("written");
    git(root, &["clone", "--quiet", "--shared", "shared.git", "work"]);
    let local = LocalClone::new();
    local.fetch(&root.join("work").to_string_lossy()).expect("a fetch");
    assert_eq!(local.versions(), unmixed(&["1.0"]));
}

#[test]
fn local_fetch_takes_extra_branches_and_commits() {
    let upstream = BareRepository::with_tags(&["1.0", "1.1"]);
    let commit = upstream.git(&["rev-parse", "1.0"]);
    upstream.git(&["tag", "-d", "1.0"]);
    let nowhere = "0123456789012345678901234567890123456789".to_owned();
    let local = LocalClone::new();
    let fetched = local.fetch_extra(&upstream.path().to_string_lossy(), &["main", &commit, &nowhere]);
    assert_eq!((fetched.new.len(), &*fetched.missing[0].requested), (2, &*nowhere));
    assert!(local.clone().extra_ref(&commit).expect("refs").is_some());
}

#[test]
fn path_without_repository_keeps_the_clone() {
    let upstream = BareRepository::with_tags(&["1.0"]);
    let local = LocalClone::new();
    local.fetch(&upstream.path().to_string_lossy()).expect("a fetch");
    let empty = tempfile::tempdir().expect("a temporary folder");
    for (path, message) in [
        (empty.path(), "is not a git repository"),
        (std::path::Path::new("/no/such/path"), "the folder `/no/such/path` does not exist"),
    ] {
        let error = local.fails(&path.to_string_lossy()).to_string();
        assert!(error.contains(message), "{error}");
        assert!(!error.contains("class="), "{error}");
        assert_eq!(local.versions(), unmixed(&["1.0"]));
    }
}

#[test]
fn clone_switches_between_alternates_and_own_objects() {
    let upstream = BareRepository::with_tags(&["1.0"]);
    let server = crate::support::git_server::GitServer::start(upstream.root());
    let local = LocalClone::new();
    let path = upstream.path().to_string_lossy().into_owned();
    for url in [path.clone(), server.url("x.git"), path] {
        local.fetch(&url).expect("a fetch");
        assert_eq!(local.versions(), unmixed(&["1.0"]));
    }
    // After a source has moved, the clone uses the objects of the new location.
    let moved = upstream.root().join("moved.git");
    assert!(Command::new("mv").arg(upstream.path()).arg(&moved).status().expect("mv").success());
    local.fetch(&moved.to_string_lossy()).expect("a fetch");
    assert_eq!(local.versions(), unmixed(&["1.0"]));
}
