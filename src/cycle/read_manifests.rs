//! Reads the manifests of published archives. Archives and ledger are all that the metadata is made from.

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

/// The versions of packages by name, newest first.
pub(super) type Manifests = BTreeMap<String, Vec<PackageVersion>>;

/// A release whose archive cannot be read.
pub(super) struct UnreadableArchive<'r> {
    pub release: &'r Release,
    pub reason: String,
}

/// Reads the archives of these releases on up to `threads` threads.
pub(super) fn read<'r>(
    store: &RepositoryStore,
    releases: &[&'r Release],
    threads: usize,
) -> (Manifests, Vec<UnreadableArchive<'r>>) {
    let read =
        |(): &(), release: &&Release| package_version(release, manifest_in_archive(&store.archive(release))?);
    let results = parallel::map(releases, threads, || Ok(()), read);
    let (mut packages, mut unreadable) = (Manifests::new(), Vec::new());
    for (&release, version) in releases.iter().zip(results) {
        match version {
            Ok(version) => packages.entry(release.name.clone()).or_default().push(version),
            Err(error) => unreadable.push(UnreadableArchive { release, reason: format!("{error:#}") }),
        }
    }
    packages.values_mut().for_each(|versions| sort_newest_first(versions));
    (packages, unreadable)
}

pub(super) fn sort_newest_first(versions: &mut [PackageVersion]) {
    versions.sort_by(|a, b| b.version.precedence(&a.version));
}

pub(super) fn package_version(release: &Release, manifest: Manifest) -> anyhow::Result<PackageVersion> {
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

/// The size of the manifest in an archive, as its central directory gives it.
pub(super) fn manifest_size(path: &Path) -> anyhow::Result<u64> {
    let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
    let archive = rawzip::ZipArchive::from_file(File::open(path)?, &mut buffer)?;
    let mut entries = archive.entries(&mut buffer);
    loop {
        let entry = entries.next_entry()?.context("it has no composer.json")?;
        if entry.file_path().as_ref() == b"composer.json" {
            return Ok(entry.uncompressed_size_hint());
        }
    }
}

/// The manifest in an archive. Its central directory is walked without being kept in memory.
pub(super) fn manifest_in_archive(path: &Path) -> anyhow::Result<Manifest> {
    let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
    let archive = rawzip::ZipArchive::from_file(File::open(path)?, &mut buffer)?;
    let mut entries = archive.entries(&mut buffer);
    let (wayfinder, compression) = loop {
        let entry = entries.next_entry()?.context("it has no composer.json")?;
        if entry.file_path().as_ref() == b"composer.json" {
            break (entry.wayfinder(), entry.compression_method());
        }
    };
    let entry = archive.get_entry(wayfinder)?;
    let mut text = Vec::new();
    match compression {
        CompressionMethod::STORE => entry.verifying_reader(entry.reader()).read_to_end(&mut text)?,
        CompressionMethod::DEFLATE => {
            entry.verifying_reader(DeflateDecoder::new(entry.reader())).read_to_end(&mut text)?
        }
        other => bail!("its composer.json has the unsupported compression method {other:?}"),
    };
    Ok(Manifest::parse(&text)?)
}
