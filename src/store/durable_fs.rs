//! Files that are written once: created exclusively, hashed while they are written, synced, never overwritten.
//!
//! Every system call that changes published files is in this file. A failed sync is never retried: Linux may have dropped
//! the pages, so a retry could succeed without the data. The cycle that gets [`Unsynced`] ends.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::fd::IntoRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use sha2::Digest as _;

use crate::util::digest::{Sha1, Sha256};

/// Random bytes in hexadecimal: a name that is unique even among containers, whose processes may share an id.
pub(crate) fn random_name<const BYTES: usize>() -> anyhow::Result<String> {
    let mut random = [0; BYTES];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .context("failed to get random bytes")?;
    Ok(hex::encode(random))
}

/// A failed sync: it is unknown which of the written data is on the disk.
#[derive(Debug, thiserror::Error)]
#[error("failed to sync `{}`: {error}", .path.display())]
pub struct Unsynced {
    path: PathBuf,
    error: Errno,
}

/// The digests and size of written data.
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

/// A writer that hashes what is written to it.
pub struct HashingWriter<W> {
    sink: W,
    sha1: sha1::Sha1,
    sha256: sha2::Sha256,
    size: u64,
}

impl<W> HashingWriter<W> {
    fn new(sink: W) -> Self {
        Self { sink, sha1: sha1::Sha1::new(), sha256: sha2::Sha256::new(), size: 0 }
    }

    /// The digests of everything that was written.
    pub fn digests(self) -> Digests {
        self.into_parts().1
    }

    fn into_parts(self) -> (W, Digests) {
        let digests = Digests {
            sha1: Sha1(self.sha1.finalize().into()),
            sha256: Sha256(self.sha256.finalize().into()),
            size: self.size,
        };
        (self.sink, digests)
    }
}

impl HashingWriter<io::Sink> {
    /// Only hashes.
    pub fn sink() -> Self {
        Self::new(io::sink())
    }
}

impl HashingFile {
    /// Creates the file; fails if it exists.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.with_context(|| format!("failed to create `{}`", path.display()))?;
        Ok(Self { inner: BufWriter::with_capacity(1 << 18, HashingWriter::new(file)), path: path.to_owned() })
    }

    /// Flushes the buffer, makes the file read-only and syncs it.
    pub fn finish(self) -> anyhow::Result<Digests> {
        let failed = || format!("failed to write `{}`", self.path.display());
        let mut hashed =
            self.inner.into_inner().map_err(io::IntoInnerError::into_error).with_context(failed)?;
        hashed.flush().with_context(failed)?;
        let (file, digests) = hashed.into_parts();
        file.set_permissions(Permissions::from_mode(0o444)).with_context(failed)?;
        sync(&file, &self.path)?;
        close(file, &self.path)?;
        Ok(digests)
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

/// Writes a small file, synced and read-only; fails if it exists.
pub fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<Digests> {
    let mut file = HashingFile::create(path)?;
    file.write_all(bytes).with_context(|| format!("failed to write `{}`", path.display()))?;
    file.finish()
}

/// Links a synced file to its public name, never overwriting: an existing file must have the same bytes.
pub fn link_new(from: &Path, to: &Path, sha256: Sha256) -> anyhow::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            verify_same_content(to, sha256)?;
            // The process that linked it may have been killed before it was durable.
            let file = File::open(to).with_context(|| format!("failed to open `{}`", to.display()))?;
            Ok(sync(&file, to)?)
        }
        Err(error) => {
            Err(error).with_context(|| format!("failed to link `{}` to `{}`", from.display(), to.display()))
        }
    }
}

/// Fails if the bytes of a published file differ from the new ones.
pub fn verify_same_content(file: &Path, sha256: Sha256) -> anyhow::Result<()> {
    let existing = hash(file)?;
    if existing != sha256 {
        bail!(
            "`{}` already exists with different bytes (SHA-256 {existing}, new {sha256})\nhint: published bytes never change; check whether the ledger was lost. If the file was never published, remove it",
            file.display()
        );
    }
    Ok(())
}

/// Renames a folder to its public name; fails if that is taken.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network file systems lack the flag; without it a folder still cannot replace one that has entries.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => fs::rename(from, to),
        result => Ok(result?),
    }
}

/// The bytes of a file; `None` if there is none.
pub fn read_existing(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read `{}`", path.display())),
    }
}

/// Atomically replaces a file by one with these bytes, which are written and synced at `temporary`.
pub fn replace_with(temporary: &Path, path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("failed to remove `{}`", temporary.display()));
        }
        _ => {}
    }
    write_new(temporary, bytes)?;
    replace(temporary, path)
}

/// Atomically replaces a file by a synced one.
pub fn replace(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::rename(from, to)
        .with_context(|| format!("failed to rename `{}` to `{}`", from.display(), to.display()))?;
    to.parent().map_or(Ok(()), sync_directory)
}

/// Creates a folder and its missing parents, each name synced.
pub fn create_directory(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_directory(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("failed to create `{}`", path.display()))
        }
        _ => path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_directory),
    }
}

/// Creates a folder if it is missing, and closes it to users who are neither its owner nor in its group.
pub fn close_to_others(path: &Path) -> anyhow::Result<()> {
    create_directory(path)?;
    let failed = || {
        format!(
            "failed to close the folder `{0}` of a private repository to other users\nhint: as its owner, run `chmod o= {0}`",
            path.display()
        )
    };
    let mode = fs::metadata(path).with_context(failed)?.permissions().mode();
    match mode & 0o007 {
        0 => Ok(()),
        _ => fs::set_permissions(path, Permissions::from_mode(mode & 0o7770)).with_context(failed),
    }
}

/// Syncs the names in a folder.
pub fn sync_directory(path: &Path) -> anyhow::Result<()> {
    let folder =
        File::open(path).with_context(|| format!("failed to open the folder `{}`", path.display()))?;
    Ok(sync(&folder, path)?)
}

/// Reads a file. One that ends before its size could not be read: its bytes may be intact.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes)?;
    ensure_whole(bytes.len() as u64, size)?;
    Ok(bytes)
}

/// How often a folder is listed that changes in between.
const LISTINGS: usize = 3;

/// The names of the folders in a folder. A listing that ended too early has fewer than the links of the folder: two, and one from
/// each folder in it. Some file systems do not count these.
pub(super) fn folders(path: &Path) -> io::Result<Vec<OsString>> {
    let links = || Ok::<_, io::Error>(fs::metadata(path)?.nlink().saturating_sub(2));
    for _ in 0..LISTINGS {
        let (before, mut names) = (links()?, Vec::new());
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                names.push(entry.file_name());
            }
        }
        if names.len() as u64 >= before.min(links()?) {
            return Ok(names);
        }
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the list of its folders ended too early"))
}

/// Fails if fewer bytes of a file were read than it has.
pub(super) fn ensure_whole(read: u64, size: u64) -> io::Result<()> {
    if read < size {
        let message = format!("it ended after {read} of {size} bytes");
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
    }
    Ok(())
}

/// The SHA-256 of a file's contents.
pub fn hash(path: &Path) -> anyhow::Result<Sha256> {
    let mut file = File::open(path).with_context(|| format!("failed to open `{}`", path.display()))?;
    let failed = || format!("failed to read `{}`", path.display());
    let size = file.metadata().with_context(failed)?.len();
    let (mut hasher, mut read, mut buffer) = (sha2::Sha256::new(), 0, vec![0; 1 << 18]);
    loop {
        match io::Read::read(&mut file, &mut buffer).with_context(failed)? {
            0 => break,
            n => {
                hasher.update(&buffer[..n]);
                read += n as u64;
            }
        }
    }
    ensure_whole(read, size).with_context(failed)?;
    Ok(Sha256(hasher.finalize().into()))
}

/// Unlike `File::sync_all`, does not retry after EINTR.
fn sync(file: &File, path: &Path) -> Result<(), Unsynced> {
    rustix::fs::fsync(file).map_err(|error| Unsynced { path: path.to_owned(), error })
}

/// Closes a file with its error, which dropping would hide: a network file system reports a lost write there.
fn close(file: File, path: &Path) -> Result<(), Unsynced> {
    // SAFETY: the descriptor is open, and `into_raw_fd` has released the only handle to it.
    unsafe { rustix::io::try_close(file.into_raw_fd()) }
        .map_err(|error| Unsynced { path: path.to_owned(), error })
}
