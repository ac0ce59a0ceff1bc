//! Files that are written once: created exclusively, hashed on the way, synced, never overwritten.
//!
//! Every system call that changes what is published is in this file. An error of a sync is never retried: after it the
//! kernel may have dropped the pages (fsync's semantics on Linux), so whoever meets [`Unsynced`] gives up its work.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::fd::IntoRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use sha2::Digest as _;

use crate::util::digest::{Sha1, Sha256};

/// So many random bytes in hexadecimal: a name that no other process takes, whatever its number is.
///
/// # Errors
/// The system has no random numbers.
pub(super) fn random_name<const BYTES: usize>() -> anyhow::Result<String> {
    let mut random = [0; BYTES];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .context("failed to get random bytes")?;
    Ok(hex::encode(random))
}

/// The disk may not have what was written; it is unknown what it has.
#[derive(Debug, thiserror::Error)]
#[error("failed to sync `{}`: {error}", .path.display())]
pub struct Unsynced {
    path: PathBuf,
    error: Errno,
}

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
    inner: BufWriter<HashingWriter<File>>,
    path: PathBuf,
}

/// A sink that hashes what is written to it.
pub struct HashingWriter<W> {
    sink: W,
    sha1: sha1::Sha1,
    sha256: sha2::Sha256,
    size: u64,
}

impl<W> HashingWriter<W> {
    fn new(sink: W) -> Self {
        Self {
            sink,
            sha1: sha1::Sha1::new(),
            sha256: sha2::Sha256::new(),
            size: 0,
        }
    }

    /// What was written until now.
    pub fn digests(self) -> Digests {
        Digests {
            sha1: Sha1(self.sha1.finalize().into()),
            sha256: Sha256(self.sha256.finalize().into()),
            size: self.size,
        }
    }
}

impl HashingWriter<io::Sink> {
    /// Hashes only.
    pub fn sink() -> Self {
        Self::new(io::sink())
    }
}

impl HashingFile {
    /// Creates the file, which must not exist.
    ///
    /// # Errors
    /// Of the file system.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.with_context(|| format!("failed to create `{}`", path.display()))?;
        Ok(Self {
            inner: BufWriter::with_capacity(1 << 18, HashingWriter::new(file)),
            path: path.to_owned(),
        })
    }

    /// Writes what is buffered, makes the file read-only, syncs it and answers its digests.
    ///
    /// # Errors
    /// Of the file system.
    pub fn finish(self) -> anyhow::Result<Digests> {
        let failed = || format!("failed to write `{}`", self.path.display());
        let mut hashed = self
            .inner
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .with_context(failed)?;
        hashed.flush().with_context(failed)?;
        let HashingWriter {
            sink: file,
            sha1,
            sha256,
            size,
        } = hashed;
        file.set_permissions(Permissions::from_mode(0o444))
            .with_context(failed)?;
        sync(&file, &self.path)?;
        close(file, &self.path)?;
        Ok(Digests {
            sha1: Sha1(sha1.finalize().into()),
            sha256: Sha256(sha256.finalize().into()),
            size,
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

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.sink.write(bytes)?;
        self.sha1.update(&bytes[..written]);
        self.sha256.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
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

/// Gives a synced file its public name without ever overwriting: a file that is there must have the same bytes. The
/// first name stays.
///
/// # Errors
/// Other bytes at the target, and errors of the file system.
pub fn link_new(from: &Path, to: &Path, sha256: Sha256) -> anyhow::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            verify_same_content(to, sha256)?;
            // Whoever put it there may have been killed before it was durable.
            let file = File::open(to).with_context(|| format!("failed to open `{}`", to.display()))?;
            Ok(sync(&file, to)?)
        }
        Err(error) => {
            Err(error).with_context(|| format!("failed to link `{}` to `{}`", from.display(), to.display()))
        }
    }
}

/// Whether a file may be published with these bytes: there is none, or it has them.
///
/// # Errors
/// Other bytes, and errors of reading them.
pub fn verify_same_content(file: &Path, sha256: Sha256) -> anyhow::Result<()> {
    let there = hash(file)?;
    if there != sha256 {
        bail!(
            "`{}` is there with other bytes (SHA-256 {there}, new {sha256})\nhint: published bytes never change; was the ledger lost? If the file was never published, remove it",
            file.display()
        );
    }
    Ok(())
}

/// Gives a folder its public name, which must be free.
///
/// # Errors
/// A name that is taken, and errors of the file system.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every network file system knows the flag; there a folder still never replaces one that has entries.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => fs::rename(from, to),
        result => Ok(result?),
    }
}

/// Puts a synced file in the place of another one, in one step.
///
/// # Errors
/// Of the file system.
pub fn replace(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::rename(from, to)
        .with_context(|| format!("failed to rename `{}` to `{}`", from.display(), to.display()))?;
    to.parent().map_or(Ok(()), sync_directory)
}

/// Creates a folder and what is missing above it, each name durable.
///
/// # Errors
/// Of the file system.
pub fn create_directory(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        create_directory(above)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("failed to create `{}`", path.display()))
        }
        _ => path
            .parent()
            .filter(|above| !above.as_os_str().is_empty())
            .map_or(Ok(()), sync_directory),
    }
}

/// Makes the names in a folder durable.
///
/// # Errors
/// Of the file system.
pub fn sync_directory(path: &Path) -> anyhow::Result<()> {
    let folder =
        File::open(path).with_context(|| format!("failed to open the folder `{}`", path.display()))?;
    Ok(sync(&folder, path)?)
}

/// The SHA-256 of a file's contents.
///
/// # Errors
/// Of reading it.
pub fn hash(path: &Path) -> anyhow::Result<Sha256> {
    let mut hasher = sha2::Sha256::new();
    let mut file = File::open(path).with_context(|| format!("failed to open `{}`", path.display()))?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        match io::Read::read(&mut file, &mut buffer)
            .with_context(|| format!("failed to read `{}`", path.display()))?
        {
            0 => return Ok(Sha256(hasher.finalize().into())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// `File::sync_all` would try again after EINTR.
fn sync(file: &File, path: &Path) -> Result<(), Unsynced> {
    rustix::fs::fsync(file).map_err(|error| Unsynced {
        path: path.to_owned(),
        error,
    })
}

/// Dropping a file hides the error of its close, by which a network file system tells of a lost write.
fn close(file: File, path: &Path) -> Result<(), Unsynced> {
    // SAFETY: the descriptor is open, and `into_raw_fd` has given up the only handle to it.
    unsafe { rustix::io::try_close(file.into_raw_fd()) }.map_err(|error| Unsynced {
        path: path.to_owned(),
        error,
    })
}
