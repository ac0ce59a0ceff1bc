//! The folder in which one writer prepares what it publishes: `<repository>/tmp/<writer>/`.
//!
//! Everything that becomes public is linked or renamed out of this folder. The next writer moves the folder away before it
//! reads anything, and that is the fence: a writer that was paused, lost its lock and resumes late finds nothing left to
//! publish and nowhere to write, at whatever instruction it stopped.
//!
//! An archive keeps its name in this folder until its ledger line is durable. So a file in `packages/` that is the same
//! file as one in a dead writer's folder, and is not in the ledger, was never published and is a leftover, too.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{durable_fs, filesystem_check};
use crate::ledger::Ledger;

/// A writer's own folder, removed when it ends.
#[derive(Debug)]
pub(super) struct Staging {
    folder: PathBuf,
    /// The leftovers of dead writers, moved into `folder`.
    taken: Vec<PathBuf>,
}

impl Staging {
    /// Whether an earlier writer left something behind.
    pub(super) fn has_leftovers(root: &Path) -> bool {
        fs::read_dir(root.join("tmp")).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Creates the folders of a repository and of a new writer, and takes over from all others.
    pub(super) fn claim(root: &Path) -> anyhow::Result<Self> {
        for folder in ["packages", "snapshots", "tmp"] {
            durable_fs::create_directory(&root.join(folder))?;
        }
        let tmp = root.join("tmp");
        let folder = tmp.join(format!("{}-{}", std::process::id(), durable_fs::random_name::<8>()?));
        fs::create_dir(&folder).with_context(|| format!("failed to create `{}`", folder.display()))?;
        let mut staging = Self { folder, taken: Vec::new() };
        staging.take_over(&tmp)?;
        filesystem_check::check(&staging.folder)?;
        Ok(staging)
    }

    fn take_over(&mut self, tmp: &Path) -> anyhow::Result<()> {
        let listed = || format!("failed to list `{}`", tmp.display());
        for entry in fs::read_dir(tmp).with_context(listed)? {
            let path = entry.with_context(listed)?.path();
            if path == self.folder {
                continue;
            }
            let to = self.folder.join(format!("taken-{}", self.taken.len()));
            match fs::rename(&path, &to) {
                Ok(()) => self.taken.push(to),
                // Its writer has just ended and removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("failed to move `{}`", path.display()));
                }
            }
        }
        Ok(())
    }

    /// Removes the leftovers of dead writers, including archives that they linked but did not add to the ledger.
    pub(super) fn clean(&mut self, root: &Path, ledger: &Ledger) -> anyhow::Result<()> {
        if self.taken.is_empty() {
            return Ok(());
        }
        let mut linked = HashSet::new();
        for path in &self.taken {
            linked_files(path, &mut linked)?;
        }
        if !linked.is_empty() {
            let published: HashSet<_> =
                ledger.with_renditions().map(|release| root.join(release.path())).collect();
            remove_linked(&root.join("packages"), &linked, &published)?;
        }
        for path in self.taken.drain(..) {
            tracing::info!(folder = %root.display(), "removing the leftovers of an interrupted cycle");
            remove(&path)?;
        }
        Ok(())
    }

    /// The path of a file in this folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether another writer has taken over.
    pub(super) fn is_lost(&self) -> bool {
        !self.folder.exists()
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // The next writer needs these leftovers to find archives that were never published.
        for (i, taken) in self.taken.iter().enumerate() {
            let mut name = self.folder.clone().into_os_string();
            name.push(format!("-{i}"));
            if let Err(error) = fs::rename(taken, name) {
                tracing::debug!(%error, "failed to return the leftovers of another writer");
                return;
            }
        }
        if let Err(error) = remove(&self.folder) {
            tracing::debug!("{error:#}");
        }
    }
}

/// Device and inode of each file below `path` that has a second name.
fn linked_files(path: &Path, into: &mut HashSet<(u64, u64)>) -> anyhow::Result<()> {
    let found = fs::symlink_metadata(path)
        .with_context(|| format!("failed to read the metadata of `{}`", path.display()))?;
    if found.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("failed to list `{}`", path.display()))? {
            linked_files(&entry?.path(), into)?;
        }
    } else if found.is_file() && found.nlink() > 1 {
        into.insert((found.dev(), found.ino()));
    }
    Ok(())
}

fn remove_linked(
    folder: &Path,
    linked: &HashSet<(u64, u64)>,
    published: &HashSet<PathBuf>,
) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("failed to list `{}`", folder.display()))? {
        let path = entry?.path();
        let found = fs::symlink_metadata(&path)
            .with_context(|| format!("failed to read the metadata of `{}`", path.display()))?;
        if found.is_dir() {
            remove_linked(&path, linked, published)?;
        } else if linked.contains(&(found.dev(), found.ino())) && !published.contains(&path) {
            tracing::info!(file = %path.display(), "removing an unpublished archive of an interrupted cycle");
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes a file or a folder with its contents.
pub(super) fn remove(path: &Path) -> anyhow::Result<()> {
    let removed =
        if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.with_context(|| format!("failed to remove `{}`", path.display()))
}
