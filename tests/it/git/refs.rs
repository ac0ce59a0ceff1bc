//! How a fetch changes refs: new, moved, deleted and extra ones. Over HTTP, because local fetches download nothing.

use mirror::git::{FetchErrorKind, Fetched, MovedRef, ReadError, WantedRefs};

use crate::support::git::BareRepository;
use crate::support::git_server::{Behaviour, GitServer};
use crate::support::local_clone::{LocalClone, all_tags, names, unmixed};

struct Setup {
    upstream: BareRepository,
    server: GitServer,
    local: LocalClone,
}

fn setup(tags: &[&str]) -> Setup {
    let upstream = BareRepository::with_tags(tags);
    let server = GitServer::start(upstream.root());
    Setup { server, upstream, local: LocalClone::new() }
}

impl Setup {
    fn fetch(&self) -> Fetched {
        self.local.fetch(&self.server.url("x.git")).expect("a fetch")
    }

    fn fetch_extra(&self, extra: &[&str]) -> Fetched {
        self.local.fetch_extra(&self.server.url("x.git"), extra)
    }
}

#[test]
fn new_tags_are_fetched_and_listed_in_byte_order() {
    let s = setup(&["1.9", "1.10", "v1.0", "1.10-p1"]);
    let fetched = s.fetch();
    assert_eq!(
        names(&fetched.new),
        ["refs/tags/1.10", "refs/tags/1.10-p1", "refs/tags/1.9", "refs/tags/v1.0"]
    );
    assert!(fetched.received_bytes > 0 && fetched.objects > 0);
    assert_eq!(s.local.versions(), unmixed(&["1.10", "1.10-p1", "1.9", "v1.0"]));
    let listed: Vec<_> = s.upstream.git(&["tag"]).lines().map(str::to_owned).collect();
    assert_eq!(listed, ["1.10", "1.10-p1", "1.9", "v1.0"]);
}

#[test]
fn fetch_without_news_downloads_and_writes_nothing() {
    let s = setup(&["1.0", "1.1"]);
    s.fetch();
    s.server.requests();
    let before = listing(&s.local.path());
    assert_eq!(s.fetch(), Fetched { unchanged: 2, ..Fetched::default() });
    let requests: Vec<_> = s.server.requests().into_iter().map(|request| request.line).collect();
    let expected = ["GET /x.git/info/refs?service=git-upload-pack", "POST /x.git/git-upload-pack"];
    assert_eq!(requests, expected.map(|request| format!("{request} HTTP/1.1")));
    assert_eq!(listing(&s.local.path()), before);
}

#[test]
fn shallow_clone_grows_by_new_tags_only() {
    let tags: Vec<_> = (0..60).map(|n| format!("1.{n:02}")).collect();
    let tags: Vec<_> = tags.iter().map(String::as_str).collect();
    let s = setup(&tags);
    s.fetch();
    assert!(s.local.path().join("shallow").exists());
    s.upstream.release("2.0");
    s.upstream.git(&["tag", "2.0-again", "2.0"]);
    s.upstream.git(&["tag", "-m", "annotated", "1.05-annotated", "1.05"]);
    let fetched = s.fetch();
    assert_eq!(names(&fetched.new), ["refs/tags/1.05-annotated", "refs/tags/2.0", "refs/tags/2.0-again"]);
    assert_eq!(fetched.unchanged, 60);
    assert!(fetched.objects <= 5, "commit, tree, manifest, tag; got {}", fetched.objects);
    let versions = s.local.versions();
    assert_eq!(versions.len(), 63);
    assert!(versions.contains(&("1.05-annotated".into(), "1.05".into())));
    assert!(versions.contains(&("2.0-again".into(), "2.0".into())));
}

#[test]
fn full_clone_has_the_history() {
    let mut s = setup(&["1.0", "1.1"]);
    s.local.git.shallow = false;
    s.fetch();
    assert!(!s.local.path().join("shallow").exists());
    s.upstream.release("1.2");
    // A shallow clone stays shallow.
    s.local.git.shallow = true;
    s.fetch();
    assert!(!s.local.path().join("shallow").exists());
    assert_eq!(s.local.versions(), unmixed(&["1.0", "1.1", "1.2"]));
}

#[test]
fn tags_on_trees_and_blobs_do_not_fail_the_fetch() {
    for shallow in [true, false] {
        let mut s = setup(&["1.0"]);
        s.local.git.shallow = shallow;
        s.upstream.git(&["tag", "tree", "1.0^{tree}"]);
        s.upstream.git(&["tag", "-m", "a blob", "blob", "1.0:composer.json"]);
        assert_eq!(s.fetch().new.len(), 3);
        s.upstream.release("1.1");
        assert_eq!(names(&s.fetch().new), ["refs/tags/1.1"]);
        assert_eq!(s.fetch().unchanged, 4);
    }
}

#[test]
fn moved_and_deleted_tags_are_reported() {
    let s = setup(&["1.0", "1.1", "1.2"]);
    s.fetch();
    let old = s.upstream.git(&["rev-parse", "1.1"]).parse().expect("an id");
    let new = s.upstream.release("1.1-fixed").parse().expect("an id");
    s.upstream.git(&["tag", "-f", "1.1", "1.1-fixed"]);
    s.upstream.git(&["tag", "-d", "1.1-fixed"]);
    s.upstream.git(&["tag", "-d", "1.0"]);
    let fetched = s.fetch();
    assert_eq!(fetched.moved, [MovedRef { name: "refs/tags/1.1".into(), old, new }]);
    assert_eq!(names(&fetched.deleted), ["refs/tags/1.0"]);
    assert_eq!((fetched.new.len(), fetched.unchanged), (0, 1));
    let versions = s.local.versions();
    assert_eq!(versions, [("1.1".into(), "1.1-fixed".into()), ("1.2".into(), "1.2".into())]);
}

#[test]
fn deleted_tag_allows_a_tag_below_its_name() {
    let s = setup(&["release"]);
    s.fetch();
    s.upstream.git(&["tag", "-d", "release"]);
    s.upstream.release("release/1.0");
    let fetched = s.fetch();
    assert_eq!(names(&fetched.deleted), ["refs/tags/release"]);
    assert_eq!(names(&fetched.new), ["refs/tags/release/1.0"]);
}

#[test]
fn unselected_tag_is_removed_but_not_reported_as_deleted() {
    let s = setup(&["1.0", "1.1"]);
    s.fetch();
    let only = WantedRefs { select: &|_| vec!["refs/tags/1.1".into()], extra_refs: &[], history: false };
    let fetched = s.local.fetch_with(&s.server.url("x.git"), only).expect("a fetch");
    assert_eq!((fetched.deleted.len(), fetched.unchanged), (0, 1));
    assert_eq!(s.local.versions(), unmixed(&["1.1"]));
}

#[test]
fn empty_repository_gives_an_empty_clone() {
    let s = setup(&[]);
    assert_eq!(s.fetch(), Fetched::default());
    assert!(s.local.clone().tags().expect("tags").is_empty());
    s.upstream.release("1.0");
    s.fetch();
    assert_eq!(s.local.versions(), unmixed(&["1.0"]));
}

#[test]
fn fetch_takes_extra_branches_tags_and_commits() {
    let s = setup(&["1.0", "1.1"]);
    s.upstream.git(&["branch", "2.4/develop", "1.0"]);
    let tip = s.upstream.git(&["rev-parse", "main"]);
    let fetched = s.fetch_extra(&["2.4/develop", "1.1", &tip]);
    assert_eq!(fetched.missing, []);
    let clone = s.local.clone();
    for (extra, commit) in [("2.4/develop", "1.0"), ("1.1", "1.1"), (&tip, "main")] {
        let found = clone.extra_ref(extra).expect("refs").expect(extra);
        let expected = s.upstream.git(&["rev-parse", commit]);
        assert_eq!(clone.commit(&found).expect("a commit").id.to_string(), expected);
    }
    s.upstream.git(&["branch", "-f", "2.4/develop", "1.1"]);
    assert_eq!(s.fetch_extra(&["2.4/develop"]).moved.len(), 1);
}

#[test]
fn commit_without_ref_is_fetched_if_the_server_allows_it() {
    let s = setup(&["1.0", "1.1"]);
    let commit = s.upstream.git(&["commit-tree", "-m", "on no branch", "1.0^{tree}"]);

    // Version 2 of the protocol gives any object.
    s.server.behave(Behaviour { old_protocol: true, ..Behaviour::default() });
    let refused = s.fetch_extra(&[&commit, "1.1"]);
    assert_eq!(refused.missing.len(), 1);
    assert_eq!(refused.missing[0].requested, commit);
    assert_eq!(refused.new.len(), 1, "the other one is there all the same");

    s.upstream.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let given = s.fetch_extra(&[&commit]);
    assert_eq!((given.missing.len(), given.new.len()), (0, 1));
    let clone = s.local.clone();
    let found = clone.extra_ref(&commit).expect("refs").expect("the commit");
    assert_eq!(clone.commit(&found).expect("a commit").id.to_string(), commit);
    assert_eq!(s.fetch_extra(&[&commit]).unchanged, 1);
}

#[test]
fn missing_extra_ref_is_reported_and_others_are_fetched() {
    let s = setup(&["1.0"]);
    s.upstream.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let nowhere = "0123456789012345678901234567890123456789";
    let fetched = s.fetch_extra(&["no-such-branch", nowhere, "main"]);
    let missing: Vec<_> = fetched.missing.iter().map(|m| &*m.requested).collect();
    assert_eq!(missing, ["no-such-branch", nowhere]);
    assert_eq!(fetched.new.len(), 1);
    let text = fetched.missing[0].to_string();
    assert_eq!(
        text,
        "failed to find `no-such-branch` in the repository: there is no such tag, branch or commit"
    );
}

#[test]
fn tag_with_non_utf8_name_is_skipped() {
    let s = setup(&["1.0"]);
    let refs = s.upstream.path().join("refs/tags");
    use std::os::unix::ffi::OsStrExt as _;
    std::fs::copy(refs.join("1.0"), refs.join(std::ffi::OsStr::from_bytes(b"1.\xff"))).expect("a ref");
    assert_eq!(names(&s.fetch().new), ["refs/tags/1.0"]);
}

#[test]
fn damaged_clone_is_cloned_again() {
    let s = setup(&["1.0", "1.1"]);
    let clone = s.local.path();
    type Damage = fn(&std::path::Path);
    let damages: [(&str, Damage); 6] = [
        ("no HEAD", |clone| {
            std::fs::remove_file(clone.join("HEAD")).expect("removed");
        }),
        ("no packs", |clone| {
            std::fs::remove_dir_all(clone.join("objects/pack")).expect("removed");
        }),
        ("an empty ref", |clone| {
            std::fs::write(clone.join("refs/tags/1.0"), "").expect("written");
        }),
        ("only an empty folder", |clone| {
            std::fs::remove_dir_all(clone).expect("removed");
            std::fs::create_dir(clone).expect("made");
        }),
        ("a file", |clone| {
            std::fs::remove_dir_all(clone).expect("removed");
            std::fs::write(clone, "not a clone").expect("written");
        }),
        ("half made", |clone| {
            std::fs::rename(clone, clone.with_extension("git.partial")).expect("renamed");
        }),
    ];
    s.fetch();
    for (damage, make) in damages {
        make(&clone);
        assert!(!s.fetch().new.is_empty(), "{damage}");
        assert_eq!(s.local.versions(), unmixed(&["1.0", "1.1"]), "{damage}");
        let names = std::fs::read_dir(s.local.dir.path()).expect("a folder");
        let mut names: Vec<_> = names.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        let lock = clone.with_extension("git.lock");
        assert_eq!(names, [clone.file_name(), lock.file_name()].map(Option::unwrap), "{damage}");
    }
}

/// Changes the bytes of the only pack. All handles of a process share the packs that any of them has opened,
/// so none may be open.
fn damage_pack(s: &Setup, damage: impl FnOnce(&mut [u8])) {
    let packs = std::fs::read_dir(s.local.path().join("objects/pack")).expect("a folder");
    let mut packs = packs.map(|entry| entry.expect("an entry").path());
    let pack = packs.find(|path| path.extension().is_some_and(|end| end == "pack")).expect("a pack");
    let mut bytes = std::fs::read(&pack).expect("read");
    damage(&mut bytes);
    std::fs::remove_file(&pack).expect("removed");
    std::fs::write(&pack, bytes).expect("written");
}

/// Blobs come last, before the checksum of the pack; the objects that the tag needs stay intact.
fn damage_last_blob(pack: &mut [u8]) {
    let end = pack.len() - 20;
    pack[end - 16..end].fill(0);
}

/// Sets the time of a file in the clone back.
fn set_back(s: &Setup, file: &str, hours: u64) {
    let file = std::fs::File::open(s.local.path().join(file)).expect("opened");
    let hours = std::time::Duration::from_secs(hours * 60 * 60);
    file.set_modified(std::time::SystemTime::now() - hours).expect("set back");
}

/// Whether the only tag's files can be read.
fn reads_files(s: &Setup) -> bool {
    let clone = s.local.clone();
    let tag = clone.tags().expect("tags").remove(0);
    let root = clone.commit(&tag).expect("a commit").tree;
    let read = |path: &str| {
        let entry = clone.find(root, path)?.expect("a file");
        clone.blob(entry.id).map(drop)
    };
    [read("composer.json"), read("src/Same.php")].into_iter().all(|read| match read {
        Ok(()) => true,
        Err(error @ ReadError::Object { .. }) => {
            let said = error.to_string();
            assert!(said.ends_with("; the next fetch clones again, at most once a day"), "{said}");
            false
        }
        Err(error) => panic!("{error}"),
    })
}

#[test]
fn clone_with_damaged_pack_is_cloned_again_once_a_day() {
    let s = setup(&["1.0"]);
    s.fetch();
    damage_pack(&s, damage_last_blob);
    assert!(!reads_files(&s));
    assert_eq!(names(&s.fetch().new), ["refs/tags/1.0"], "at once");
    assert!(reads_files(&s) && s.fetch().new.is_empty(), "it is whole");
    damage_pack(&s, damage_last_blob);
    assert!(!reads_files(&s));
    assert!(s.fetch().new.is_empty(), "what is damaged again is so upstream");
    set_back(&s, "remade", 25);
    assert_eq!(names(&s.fetch().new), ["refs/tags/1.0"], "a day later");
    assert_eq!(s.local.versions(), unmixed(&["1.0"]));
}

#[test]
fn fetch_into_damaged_clone_fails_and_next_one_repairs_it() {
    let s = setup(&["1.0"]);
    s.fetch();
    // The commit comes first, after the head of the pack and its own.
    damage_pack(&s, |bytes| bytes[14..30].fill(0));
    s.upstream.release("1.1");
    let error = s.local.fails(&s.server.url("x.git"));
    let FetchErrorKind::Damaged { path, .. } = &error.kind else { panic!("{error:?}") };
    assert_eq!(*path, s.local.path());
    assert!(error.to_string().contains("hint: the next fetch clones again"), "{error}");
    assert_eq!(names(&s.fetch().new), ["refs/tags/1.0", "refs/tags/1.1"]);
    assert_eq!(s.local.versions(), unmixed(&["1.0", "1.1"]));
}

#[test]
fn failed_repair_of_a_clone_is_not_retried_on_each_fetch() {
    let s = setup(&["1.0"]);
    s.fetch();
    damage_pack(&s, damage_last_blob);
    assert!(!reads_files(&s));
    s.local.fails(&s.server.url("none.git"));
    assert!(s.fetch().new.is_empty(), "it was tried a moment ago");
    set_back(&s, "tried", 2);
    assert_eq!(names(&s.fetch().new), ["refs/tags/1.0"]);
}

#[test]
fn leftovers_of_a_killed_fetch_are_removed() {
    let s = setup(&["1.0"]);
    s.fetch();
    let clone = s.local.path();
    std::fs::write(clone.join("refs/tags/1.0.lock"), "").expect("written");
    std::fs::write(clone.join("objects/pack/pack_git2_a1b2c3"), "PACK").expect("written");
    let moved = s.upstream.release("1.1");
    s.upstream.git(&["tag", "-f", "1.0", &moved]);
    assert_eq!(s.fetch().moved.len(), 1);
    assert!(!clone.join("objects/pack/pack_git2_a1b2c3").exists());
}

#[test]
fn selected_ref_that_is_not_advertised_is_reported() {
    let s = setup(&["1.0"]);
    let select = |refs: &[_]| {
        let mut tags = all_tags(refs);
        tags.push("refs/tags/9.9".into());
        tags
    };
    let wanted = WantedRefs { select: &select, extra_refs: &[], history: false };
    let fetched = s.local.fetch_with(&s.server.url("x.git"), wanted).expect("a fetch");
    assert_eq!(fetched.missing[0].requested, "refs/tags/9.9");
}

/// Every file below `dir` with its size and time.
fn listing(dir: &std::path::Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let entry = entry.expect("an entry");
        let meta = entry.metadata().expect("metadata");
        all.push(format!("{} {} {:?}", entry.path().display(), meta.len(), meta.modified()));
        if meta.is_dir() {
            all.extend(listing(&entry.path()));
        }
    }
    all.sort();
    all
}
