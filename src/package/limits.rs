//! Limits on the size of packages (`limits` in the configuration), since upstream is not trusted.
//!
//! A package beyond a limit fails before its contents are read into memory.

use anyhow::{Context as _, ensure};

use crate::git::{BareClone, Blob, ObjectId};

/// The largest package that is built, or taken as a prebuilt archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a composer.json.
    pub manifest: u64,
    /// Bytes of one file.
    pub file: u64,
    /// Bytes of all files of a package, unpacked.
    pub package: u64,
    /// Files and folders of a package.
    pub entries: u64,
    /// The depth of nested folders.
    pub depth: usize,
}

impl Limits {
    /// Reads a manifest from a clone.
    pub fn manifest<'c>(&self, clone: &'c BareClone, id: ObjectId) -> anyhow::Result<Blob<'c>> {
        let size = clone.blob_size(id)?;
        ensure!(
            size <= self.manifest,
            "its composer.json has {size} bytes, more than {}\nhint: `limits.manifest` in the configuration",
            self.manifest
        );
        Ok(clone.blob(id)?)
    }

    pub(super) fn allow_file(&self, path: &str, size: u64) -> anyhow::Result<()> {
        ensure!(
            size <= self.file,
            "`{path}` has {size} bytes, more than {}\nhint: `limits.file` in the configuration",
            self.file
        );
        Ok(())
    }

    pub(super) fn allow_entries(&self, entries: u64) -> anyhow::Result<()> {
        ensure!(
            entries <= self.entries,
            "it has more than {} files and folders\nhint: `limits.entries` in the configuration",
            self.entries
        );
        Ok(())
    }

    pub(super) fn allow_depth(&self, path: &str) -> anyhow::Result<()> {
        ensure!(
            path.matches('/').count() < self.depth,
            "its folders are nested more than {} deep\nhint: `limits.depth` in the configuration",
            self.depth
        );
        Ok(())
    }

    /// The rest of `package` after another `bytes`.
    pub(super) fn spend(&self, left: u64, bytes: u64) -> anyhow::Result<u64> {
        left.checked_sub(bytes).with_context(|| {
            format!(
                "its files have more than {} bytes\nhint: `limits.package` in the configuration",
                self.package
            )
        })
    }
}
