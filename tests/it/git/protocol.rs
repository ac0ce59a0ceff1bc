//! git's protocol in both versions: what servers say of themselves, their refs, their words, and repositories of every kind.

use mirror::git::{FetchErrorKind, Fetched, RepositoryFormat};
use mirror::net::NetworkError;

use crate::support::git::{BareRepository, git, git_with_input};
use crate::support::git_server::{Behaviour, GitServer};
use crate::support::local_clone::{LocalClone, names, unmixed};

struct Setup {
    upstream: BareRepository,
    server: GitServer,
    local: LocalClone,
}

/// A setup for each version of the protocol.
fn setups(tags: &[&str]) -> [Setup; 2] {
    [false, true].map(|old_protocol| {
        let upstream = BareRepository::with_tags(tags);
        let server = GitServer::start(upstream.root());
        server.behave(Behaviour { old_protocol, ..Behaviour::default() });
        Setup { upstream, server, local: LocalClone::new() }
    })
}

impl Setup {
    fn url(&self) -> String {
        self.server.url("x.git")
    }

    fn fetch(&self) -> Fetched {
        self.local.fetch(&self.url()).expect("a fetch")
    }

    /// Adds refs that no recipe wants.
    fn add_pull_requests(&self, number: usize) {
        let commit = self.upstream.git(&["rev-parse", "main"]);
        let lines: String = (0..number).map(|n| format!("create refs/pull/{n}/head {commit}\n")).collect();
        git_with_input(&self.upstream.path(), &["update-ref", "--stdin"], lines.as_bytes());
        self.upstream.git(&["pack-refs", "--all"]);
    }
}

#[test]
fn both_versions_fetch_clones_that_grow() {
    for s in setups(&["1.0", "1.1"]) {
        assert_eq!(s.fetch().new.len(), 2);
        assert!(s.local.path().join("shallow").exists());
        s.upstream.release("2.0");
        s.upstream.git(&["tag", "-m", "annotated", "1.0-annotated", "1.0"]);
        let fetched = s.fetch();
        assert_eq!(names(&fetched.new), ["refs/tags/1.0-annotated", "refs/tags/2.0"]);
        assert!(fetched.objects <= 4, "commit, tree, manifest, tag; got {}", fetched.objects);
        assert_eq!(s.fetch().unchanged, 4);
        assert_eq!(git(&s.local.path(), &["fsck", "--connectivity-only"]), "", "the real git finds it whole");
    }
}

#[test]
fn server_is_asked_only_for_refs_that_matter() {
    let [new, old] = setups(&["1.0"]);
    for s in [&new, &old] {
        s.upstream.git(&["branch", "2.x"]);
        s.local.fetch_extra(&s.url(), &["2.x"]);
    }
    let sent = |s: &Setup| s.server.requests().into_iter().map(|r| r.line).collect::<Vec<_>>();
    assert_eq!(sent(&old).len(), 2, "refs and pack");
    assert_eq!(sent(&new).len(), 3, "capabilities, refs and pack");
}

#[test]
fn large_requests_are_compressed() {
    for s in setups(&["1.0"]) {
        assert_eq!(s.fetch().new.len(), 1);
        s.upstream.add_empty_tags(40);
        assert_eq!(s.fetch().new.len(), 40);
        let encodings = s.server.requests().into_iter().filter(|request| request.line.starts_with("POST"));
        let encodings: Vec<_> = encodings.map(|r| r.headers.get("content-encoding").cloned()).collect();
        let gzip = Some("gzip".to_owned());
        assert!(encodings.contains(&gzip) && encodings.contains(&None), "{encodings:?}");
    }
}

#[test]
fn refs_that_nobody_wants_do_not_count() {
    let local_path = |s: &Setup| s.upstream.path().to_string_lossy().into_owned();
    for mut s in setups(&["1.0", "1.1"]) {
        s.add_pull_requests(500);
        s.local.limits.refs = 3.try_into().expect("a number");
        assert_eq!(s.fetch().new.len(), 2);
        assert_eq!(s.local.fetch(&local_path(&s)).expect("a fetch").new.len(), 2);
        assert_eq!(s.local.fetch_extra(&s.url(), &["refs/pull/7/head"]).missing, []);
        s.upstream.git(&["tag", "1.2", "1.1"]);
        s.upstream.git(&["tag", "1.3", "1.1"]);
        for url in [s.url(), local_path(&s)] {
            let cause = s.local.cause(&url);
            assert!(matches!(cause, FetchErrorKind::TooManyRefs { refs: 4.., limit: 3 }), "{cause:?}");
        }
    }
}

#[test]
fn upstream_that_is_a_shallow_clone_is_fetched() {
    for shallow in [true, false] {
        for mut s in setups(&["1.0", "1.1", "1.2"]) {
            s.local.git.shallow = shallow;
            let url = format!("file://{}", s.upstream.path().display());
            git(
                s.upstream.root(),
                &["clone", "-q", "--bare", "--depth=2", "--no-single-branch", &url, "s.git"],
            );
            s.local.fetch(&s.server.url("s.git")).expect("a fetch");
            assert_eq!(s.local.versions(), unmixed(&["1.0", "1.1", "1.2"]));
            let shallow_url = format!("file://{}", s.upstream.root().join("s.git").display());
            s.upstream.release("1.3");
            git(&s.upstream.root().join("s.git"), &["fetch", "-q", "--tags", "--depth=1", &url]);
            let local = LocalClone::new();
            local.fetch(&shallow_url).expect("a fetch");
            assert_eq!(s.local.fetch(&s.server.url("s.git")).expect("a fetch").new.len(), 1);
            assert_eq!(s.local.versions(), unmixed(&["1.0", "1.1", "1.2", "1.3"]));
        }
    }
}

#[test]
fn server_without_shallow_sends_all_of_the_history() {
    for (old_protocol, s) in [false, true].into_iter().zip(setups(&["1.0", "1.1"])) {
        // What was shallow before becomes whole.
        for first_shallow in [false, true] {
            let local = LocalClone::new();
            let fetch = || local.fetch(&s.url()).expect("a fetch");
            let behaviour = |no_shallow| Behaviour { no_shallow, old_protocol, ..Behaviour::default() };
            if first_shallow {
                s.server.behave(behaviour(false));
                fetch();
                s.upstream.release("1.2");
            }
            s.server.behave(behaviour(true));
            assert!(!fetch().new.is_empty());
            assert_eq!(local.path().join("shallow").exists(), first_shallow);
            let expected: &[&str] = if first_shallow { &["1.0", "1.1", "1.2"] } else { &["1.0", "1.1"] };
            assert_eq!(local.versions(), unmixed(expected));
        }
    }
}

#[test]
fn content_type_may_have_parameters_and_other_case() {
    for old_protocol in [false, true] {
        let [s, _] = setups(&["1.0"]);
        s.server.behave(Behaviour { odd_content_type: true, old_protocol, ..Behaviour::default() });
        s.fetch();
        assert_eq!(s.local.versions(), unmixed(&["1.0"]));
    }
}

#[test]
fn commits_and_tags_with_malformed_people_are_read() {
    let upstream = BareRepository::with_tags(&["1.0"]);
    let tree = upstream.git(&["rev-parse", "1.0^{tree}"]);
    let mut expected = unmixed(&["1.0"]);
    for (number, people) in [
        "author nobody\ncommitter C <c@d> 5 +0000",
        "author A <a@b> 1 +0000\ncommitter C <c@d>",
        "author <\ncommitter >",
        "author A <a@b> x +9999999\ncommitter C <<c> 7 nonsense",
        "",
    ]
    .iter()
    .enumerate()
    {
        let commit = format!("tree {tree}\n{people}\n\nx\n");
        let commit = upstream.write_object("commit", commit.as_bytes());
        upstream.git(&["tag", &format!("2.{number}"), &commit]);
        let tag = format!("object {commit}\ntype commit\ntag 3.{number}\ntagger nobody\n\nx\n");
        let tag = upstream.write_object("tag", tag.as_bytes());
        upstream.git(&["update-ref", &format!("refs/tags/3.{number}"), &tag]);
        for major in [2, 3] {
            expected.push((format!("{major}.{number}"), "1.0".to_owned()));
        }
    }
    expected.sort();
    let server = GitServer::start(upstream.root());
    for url in [server.url("x.git"), upstream.path().to_string_lossy().into_owned()] {
        let local = LocalClone::new();
        local.fetch(&url).expect("a fetch");
        assert_eq!(local.versions(), expected, "{url}");
        // A clone with such commits grows.
        upstream.release("9.0");
        assert_eq!(names(&local.fetch(&url).expect("a fetch").new), ["refs/tags/9.0"]);
        upstream.git(&["tag", "-d", "9.0"]);
    }
}

#[test]
fn words_of_the_remote_git_are_shown() {
    for s in setups(&["1.0"]) {
        // A lagging replica lists what it does not have.
        let lost = s.upstream.release("1.1");
        let file = s.upstream.path().join("objects").join(&lost[..2]).join(&lost[2..]);
        std::fs::remove_file(file).expect("removed");
        let error = s.local.fails(&s.url()).to_string();
        assert!(error.contains("the remote git reported: ") && error.contains(&lost), "{error}");
        assert!(!s.local.path().exists());
    }
}

#[test]
fn busy_server_is_waited_for_or_left_alone() {
    let [s, _] = setups(&["1.0"]);
    s.server.behave(Behaviour { busy: Some("1".into()), ..Behaviour::default() });
    assert_eq!(s.fetch().new.len(), 1, "a second later");
    s.server.requests();
    s.server.behave(Behaviour { busy: Some("1800".into()), ..Behaviour::default() });
    let cause = s.local.cause(&s.url());
    assert!(matches!(cause, FetchErrorKind::Network(NetworkError::Busy { status: 429, .. })), "{cause:?}");
    assert!(cause.to_string().contains("asks to wait for 1800 s"), "{cause}");
    assert_eq!(s.server.requests().len(), 1);
    let cause = s.local.cause(&s.url());
    assert!(matches!(cause, FetchErrorKind::Busy { left, .. } if left.as_secs() > 1700), "{cause:?}");
    assert_eq!(s.server.requests().len(), 0, "it is left alone");
    std::fs::write(s.local.path().with_extension("git.busy"), "1\n").expect("written");
    assert_eq!(s.fetch().unchanged, 1, "until the time has come");
}

#[test]
fn server_of_files_is_told_apart_from_a_web_page() {
    let upstream = BareRepository::with_tags(&["1.0"]);
    let server = GitServer::start(upstream.root());
    server.behave(Behaviour { dumb: true, ..Behaviour::default() });
    let error = LocalClone::new().fails(&server.url("x.git"));
    assert!(matches!(error.kind, FetchErrorKind::Dumb), "{error:?}");
    assert!(error.to_string().contains("hint: let the web server run `git http-backend`"), "{error}");
}

#[test]
fn abbreviated_commit_is_explained() {
    for s in setups(&["1.0"]) {
        let short = &s.upstream.git(&["rev-parse", "1.0"])[..9];
        for url in [s.url(), s.upstream.path().to_string_lossy().into_owned()] {
            let missing = s.local.fetch_extra(&url, &[short]).missing;
            assert!(
                missing[0].to_string().contains("a commit needs its whole id, which has 40 digits"),
                "{missing:?}"
            );
        }
    }
}

#[test]
fn formats_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path();
    let make = |name: &str, format: &str| {
        git(root, &["init", "-q", "--bare", format, name]);
        let blob = git_with_input(&root.join(name), &["hash-object", "-w", "--stdin"], b"{}");
        let entry = format!("100644 blob {blob}\tcomposer.json\n");
        let tree = git_with_input(&root.join(name), &["mktree"], entry.as_bytes());
        let commit = git(&root.join(name), &["commit-tree", "-m", "a", &tree]);
        git(&root.join(name), &["tag", "1.0", &commit]);
    };
    make("sha256.git", "--object-format=sha256");
    make("reftable.git", "--ref-format=reftable");
    make("plain.git", "--object-format=sha1");
    git(&root.join("plain.git"), &["config", "uploadpack.allowFilter", "true"]);
    let plain = format!("file://{}", root.join("plain.git").display());
    git(root, &["clone", "-q", "--filter=blob:none", "--no-checkout", &plain, "partial"]);
    git(&root.join("reftable.git"), &["worktree", "add", "-q", "../linked", "1.0"]);
    let server = GitServer::start(root);
    let local = LocalClone::new();
    for (url, expected, word) in [
        (root.join("sha256.git").display().to_string(), RepositoryFormat::Sha256, "SHA-256"),
        (server.url("sha256.git"), RepositoryFormat::Sha256, "SHA-256"),
        (root.join("reftable.git").display().to_string(), RepositoryFormat::Reftable, "refs migrate"),
        (root.join("linked").display().to_string(), RepositoryFormat::Reftable, "reftable"),
    ] {
        let error = local.fails(&url);
        let FetchErrorKind::Unsupported(format) = &error.kind else { panic!("{url}: {error:?}") };
        assert_eq!(*format, expected, "{url}");
        assert!(error.to_string().contains(word), "{error}");
    }
    server.behave(Behaviour { old_protocol: true, ..Behaviour::default() });
    let cause = local.cause(&server.url("sha256.git"));
    assert!(matches!(cause, FetchErrorKind::Unsupported(RepositoryFormat::Sha256)), "{cause:?}");
    let partial = LocalClone::new();
    partial.fetch(&root.join("partial").display().to_string()).expect("a fetch");
    let clone = partial.clone();
    let tree = clone.commit(&clone.tags().expect("tags")[0]).expect("a commit").tree;
    let file = clone.find(tree, "composer.json").expect("a tree").expect("a file");
    let error = clone.blob(file.id).map(drop).expect_err("a file that is not there").to_string();
    assert!(
        error.contains("it is a partial clone")
            && error.contains(&root.join("partial").display().to_string()),
        "{error}"
    );
    assert!(!partial.path().join("damaged").exists());
    // How refs are stored does not matter over the network.
    local.fetch(&server.url("reftable.git")).expect("a fetch");
}
