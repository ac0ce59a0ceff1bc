//! Reads the manifests of published archives: the archives and the ledger are all that the metadata is made from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use anyhow::Context as _;

use super::workers;
use crate::composer::Manifest;
use crate::ledger::Release;
use crate::repository::PackageVersion;
use crate::store::Repository;

/// The versions of all packages, by name; read by so many threads.
///
/// # Errors
/// An archive that cannot be read.
pub fn read(
    store: &Repository,
    releases: &[Release],
    threads: usize,
) -> anyhow::Result<BTreeMap<String, Vec<PackageVersion>>> {
    let version = |(): &(), release: &Release| {
        let path = store.archive(release);
        let manifest = manifest(&path)
            .with_context(|| {
                let path = path.display();
                format!("failed to read the manifest in `{path}`\nhint: `mirror verify --repair` builds damaged archives again")
            })?;
        Ok(PackageVersion {
            number: release.number,
            manifest,
            version: release.version.parse()?,
            path: release.path(),
            sha1: release.sha1,
            committed: release.committed,
            size: release.size,
            commit: release.commit.clone(),
            source: release.source.clone(),
            published: release.time,
        })
    };
    let mut packages = BTreeMap::<String, Vec<_>>::new();
    for (release, version) in releases
        .iter()
        .zip(workers::map(releases, threads, || Ok(()), version))
    {
        packages.entry(release.name.clone()).or_default().push(version?);
    }
    Ok(packages)
}

/// The manifest in an archive.
pub(super) fn manifest(path: &Path) -> anyhow::Result<Manifest> {
    let mut archive = zip::ZipArchive::new(BufReader::new(File::open(path)?))?;
    let mut text = Vec::new();
    archive.by_name("composer.json")?.read_to_end(&mut text)?;
    Ok(Manifest::parse(&text)?)
}
