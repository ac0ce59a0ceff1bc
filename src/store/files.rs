//! Files that are written once: created exclusively, hashed on the way, synced, never overwritten.
//!
//! An error of a sync is never retried: after it the kernel may have dropped the pages (fsync's semantics on Linux).

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use sha2::Digest as _;

use crate::digest::{Sha1, Sha256};

/// What was written, in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digests {
    pub sha1: Sha1,
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
}

/// A new file that hashes what is written to it.
pub struct HashingFile {
    inner: BufWriter<Hashing>,
    path: PathBuf,
}

struct Hashing {
    file: File,
    sha1: sha1::Sha1,
    sha256: sha2::Sha256,
    size: u64,
}

impl HashingFile {
    /// Creates the file, which must not exist.
    ///
    /// # Errors
    /// Of the file system.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.with_context(|| format!("failed to create `{}`", path.display()))?;
        let sink = Hashing {
            file,
            sha1: sha1::Sha1::new(),
            sha256: sha2::Sha256::new(),
            size: 0,
        };
        Ok(Self {
            inner: BufWriter::with_capacity(1 << 18, sink),
            path: path.to_owned(),
        })
    }

    /// Writes what is buffered, makes the file read-only, syncs it and answers its digests.
    ///
    /// # Errors
    /// Of the file system.
    pub fn finish(self) -> anyhow::Result<Digests> {
        let failed = || format!("failed to write `{}`", self.path.display());
        let sink = self
            .inner
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .with_context(failed)?;
        sink.file
            .set_permissions(Permissions::from_mode(0o444))
            .with_context(failed)?;
        sink.file.sync_all().with_context(failed)?;
        Ok(Digests {
            sha1: Sha1(sink.sha1.finalize().into()),
            sha256: Sha256(sink.sha256.finalize().into()),
            size: sink.size,
        })
    }
}

impl Write for HashingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.sha1.update(&bytes[..written]);
        self.sha256.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a small file that must not exist, synced and read-only.
///
/// # Errors
/// Of the file system.
pub fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<Digests> {
    let mut file = HashingFile::create(path)?;
    file.write_all(bytes)
        .with_context(|| format!("failed to write `{}`", path.display()))?;
    file.finish()
}

/// Moves a synced file into place without ever overwriting: a file that is there must have the same bytes.
///
/// # Errors
/// Other bytes at the target, and errors of the file system.
pub fn link_new(from: &Path, to: &Path, sha256: Sha256) -> anyhow::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = super::hash_file(to)?;
            if there != sha256 {
                bail!(
                    "`{}` is there with other bytes (SHA-256 {there}, new {sha256})\nhint: published bytes never change; was the ledger lost?",
                    to.display()
                );
            }
        }
        Err(error) => {
            return Err(error)
                .with_context(|| format!("failed to link `{}` to `{}`", from.display(), to.display()));
        }
    }
    fs::remove_file(from).with_context(|| format!("failed to remove `{}`", from.display()))
}

/// Makes the names in a folder durable.
///
/// # Errors
/// Of the file system.
pub fn sync_directory(path: &Path) -> anyhow::Result<()> {
    let sync = || File::open(path)?.sync_all();
    sync().with_context(|| format!("failed to sync the folder `{}`", path.display()))
}
