//! What a repository publishes, wherever it is stored: on the volume, or in a bucket.

use std::sync::Arc;

use anyhow::Context as _;

use crate::bucket::reader::{ArchiveObject, LoadedState};
use crate::bucket::root::{StoredVariant, archive_key};
use crate::ledger::{Ledger, Release, end_of_lines};
use crate::server::{ArchiveBucket, Location, Variant};
use crate::store::RepositoryStore;
use crate::store::snapshot::{PublishedFile, Snapshot, SnapshotManifest};
use crate::store::variants::{self, Variants};
use crate::util::digest::Sha256;

/// A snapshot with everything that it publishes.
pub(crate) trait PublishedContents {
    fn manifest(&self) -> &SnapshotManifest;

    /// Reads the ledger, which may have more lines than are published.
    fn ledger<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T;

    /// Where the first lines of the ledger are, their length in bytes and their digest.
    fn ledger_lines(&self, lines: u64) -> anyhow::Result<(Location, u64, Sha256)>;

    /// Where a file of the snapshot is.
    fn metadata(&self, path: &str, file: &PublishedFile) -> anyhow::Result<Location>;

    /// Its compressed copies.
    fn metadata_variants(&self, sha256: Sha256) -> Vec<Variant>;

    /// Where an archive is, and its compressed copies.
    fn archive(&self, release: &Release) -> (Location, Vec<Variant>);
}

/// On the volume.
pub(crate) struct VolumeContents<'a> {
    store: &'a RepositoryStore,
    snapshot: Snapshot,
    variants: Variants,
}

impl<'a> VolumeContents<'a> {
    /// The newest snapshot, if there is one.
    pub(crate) fn newest(store: &'a RepositoryStore) -> anyhow::Result<Option<Self>> {
        let Some(snapshot) = store.newest_snapshot()? else { return Ok(None) };
        let variants = store.variants().unwrap_or_else(|error| {
            tracing::warn!("failed to read the compressed files, serving uncompressed: {error:#}");
            Variants::default()
        });
        Ok(Some(Self { store, snapshot, variants }))
    }
}

impl PublishedContents for VolumeContents<'_> {
    fn manifest(&self) -> &SnapshotManifest {
        &self.snapshot.manifest
    }

    fn ledger<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        self.store.ledger(read)
    }

    fn ledger_lines(&self, lines: u64) -> anyhow::Result<(Location, u64, Sha256)> {
        let (file, size, sha256) = self.store.ledger_file(lines)?;
        Ok((file.into(), size, sha256))
    }

    fn metadata(&self, path: &str, _: &PublishedFile) -> anyhow::Result<Location> {
        Ok(self.snapshot.folder.join(path).into())
    }

    fn metadata_variants(&self, sha256: Sha256) -> Vec<Variant> {
        let variant = |stored: &variants::Variant| Variant {
            coding: stored.coding,
            location: stored.file.clone().into(),
            size: stored.size,
            sha256: stored.sha256,
        };
        self.variants.get(sha256).iter().map(variant).collect()
    }

    fn archive(&self, release: &Release) -> (Location, Vec<Variant>) {
        (self.store.archive(release).into(), self.metadata_variants(release.sha256))
    }
}

/// In a bucket: metadata in memory, archives as objects.
pub(crate) struct BucketContents<'a> {
    pub(crate) loaded: &'a LoadedState,
    pub(crate) archives: &'a Arc<ArchiveBucket>,
}

impl PublishedContents for BucketContents<'_> {
    fn manifest(&self) -> &SnapshotManifest {
        &self.loaded.state.snapshot
    }

    fn ledger<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        read(self.loaded.ledger())
    }

    fn ledger_lines(&self, lines: u64) -> anyhow::Result<(Location, u64, Sha256)> {
        let text = self.loaded.ledger_text();
        let end = end_of_lines(text, lines);
        let end = end.context("the ledger in the bucket has fewer lines than are published")?;
        let text = text.slice(..end);
        Ok((Location::Memory(text.clone()), end as u64, Sha256::digest(&text)))
    }

    fn metadata(&self, path: &str, file: &PublishedFile) -> anyhow::Result<Location> {
        let bytes = self.loaded.content(file.sha256);
        bytes.map(Location::Memory).with_context(|| format!("the state in the bucket has no `{path}`"))
    }

    fn metadata_variants(&self, sha256: Sha256) -> Vec<Variant> {
        let copies = self.loaded.state.variants.get(&sha256).into_iter().flatten();
        let variant = |copy: &StoredVariant| {
            let location = Location::Memory(self.loaded.content(copy.sha256)?);
            Some(Variant { coding: copy.coding, location, size: copy.size, sha256: copy.sha256 })
        };
        copies.filter_map(variant).collect()
    }

    fn archive(&self, release: &Release) -> (Location, Vec<Variant>) {
        let location = |key: &str| Location::Object(self.archives.object(key));
        let copy = |object: ArchiveObject| {
            let ArchiveObject { ref key, coding, sha256, size } = object;
            Some(Variant { coding: coding?, location: location(key), size, sha256 })
        };
        let copies = self.loaded.archive_objects(release).into_iter().filter_map(copy);
        let own = archive_key(&self.loaded.state.repository, &release.path());
        (location(&own), copies.collect())
    }
}
