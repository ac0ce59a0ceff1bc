//! What exceeds a limit fails its fetch, or its reading, by the name of the limit.

use mirror::git::{FetchErrorKind, ReadError};

use crate::support::git::BareRepository;
use crate::support::git_server::GitServer;
use crate::support::local_clone::{LocalClone, unmixed};

/// Text that does not compress well.
fn noise(length: usize) -> String {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.alphanumeric()).take(length).collect()
}

/// A repository whose two tags have a large file with a small difference, so that one is sent as a delta.
fn with_large_files() -> (BareRepository, GitServer) {
    let upstream = BareRepository::new();
    let text = noise(300_000);
    for (tag, end) in [("1.0", ""), ("1.1", "!")] {
        let manifest = format!("{{\"version\": \"{tag}\"}}");
        let large = format!("{text}{end}");
        let files = [
            ("100644", "composer.json", &*manifest),
            ("100644", "large", &*large),
            ("100644", "src/Same.php", "<?php\n"),
        ];
        let commit = upstream.commit(&files);
        upstream.git(&["tag", tag, &commit]);
    }
    let server = GitServer::start(upstream.root());
    (upstream, server)
}

#[test]
fn downloads_beyond_a_limit_fail_and_leave_nothing() {
    let (_upstream, server) = with_large_files();
    let url = server.url("x.git");
    let mut local = LocalClone::new();
    let defaults = local.limits.clone();
    let mut fails = |key: &str, change: &dyn Fn(&mut mirror::config::Limits)| {
        local.limits = defaults.clone();
        change(&mut local.limits);
        let error = local.fails(&url);
        assert!(error.to_string().contains(&format!("hint: raise `limits.{key}`")), "{key}: {error}");
        assert!(!local.path().exists() && !local.path().with_extension("git.partial").exists());
        error.kind
    };
    let cause = fails("object", &|limits| limits.object = 200_000);
    assert!(matches!(cause, FetchErrorKind::ObjectTooLarge { size: 300_000.., .. }), "{cause:?}");
    let cause = fails("fetch_memory", &|limits| limits.fetch_memory = 400_000);
    assert!(matches!(cause, FetchErrorKind::TooMuchMemory { .. }), "{cause:?}");
    let cause = fails("pack", &|limits| limits.pack = 100_000);
    assert!(matches!(cause, FetchErrorKind::PackTooLarge { .. }), "{cause:?}");
    let cause = fails("refs", &|limits| limits.refs = std::num::NonZeroUsize::MIN);
    assert!(
        matches!(cause, FetchErrorKind::RefsTooLong { .. } | FetchErrorKind::TooManyRefs { .. }),
        "{cause:?}"
    );
    local.limits = defaults;
    local.fetch(&url).expect("a fetch");
    assert_eq!(local.versions(), unmixed(&["1.0", "1.1"]));
}

#[test]
fn commits_and_trees_beyond_the_limit_are_not_read() {
    let upstream = BareRepository::with_tags(&["1.0"]);
    let server = GitServer::start(upstream.root());
    let mut local = LocalClone::new();
    local.fetch(&server.url("x.git")).expect("a fetch");
    let tag = local.clone().tags().expect("tags").remove(0);
    let tree = local.clone().commit(&tag).expect("a commit").tree;
    local.limits.tree = 20;
    let clone = local.clone();
    for result in [clone.commit(&tag).map(drop), clone.tree(tree).map(drop)] {
        let error = result.expect_err("too large");
        assert!(matches!(error, ReadError::TooLarge { limit: 20, .. }), "{error:?}");
        assert!(error.to_string().contains("hint: `limits.tree`"), "{error}");
    }
    assert!(!local.path().join("damaged").exists(), "a large object is no damage");
}
