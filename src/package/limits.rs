//! Checks of a package's size against `limits` in the configuration, since upstream is not trusted.
//!
//! A package beyond a limit fails before its contents are read into memory.

use anyhow::{Context as _, ensure};

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

/// The rest of `limits.package` after another `bytes` of `left`.
pub(super) fn spend(limits: &Limits, left: u64, bytes: u64) -> anyhow::Result<u64> {
    left.checked_sub(bytes).with_context(|| {
        format!(
            "its files have more than {} bytes\nhint: `limits.package` in the configuration",
            limits.package
        )
    })
}
