//! The table of what is published: what it refuses, takes over and survives.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::server::*;
use mirror::server::{ContentKind, Location, RepositorySite, Resource, Site};
use mirror::util::digest::Sha256;

#[test]
fn contradictory_site_is_refused() {
    let files = PublishedFiles::new();
    let root = || files.publish("packages.json", ContentKind::Metadata, PACKAGES);
    let zip = || files.publish("a.zip", ContentKind::Archive, "zip");
    for (repositories, message) in [
        (
            vec![repository("/a", vec![])],
            "failed to publish `/a`: a base path begins and ends with one slash",
        ),
        (
            vec![repository("//", vec![])],
            "failed to publish `//`: a base path begins and ends with one slash",
        ),
        (
            vec![repository("/a/", vec![root()]), repository("/a/", vec![])],
            "failed to publish `/a/`: two repositories are served there",
        ),
        (
            vec![repository("/", vec![zip(), zip()])],
            "failed to publish `/`: the snapshot names `a.zip` twice",
        ),
        (
            vec![repository("/", vec![Resource { last_modified: -1, ..zip() }])],
            "failed to publish `/`: `a.zip` is of -1, which is not a date of HTTP",
        ),
    ] {
        let error = Site::new(repositories).err().expect(message);
        assert!(format!("{error:#}").starts_with(message), "{error:#}");
    }
}

/// Files that are kept in memory are verified, too.
#[test]
fn damaged_file_does_not_block_other_files() {
    let files = PublishedFiles::new();
    let root = || files.publish("packages.json", ContentKind::Metadata, PACKAGES);
    let missing = Resource { location: files.path("missing").into(), ..root() };
    let other = Resource { sha256: Sha256::digest(b"other"), ..root() };
    let longer = Resource { size: 5, ..root() };
    for damaged in [missing, other, longer] {
        let Location::File(file) = damaged.location.clone() else { panic!("it is no file") };
        let zip = files.publish("a.zip", ContentKind::Archive, "zip");
        let site = Site::new([repository("/", vec![damaged, zip])]).expect("a valid site");
        let mirror = TestServer::start(Some(site));
        assert_eq!(mirror.get("/a.zip").status, 200);
        assert_eq!(mirror.get("/packages.json").status, 503, "{}", file.display());
        assert_eq!(mirror.published.take_damaged(), [file].into());
    }
}

#[test]
fn repository_without_news_stays_published() {
    let files = PublishedFiles::new();
    let mirror = TestServer::start(Some(files.site()));
    let as_before = |base_path: &str| RepositorySite {
        name: base_path.to_owned(),
        base_path: base_path.to_owned(),
        resources: None,
        gone: Vec::new(),
    };
    let changed = files.publish("packages.json", ContentKind::Metadata, "{\"packages\":{}}");
    for _ in 0..2 {
        let site = Site::new([
            as_before("/"),
            repository(
                "/mirror/",
                vec![Resource {
                    path: "packages.json".to_owned(),
                    location: changed.location.clone(),
                    variants: vec![],
                    ..changed
                }],
            ),
            as_before("/never/"),
        ]);
        mirror.published.replace(site.expect("a valid site"));
        assert_eq!(mirror.get("/packages/magento/x-1.0.zip").text(), "0123456789");
        assert_eq!(mirror.get("/mirror/packages.json").text(), "{\"packages\":{}}");
        assert_eq!(mirror.get("/never/packages.json").status, 503);
    }
}

#[test]
fn hundred_thousand_zips_load_without_reading_them() {
    let zips = (0..100_000).map(|n| Resource {
        path: format!("packages/magento/module-with-a-usual-name-{n}.zip"),
        location: PathBuf::from(format!("/nowhere/packages/magento/module-with-a-usual-name-{n}.zip")).into(),
        size: n,
        sha256: Sha256([7; 32]),
        last_modified: SECONDS,
        kind: ContentKind::Archive,
        variants: vec![],
    });
    let zips = zips.collect();
    let began = Instant::now();
    let site = Site::new([repository("/", zips)]).expect("a valid site");
    let took = began.elapsed();
    assert!(site.is_published());
    assert!(took < Duration::from_secs(20), "{took:?}");
    eprintln!("100,000 zips: {took:?}");
}
