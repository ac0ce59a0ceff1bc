//! Reads the manifests of published archives: the archives and the ledger are all that the metadata is made from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use flate2::read::DeflateDecoder;
use rawzip::CompressionMethod;

use super::parallel;
use crate::composer::Manifest;
use crate::ledger::{Release, ReleaseKind};
use crate::metadata::PackageVersion;
use crate::store::RepositoryStore;

/// Releases whose archives cannot be read, each with the reason.
pub type Unread<'r> = Vec<(&'r Release, String)>;

/// The versions of all packages by name, newest first, read by so many threads.
pub fn read<'r>(
    store: &RepositoryStore,
    releases: &[&'r Release],
    threads: usize,
) -> (BTreeMap<String, Vec<PackageVersion>>, Unread<'r>) {
    let read = |(): &(), release: &&Release| version(release, manifest(&store.archive(release))?);
    let (mut packages, mut unread) = (BTreeMap::<String, Vec<_>>::new(), Vec::new());
    for (&release, version) in releases
        .iter()
        .zip(parallel::map(releases, threads, || Ok(()), read))
    {
        match version {
            Ok(version) => packages.entry(release.name.clone()).or_default().push(version),
            Err(error) => unread.push((release, format!("{error:#}"))),
        }
    }
    packages.values_mut().for_each(|versions| sort(versions));
    (packages, unread)
}

/// Newest first.
pub(super) fn sort(versions: &mut [PackageVersion]) {
    versions.sort_by(|a, b| b.version.precedence(&a.version));
}

/// A release with its manifest.
///
/// # Errors
/// Its version is none.
pub(super) fn version(release: &Release, manifest: Manifest) -> anyhow::Result<PackageVersion> {
    Ok(PackageVersion {
        number: release.number,
        manifest,
        version: release.version.parse()?,
        path: release.path(),
        sha1: release.sha1,
        committed: release.committed,
        size: release.size,
        commit: release.commit.clone(),
        is_nightly: release.kind == ReleaseKind::Dev,
        source: release.source.clone(),
        published: release.time,
    })
}

/// The manifest in an archive: found by walking the list of its entries, of which there are hundreds, without keeping it.
pub(super) fn manifest(path: &Path) -> anyhow::Result<Manifest> {
    let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
    let archive = rawzip::ZipArchive::from_file(File::open(path)?, &mut buffer)?;
    let mut entries = archive.entries(&mut buffer);
    let found = loop {
        let entry = entries.next_entry()?.context("it has no composer.json")?;
        if entry.file_path().as_ref() == b"composer.json" {
            break (entry.wayfinder(), entry.compression_method());
        }
    };
    let entry = archive.get_entry(found.0)?;
    let mut text = Vec::new();
    match found.1 {
        CompressionMethod::STORE => entry.verifying_reader(entry.reader()).read_to_end(&mut text)?,
        CompressionMethod::DEFLATE => entry
            .verifying_reader(DeflateDecoder::new(entry.reader()))
            .read_to_end(&mut text)?,
        other => bail!("its composer.json is compressed by method {other:?}"),
    };
    Ok(Manifest::parse(&text)?)
}
