//! Reading commits, trees and blobs, unusual ones included.

use mirror::git::{EntryKind, ReadError, Ref, TreeEntry};

use crate::support::git::{BareRepository, COMMIT_TIME, git};
use crate::support::local_clone::LocalClone;

fn clone_of(upstream: &BareRepository) -> LocalClone {
    let local = LocalClone::new();
    local.fetch(&upstream.path().to_string_lossy()).expect("a fetch");
    local
}

fn tag(local: &LocalClone, name: &str) -> Ref {
    let tags = local.clone().tags().expect("tags");
    tags.into_iter().find(|tag| tag.tag() == Some(name)).expect(name)
}

#[test]
fn tree_entries_have_kinds_in_git_order() {
    let upstream = BareRepository::new();
    let submodule = "0123456789012345678901234567890123456789";
    upstream.commit(&[
        ("100644", "lib/a.php", "<?php"),
        ("100644", "lib.php", "<?php"),
        ("100755", "bin/run", "#!/bin/sh\n"),
        ("120000", "link", "bin/run"),
        ("160000", "vendor", submodule),
        ("100644", "Ünïcode.txt", "ü"),
    ]);
    upstream.git(&["tag", "1.0", "main"]);
    let local = clone_of(&upstream);
    let clone = local.clone();
    let commit = clone.commit(&tag(&local, "1.0")).expect("a commit");
    assert_eq!(commit.tree.to_string(), upstream.git(&["rev-parse", "main^{tree}"]));
    assert_eq!(commit.time, COMMIT_TIME);
    let root = clone.tree(commit.tree).expect("a tree");
    let kinds: Vec<_> = root.iter().map(|entry| (&*entry.name, entry.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("bin", EntryKind::Tree),
            ("lib.php", EntryKind::File),
            ("lib", EntryKind::Tree),
            ("link", EntryKind::Symlink),
            ("vendor", EntryKind::Submodule),
            ("Ünïcode.txt", EntryKind::File),
        ]
    );
    assert_eq!(root[4].id.to_string(), submodule);
    let run = clone.find(commit.tree, "bin/run").expect("a tree").expect("a file");
    assert_eq!(run.kind, EntryKind::Executable);
    assert_eq!(
        (&*clone.blob(run.id).expect("a blob"), clone.blob_size(run.id).expect("a size")),
        (&b"#!/bin/sh\n"[..], 10)
    );
    assert_eq!(&*clone.blob(root[3].id).expect("a blob"), b"bin/run");
    assert_eq!(clone.find(commit.tree, "bin/none").expect("a tree"), None);
    assert_eq!(clone.find(commit.tree, "lib.php/none").expect("a tree"), None);
    let all: Option<TreeEntry> = clone.find(commit.tree, "").expect("a tree");
    assert_eq!(all.map(|entry| entry.id), Some(commit.tree));
}

#[test]
fn nested_tags_resolve_to_the_commit() {
    let upstream = BareRepository::with_tags(&["1.0"]);
    upstream.git(&["tag", "-m", "one", "annotated", "1.0"]);
    upstream.git(&["tag", "-m", "two", "twice", "annotated"]);
    let local = clone_of(&upstream);
    let commit = local.clone().commit(&tag(&local, "twice")).expect("a commit");
    assert_eq!(commit.id.to_string(), upstream.git(&["rev-parse", "1.0"]));
    assert_eq!(tag(&local, "twice").id.to_string(), upstream.git(&["rev-parse", "refs/tags/twice"]));
}

#[test]
fn tag_on_tree_or_blob_is_an_error() {
    let upstream = BareRepository::with_tags(&["1.0"]);
    upstream.git(&["tag", "tree", "1.0^{tree}"]);
    upstream.git(&["tag", "-m", "a blob", "blob", "1.0:composer.json"]);
    let local = clone_of(&upstream);
    for (name, kind) in [("tree", "tree"), ("blob", "blob")] {
        let error = local.clone().commit(&tag(&local, name)).expect_err(name);
        assert!(matches!(error, ReadError::NotACommit { .. }));
        let text = error.to_string();
        assert!(
            text.starts_with(&format!("`refs/tags/{name}` points to a {kind}, not to a commit")),
            "{text}"
        );
    }
}

#[test]
fn tree_entry_with_unsafe_name_is_an_error() {
    let upstream = BareRepository::with_tags(&["1.0"]);
    let blob = upstream.git(&["rev-parse", "1.0:composer.json"]);
    let raw = (0..20).map(|n| u8::from_str_radix(&blob[2 * n..2 * n + 2], 16).expect("hexadecimal"));
    let raw: Vec<u8> = raw.collect();
    for (version, name) in [&b".."[..], b".git", b"a/b", b"\xff"].iter().enumerate() {
        let tree = upstream.write_object("tree", &[b"100644 ", *name, b"\0", &raw].concat());
        let commit = upstream.commit_tree(&tree);
        git(&upstream.path(), &["tag", &format!("bad-{version}"), &commit]);
    }
    let local = clone_of(&upstream);
    let clone = local.clone();
    for version in 0..4 {
        let commit = clone.commit(&tag(&local, &format!("bad-{version}"))).expect("a commit");
        let error = clone.tree(commit.tree).expect_err("a bad name");
        assert!(matches!(error, ReadError::BadName { .. }), "{error}");
    }
}

#[test]
fn clones_open_in_several_threads() {
    let upstream = BareRepository::with_tags(&["1.0", "1.1"]);
    let local = clone_of(&upstream);
    std::thread::scope(|scope| {
        for name in ["1.0", "1.1"] {
            let local = &local;
            scope.spawn(move || local.clone().commit(&tag(local, name)).expect("a commit"));
        }
    });
    fn send<T: Send>(_: T) {}
    send(local.clone());
}
