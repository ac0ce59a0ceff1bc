//! Holds the metadata of each package, and of the repository, to `limits`: every client downloads it.
//!
//! A version beyond a limit fails before it is in the ledger, from which it could not be removed. What is published already
//! counts as it stands in the previous snapshot.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use parking_lot::Mutex;

use super::read_manifests;
use crate::config::Limits;
use crate::ledger::Release;
use crate::metadata::RenderCache;
use crate::store::StagedArchive;
use crate::store::snapshot::Snapshot;

/// What the metadata says of a version beside its manifest, in bytes: above all the URL and digest of its archive.
const ENTRY: u64 = 300;

/// The room that is left in the metadata.
pub(super) struct MetadataBudget<'a> {
    limits: &'a Limits,
    previous: Option<&'a Snapshot>,
    /// Read at the first claim: most cycles have none.
    used: Mutex<Option<Used>>,
}

struct Used {
    packages: BTreeMap<String, u64>,
    total: u64,
}

impl<'a> MetadataBudget<'a> {
    pub(super) fn new(limits: &'a Limits, previous: Option<&'a Snapshot>) -> Self {
        Self { limits, previous, used: Mutex::default() }
    }

    /// Takes the room for a new release, whose manifest is read from its archive.
    pub(super) fn claim(&self, archive: &StagedArchive, release: &Release) -> anyhow::Result<()> {
        let size = read_manifests::manifest_size(archive.path(), release);
        self.claim_bytes(&release.name, size.context("failed to read the new archive")?)
    }

    /// Takes the room for a version with a manifest of `size` bytes.
    fn claim_bytes(&self, package: &str, size: u64) -> anyhow::Result<()> {
        let mut used = self.used.lock();
        let used = used.get_or_insert_with(|| Used::new(self.previous));
        let size = size + ENTRY;
        let of_package = used.packages.get(package).copied().unwrap_or_default() + size;
        let Limits { package_metadata, metadata, .. } = *self.limits;
        ensure!(
            of_package <= package_metadata as u64,
            "the metadata of {package} would have {of_package} bytes, more than {package_metadata}\n\
             hint: `limits.package_metadata` in the configuration"
        );
        let total = used.total + size;
        ensure!(
            total <= metadata as u64,
            "the metadata of the repository would have {total} bytes, more than {metadata}\n\
             hint: `limits.metadata` in the configuration"
        );
        used.packages.insert(package.to_owned(), of_package);
        used.total = total;
        Ok(())
    }
}

impl Used {
    fn new(previous: Option<&Snapshot>) -> Self {
        let cache = previous.and_then(Snapshot::render_cache);
        let cache = cache.and_then(|cache| serde_json::from_slice::<RenderCache>(&cache).ok());
        let packages = cache.map(|cache| cache.ranges.package_sizes()).unwrap_or_default();
        Self { total: packages.values().sum(), packages }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_beyond_a_limit_are_refused_and_take_no_room() {
        let limits = Limits { package_metadata: 2000, metadata: 3000, ..Limits::default() };
        let budget = MetadataBudget::new(&limits, None);
        let claim =
            |package: &str, size: u64| budget.claim_bytes(package, size).map_err(|error| error.to_string());
        claim("a/a", 1000).unwrap();
        let error = claim("a/a", 1000).unwrap_err();
        assert!(error.starts_with("the metadata of a/a would have 2600 bytes, more than 2000"), "{error}");
        claim("a/a", 300).unwrap();
        let error = claim("a/b", 1000).unwrap_err();
        assert!(error.starts_with("the metadata of the repository would have 3200 bytes"), "{error}");
        claim("a/b", 700).unwrap();
    }
}
