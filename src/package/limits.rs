//! Checks of a package's size against `limits` in the configuration, since upstream is not trusted.
//!
//! A package beyond a limit fails before its contents are read into memory.

use anyhow::{Context as _, ensure};

use super::plan::ManifestSource;
use crate::config::Limits;
use crate::git::{BareClone, Blob, ObjectId};

/// Reads a manifest from a clone.
pub(super) fn read_manifest<'c>(
    limits: &Limits,
    clone: &'c BareClone,
    id: ObjectId,
) -> anyhow::Result<Blob<'c>> {
    let size = clone.blob_size(id)?;
    ensure!(
        size <= limits.manifest as u64,
        "its composer.json has {size} bytes, more than {}\nhint: `limits.manifest` in the configuration",
        limits.manifest
    );
    Ok(clone.blob(id)?)
}

/// The size of a manifest that is not derived.
pub(super) fn manifest_size(clone: &BareClone, manifest: &ManifestSource) -> anyhow::Result<u64> {
    Ok(match manifest {
        ManifestSource::Blob(blob) => clone.blob_size(*blob)?,
        ManifestSource::Resource(text) => text.len() as u64,
        ManifestSource::Derived(_) => 0,
    })
}

pub(crate) fn check_file_size(limits: &Limits, path: &str, size: u64) -> anyhow::Result<()> {
    ensure!(
        size <= limits.file as u64,
        "`{path}` has {size} bytes, more than {}\nhint: `limits.file` in the configuration",
        limits.file
    );
    Ok(())
}

pub(crate) fn check_archive_size(limits: &Limits, path: &str, size: u64) -> anyhow::Result<()> {
    ensure!(
        size <= limits.archive as u64,
        "`{path}` has {size} bytes, more than {}\nhint: `limits.archive` in the configuration",
        limits.archive
    );
    Ok(())
}

pub(super) fn check_entries(limits: &Limits, entries: usize) -> anyhow::Result<()> {
    ensure!(
        entries <= limits.entries.get(),
        "it has more than {} files and folders\nhint: `limits.entries` in the configuration",
        limits.entries
    );
    Ok(())
}

pub(super) fn check_depth(limits: &Limits, path: &str) -> anyhow::Result<()> {
    ensure!(
        path.matches('/').count() < limits.depth.get(),
        "its folders are nested more than {} deep\nhint: `limits.depth` in the configuration",
        limits.depth
    );
    Ok(())
}

/// What one planning keeps in memory: many tags may share one large manifest, and each is a version with all that it requires.
pub(super) struct PlanBudget<'a> {
    limits: &'a Limits,
    manifests: u64,
    requires: usize,
}

impl<'a> PlanBudget<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self { limits, manifests: 0, requires: 0 }
    }

    /// Beside what is not released, a plan has the versions that are published or will be: ten of them for each entry of the
    /// report.
    fn most(&self) -> usize {
        self.limits.report_entries.get().saturating_mul(10)
    }

    /// Fails if a plan has too many versions.
    pub(super) fn check_versions(&self, versions: usize) -> anyhow::Result<()> {
        ensure!(
            versions <= self.most(),
            "its tags have more than {} versions of packages together, ten times `limits.report_entries` in the configuration",
            self.most()
        );
        Ok(())
    }

    /// Takes the room for a manifest of `size` bytes. There may be twice as much as the metadata of the repository may have,
    /// since not everything that is planned is published.
    pub(super) fn claim_manifest(&mut self, size: u64) -> anyhow::Result<()> {
        let manifests = self.manifests + size;
        ensure!(
            manifests <= 2 * self.limits.metadata as u64,
            "the manifests of its source's new versions have {manifests} bytes together, more than twice {}\nhint: `limits.metadata` in the configuration",
            self.limits.metadata
        );
        self.manifests = manifests;
        Ok(())
    }

    /// Takes the room for so many exact versions that a package requires.
    pub(super) fn claim_requires(&mut self, requires: usize) -> anyhow::Result<()> {
        let requires = self.requires + requires;
        ensure!(
            requires <= self.most(),
            "the new versions of its source require {requires} exact versions together, more than ten times {}\nhint: `limits.report_entries` in the configuration",
            self.limits.report_entries
        );
        self.requires = requires;
        Ok(())
    }
}

/// Checks that a report of so many entries is no longer than `limits.report_entries`.
pub(crate) fn check_report(limits: &Limits, entries: usize) -> anyhow::Result<()> {
    let limit = limits.report_entries;
    ensure!(
        entries <= limit.get(),
        "its report has {entries} tags and packages that are not released, more than {limit}\nhint: `limits.report_entries` in the configuration"
    );
    Ok(())
}

/// The rest of `limits.package` after another `bytes` of `left`.
pub(super) fn spend(limits: &Limits, left: u64, bytes: u64) -> anyhow::Result<u64> {
    left.checked_sub(bytes).with_context(|| {
        format!(
            "its files have more than {} bytes\nhint: `limits.package` in the configuration",
            limits.package
        )
    })
}
