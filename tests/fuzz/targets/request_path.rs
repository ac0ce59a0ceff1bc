//! The path of a request: it leads to a file of the table or to nothing, and empty segments do not count.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use mirror::util::digest::Sha256;
use mirror::server::{ContentKind, RepositorySite, Resource, Site};

const FILES: [&str; 3] = ["packages/a/b-1.zip", "packages/a/ü$-1.zip", "packages/index.html"];

fn site() -> Site {
    let resource = |path: &&str| Resource {
        path: (*path).to_owned(),
        location: PathBuf::from("/nowhere").into(),
        size: 1,
        sha256: Sha256::digest(b"x"),
        last_modified: 0,
        kind: ContentKind::Archive,
        variants: Vec::new(),
    };
    let repository = |base: &str| RepositorySite {
        name: base.to_owned(),
        base_path: base.to_owned(),
        resources: Some(FILES.iter().map(resource).collect()),
            gone: Vec::new(),
    };
    Site::new([repository("/"), repository("/mirror/")]).expect("a site")
}

fuzz_target!(|path: &str| {
    static SITE: OnceLock<Site> = OnceLock::new();
    let site = SITE.get_or_init(site);
    let is_answered = site.answers(path);
    assert!(!is_answered || path.starts_with('/') && !path.contains("%2F"));
    assert_eq!(site.answers(&path.replace('/', "//")), is_answered);
});
