//! The file `STORE` in the root of the volume: its format, the program that wrote it, its id and its repositories.
//!
//! ```text
//! mirror store 2
//! written by mirror 1.0.0
//! id 5f0c2b9d7c1e4e0aa3f6b8d9c0e1f2a3
//! repository magento
//! ```
//!
//! A repository is listed once it has published something, so that a partly mounted volume is refused instead of started
//! empty. Format 1 had the first line only. Format 3 has a line `withdrawals magento` for each repository with withdrawn versions,
//! which programs for format 2 would publish again. Format 4 has a line `renditions magento` for each repository with renditions
//! of bound packages, which programs for format 3 would not serve.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::durable_fs;
use crate::util::file_lock;

/// The format of a volume on which nothing was ever withdrawn.
const FORMAT: u32 = 2;

/// The format of a volume with withdrawn versions.
const WITH_WITHDRAWALS: u32 = 3;

/// The format of a volume with renditions.
const WITH_RENDITIONS: u32 = 4;

/// The newest format that this program supports; it reads all older ones.
pub const NEWEST_FORMAT: u32 = WITH_RENDITIONS;

/// What is listed of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// It has a ledger.
    Ledger,
    /// It has a record of withdrawals.
    Withdrawals,
    /// It has renditions of bound packages.
    Renditions,
}

/// The contents of `STORE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VolumeMarker {
    pub(super) format: u32,
    /// The version of the program that wrote it; empty in format 1.
    writer: String,
    /// Identifies this volume; empty in format 1.
    pub(super) id: String,
    /// The repositories that have a ledger.
    pub(super) repositories: BTreeSet<String>,
    /// The repositories that have a record of withdrawals.
    pub(super) withdrawals: BTreeSet<String>,
    /// The repositories that have renditions of bound packages.
    pub(super) renditions: BTreeSet<String>,
}

impl VolumeMarker {
    /// For a new volume.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            format: FORMAT,
            writer: env!("CARGO_PKG_VERSION").into(),
            id: durable_fs::random_name::<16>()?,
            repositories: BTreeSet::new(),
            withdrawals: BTreeSet::new(),
            renditions: BTreeSet::new(),
        })
    }

    /// Lists something of a repository. Returns whether it is new.
    pub(super) fn add(&mut self, name: &str, entry: Entry) -> bool {
        let (format, names) = match entry {
            Entry::Ledger => return self.repositories.insert(name.to_owned()),
            Entry::Withdrawals => (WITH_WITHDRAWALS, &mut self.withdrawals),
            Entry::Renditions => (WITH_RENDITIONS, &mut self.renditions),
        };
        let is_raised = self.format < format;
        if is_raised {
            (self.format, self.writer) = (format, env!("CARGO_PKG_VERSION").into());
        }
        names.insert(name.to_owned()) || is_raised
    }

    /// Reads the file in `root`; `None` if there is none.
    pub(super) fn read(root: &Path) -> anyhow::Result<Option<Self>> {
        let path = root.join("STORE");
        let Some(text) = durable_fs::read_existing(&path)? else {
            return Ok(None);
        };
        let Some(marker) = str::from_utf8(&text).ok().and_then(parse) else {
            bail!(
                "`{}` is damaged: it does not begin with `mirror store` and a number\nhint: restore it from a backup",
                path.display()
            );
        };
        if marker.format > NEWEST_FORMAT {
            let image = match marker.writer.as_str() {
                "" => "the image version that wrote this volume".to_owned(),
                version => format!("image version {version}, which wrote this volume"),
            };
            bail!(
                "`{}` says `mirror store {}`, but this version ({}) supports formats up to {NEWEST_FORMAT}\nhint: use {image}, or a newer one",
                path.display(),
                marker.format,
                env!("CARGO_PKG_VERSION")
            );
        }
        Ok(Some(marker))
    }

    /// Whether the volume has to be migrated.
    pub(super) fn is_old(&self) -> bool {
        self.format < FORMAT
    }

    /// Waits until no other process replaces the file. The lock ends with the returned file, which is one of its own: `STORE`
    /// is replaced, and cannot be opened for writing, as NFS requires of a lock.
    pub(super) fn lock(root: &Path) -> anyhow::Result<File> {
        let path = root.join("STORE.lock");
        let lock = || -> io::Result<File> {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            match file.lock() {
                Err(error) if !file_lock::is_unsupported(&error) => Err(error),
                _ => Ok(file),
            }
        };
        lock().with_context(|| format!("failed to lock `{}`", path.display()))
    }

    /// Replaces the file atomically.
    pub(super) fn write(&self, root: &Path) -> anyhow::Result<()> {
        durable_fs::replace_with(&root.join("STORE.new"), &root.join("STORE"), self.to_string().as_bytes())
    }
}

fn parse(text: &str) -> Option<VolumeMarker> {
    let mut lines = text.lines();
    let format = lines.next()?.strip_prefix("mirror store ")?.parse().ok()?;
    let mut marker = VolumeMarker {
        format,
        writer: String::new(),
        id: String::new(),
        repositories: BTreeSet::new(),
        withdrawals: BTreeSet::new(),
        renditions: BTreeSet::new(),
    };
    for line in lines {
        if let Some(version) = line.strip_prefix("written by mirror ") {
            version.clone_into(&mut marker.writer);
        } else if let Some(id) = line.strip_prefix("id ") {
            id.clone_into(&mut marker.id);
        } else if let Some(name) = line.strip_prefix("repository ") {
            marker.repositories.insert(name.to_owned());
        } else if let Some(name) = line.strip_prefix("withdrawals ") {
            marker.withdrawals.insert(name.to_owned());
        } else if let Some(name) = line.strip_prefix("renditions ") {
            marker.renditions.insert(name.to_owned());
        }
    }
    Some(marker)
}

impl fmt::Display for VolumeMarker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "mirror store {}", self.format)?;
        writeln!(f, "written by mirror {}", self.writer)?;
        writeln!(f, "id {}", self.id)?;
        for name in &self.repositories {
            writeln!(f, "repository {name}")?;
        }
        for name in &self.withdrawals {
            writeln!(f, "withdrawals {name}")?;
        }
        for name in &self.renditions {
            writeln!(f, "renditions {name}")?;
        }
        Ok(())
    }
}
