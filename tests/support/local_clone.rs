//! A clone that is fetched from a real git repository.

use std::path::PathBuf;
use std::time::Duration;

use mirror::config::{Git, Limits};
use mirror::git::{BareClone, FetchError, FetchErrorKind, Fetched, Fetcher, Ref, WantedRefs};
use mirror::util::cancel::CancelFlag;
use tempfile::TempDir;

/// A place for one clone, and the settings to fetch it with.
pub struct LocalClone {
    pub dir: TempDir,
    pub git: Git,
    pub limits: Limits,
}

impl LocalClone {
    pub fn new() -> Self {
        let git = Git {
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(20),
            ..Git::default()
        };
        Self { dir: tempfile::tempdir().expect("a temporary folder"), git, limits: Limits::default() }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("clone.git")
    }

    pub fn fetcher(&self) -> Fetcher {
        Fetcher::new(&self.git, &self.limits).expect("a fetcher")
    }

    /// Fetches all tags.
    pub fn fetch(&self, url: &str) -> Result<Fetched, FetchError> {
        self.fetch_with(url, ALL_TAGS)
    }

    pub fn fetch_with(&self, url: &str, wanted: WantedRefs<'_>) -> Result<Fetched, FetchError> {
        self.fetcher().fetch(&self.path(), url, wanted, &CancelFlag::default(), &|_| {})
    }

    /// Fetches only these branches, tags and commits.
    pub fn fetch_extra(&self, url: &str, extra: &[&str]) -> Fetched {
        let extra_refs: Vec<_> = extra.iter().map(|extra| (*extra).to_owned()).collect();
        let wanted = WantedRefs { select: &|_| Vec::new(), extra_refs: &extra_refs, history: false };
        self.fetch_with(url, wanted).expect("a fetch")
    }

    pub fn fails(&self, url: &str) -> FetchError {
        self.fetch(url).expect_err("the fetch fails")
    }

    pub fn cause(&self, url: &str) -> FetchErrorKind {
        self.fails(url).kind
    }

    pub fn clone(&self) -> BareClone {
        BareClone::open(&self.path(), self.limits.tree).expect("a clone")
    }

    /// The local tags with the version in their manifest, which proves that their blobs are there.
    pub fn versions(&self) -> Vec<(String, String)> {
        let clone = self.clone();
        let version = |tag: &Ref| {
            let commit = clone.commit(tag).expect("a commit");
            let manifest = clone.find(commit.tree, "composer.json").expect("a tree").expect("a manifest");
            assert!(
                clone
                    .find(commit.tree, "src/Same.php")
                    .expect("a tree")
                    .is_some_and(|e| clone.blob(e.id).is_ok())
            );
            let text = String::from_utf8(clone.blob(manifest.id).expect("a blob").to_vec()).expect("text");
            text.split('"').nth(3).expect("a version").to_owned()
        };
        let tags = clone.tags().expect("tags");
        tags.iter().map(|tag| (tag.tag().expect("a tag").to_owned(), version(tag))).collect()
    }
}

pub const ALL_TAGS: WantedRefs<'_> = WantedRefs { select: &all_tags, extra_refs: &[], history: false };

pub fn all_tags(refs: &[Ref]) -> Vec<String> {
    let tags = refs.iter().filter(|r| r.tag().is_some());
    tags.map(|r| r.name.clone()).collect()
}

pub fn names(refs: &[Ref]) -> Vec<&str> {
    refs.iter().map(|r| &*r.name).collect()
}

/// `("1.0", "1.0")` for each tag: what [`LocalClone::versions`] gives when nothing is mixed up.
pub fn unmixed(tags: &[&str]) -> Vec<(String, String)> {
    tags.iter().map(|tag| ((*tag).to_owned(), (*tag).to_owned())).collect()
}
