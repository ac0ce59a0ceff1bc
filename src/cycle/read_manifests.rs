//! Reads the manifests of published archives. Archives and ledger are all that the metadata is made from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, FileReader, ZipArchive, ZipArchiveEntryWayfinder};
use serde_json::Value;

use crate::composer::{Manifest, Version};
use crate::ledger::{Release, ReleaseKind};
use crate::metadata::PackageVersion;
use crate::package::prebuilt_archive::{ManifestPlace, Visited};
use crate::store::RepositoryStore;
use crate::util::parallel;

/// The versions of packages by name. Their manifests are text until a package is rendered: parsed, those of a large repository
/// take many times the memory.
#[derive(Default)]
pub(super) struct Manifests<'r> {
    versions: BTreeMap<&'r str, Vec<UnparsedVersion<'r>>>,
    abandoned: BTreeMap<String, Value>,
}

struct UnparsedVersion<'r> {
    release: &'r Release,
    version: Version,
    /// Compact JSON.
    manifest: Box<str>,
}

/// A release whose archive cannot be read.
pub(super) struct UnreadableArchive<'r> {
    pub release: &'r Release,
    pub reason: String,
}

impl<'r> Manifests<'r> {
    pub(super) fn add(&mut self, release: &'r Release, manifest: &Manifest) -> anyhow::Result<()> {
        self.push(UnparsedVersion::new(release, manifest)?);
        Ok(())
    }

    fn push(&mut self, version: UnparsedVersion<'r>) {
        self.versions.entry(&version.release.name).or_default().push(version);
    }

    /// Sets `abandoned` of packages, which upstream has said since they were published.
    pub(super) fn mark_abandoned(&mut self, abandoned: BTreeMap<String, Value>) {
        self.abandoned = abandoned;
    }

    pub(super) fn abandoned(&self) -> &BTreeMap<String, Value> {
        &self.abandoned
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.versions.contains_key(name)
    }

    /// The versions of a package, newest first; `None` if they were not read.
    pub(super) fn get(&self, name: &str) -> serde_json::Result<Option<Vec<PackageVersion>>> {
        let Some(unparsed) = self.versions.get(name) else { return Ok(None) };
        let mut versions: Vec<_> =
            unparsed.iter().map(UnparsedVersion::parse).collect::<serde_json::Result<_>>()?;
        if let Some(mark) = self.abandoned.get(name) {
            for version in &mut versions {
                version.manifest.0.insert("abandoned".to_owned(), mark.clone());
            }
        }
        versions.sort_by(|a, b| b.version.precedence(&a.version));
        Ok(Some(versions))
    }
}

impl<'r> UnparsedVersion<'r> {
    fn new(release: &'r Release, manifest: &Manifest) -> anyhow::Result<Self> {
        let text = serde_json::to_string(&manifest.0)?;
        Ok(Self { release, version: release.version.parse()?, manifest: text.into() })
    }

    fn parse(&self) -> serde_json::Result<PackageVersion> {
        let manifest = Manifest(serde_json::from_str(&self.manifest)?);
        Ok(package_version(self.release, self.version.clone(), manifest))
    }
}

pub(super) fn package_version(release: &Release, version: Version, manifest: Manifest) -> PackageVersion {
    PackageVersion {
        number: release.number,
        manifest,
        version,
        path: release.path(),
        sha1: release.sha1,
        committed: release.committed,
        size: release.size,
        commit: release.commit.clone(),
        is_nightly: release.kind == ReleaseKind::Dev,
        source: release.source.clone(),
        published: release.time,
        upstream: release.upstream.as_ref().map(|upstream| upstream.repository.clone()),
    }
}

/// Reads the archives of these releases on up to `threads` threads.
pub(super) fn read<'r>(
    store: &RepositoryStore,
    releases: &[&'r Release],
    threads: usize,
) -> (Manifests<'r>, Vec<UnreadableArchive<'r>>) {
    let read =
        |(): &(), release: &&'r Release| UnparsedVersion::new(release, &release_manifest(store, release)?);
    let results = parallel::map(releases, threads, || Ok(()), read);
    let (mut manifests, mut unreadable) = (Manifests::default(), Vec::new());
    for (&release, version) in releases.iter().zip(results) {
        match version {
            Ok(version) => manifests.push(version),
            Err(error) => unreadable.push(UnreadableArchive { release, reason: format!("{error:#}") }),
        }
    }
    (manifests, unreadable)
}

/// The size of the manifest that the metadata will have of a new archive.
pub(super) fn manifest_size(archive: &Path, release: &Release) -> anyhow::Result<u64> {
    let size = with_manifest(archive, |_, entry| Ok(entry.size))?;
    match &release.upstream {
        None => size.context(NO_MANIFEST),
        Some(upstream) => Ok(size.unwrap_or(0) + serde_json::to_vec(&upstream.manifest)?.len() as u64),
    }
}

/// The manifest of a release: the one in its archive, as its repository lists it if it was taken from one.
pub(super) fn release_manifest(store: &RepositoryStore, release: &Release) -> anyhow::Result<Manifest> {
    let manifest = manifest_in_archive(&store.archive(release))?;
    match &release.upstream {
        None => manifest.context(NO_MANIFEST),
        Some(upstream) => Ok(upstream.manifest(manifest, &release.name, &release.version)),
    }
}

const NO_MANIFEST: &str = "it has no composer.json";

/// The manifest in an archive, at its root or in the only folder there.
pub(super) fn manifest_in_archive(path: &Path) -> anyhow::Result<Option<Manifest>> {
    let text = with_manifest(path, |archive, found| {
        let entry = archive.get_entry(found.wayfinder)?;
        let mut text = Vec::new();
        match found.compression {
            CompressionMethod::STORE => entry.verifying_reader(entry.reader()).read_to_end(&mut text)?,
            CompressionMethod::DEFLATE => {
                entry.verifying_reader(DeflateDecoder::new(entry.reader())).read_to_end(&mut text)?
            }
            other => bail!("its composer.json has the unsupported compression method {other:?}"),
        };
        Ok(text)
    })?;
    Ok(text.map(|text| Manifest::parse(&text)).transpose()?)
}

/// The entry of the manifest in an archive.
struct ManifestEntry {
    wayfinder: ZipArchiveEntryWayfinder,
    compression: CompressionMethod,
    size: u64,
}

/// Finds the manifest in an archive, whose central directory is walked without being kept in memory.
fn with_manifest<T>(
    path: &Path,
    read: impl FnOnce(&ZipArchive<FileReader>, ManifestEntry) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
    let archive = ZipArchive::from_file(File::open(path)?, &mut buffer)?;
    let mut entries = archive.entries(&mut buffer);
    let mut place = ManifestPlace::default();
    let mut found = None;
    while let Some(entry) = entries.next_entry()? {
        let candidate = || ManifestEntry {
            wayfinder: entry.wayfinder(),
            compression: entry.compression_method(),
            size: entry.uncompressed_size_hint(),
        };
        match place.visit(entry.file_path().as_ref()) {
            Visited::Root => return read(&archive, candidate()).map(Some),
            Visited::InFolder => found = Some(candidate()),
            Visited::Other => {}
        }
    }
    match found.filter(|_| place.has_one_folder()) {
        Some(found) => read(&archive, found).map(Some),
        None => Ok(None),
    }
}
