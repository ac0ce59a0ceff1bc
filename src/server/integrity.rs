//! Verifies that a file on disk still has the published bytes, before any of them is sent.
//!
//! The first request for a file hashes all of it and, if the SHA-256 is right, records a CRC of each chunk. Later requests check
//! only the CRCs of the chunks that they send, which is much cheaper and still finds every flipped bit. A file that was verified
//! as a whole is trusted for some seconds while the file system reports no change; not for longer, because a decaying disk
//! changes neither size nor date.

use std::fs::{File, Metadata};
use std::io::{self, Error, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use sha2::Digest as _;

use crate::util::digest::Sha256;

/// How much is read and verified at a time.
pub(super) const CHUNK: u64 = 64 << 10;

/// How long a verification is trusted.
const FRESH: Duration = Duration::from_secs(10);

/// A file that changed within this time may change again without a new date: the clocks of file systems are coarse.
const SETTLED: Duration = Duration::from_secs(2);

/// The checksums of one published file. Clones share them, and the next site takes them over.
#[derive(Clone)]
pub(super) struct Integrity(Arc<Checksums>);

struct Checksums {
    size: u64,
    sha256: Sha256,
    /// The CRC of each chunk, once the SHA-256 was found right.
    chunks: OnceLock<Box<[u32]>>,
    /// The last verification of the whole file.
    verified: Mutex<Option<Box<Verified>>>,
}

/// A successful verification of a file.
#[derive(Clone, Copy)]
pub(super) struct Verified {
    stamp: Stamp,
    at: Instant,
}

/// Metadata by which another file, or a changed one, is recognized.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn new(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether any further change would get another date.
    fn is_settled(&self) -> bool {
        let changed = UNIX_EPOCH + Duration::from_secs(self.changed.0.unsigned_abs());
        SystemTime::now().duration_since(changed).is_ok_and(|age| age > SETTLED)
    }
}

impl Verified {
    /// Whether the verification is still trusted.
    pub(super) fn is_current(&self, file: &File) -> bool {
        self.at.elapsed() < FRESH && file.metadata().is_ok_and(|now| Stamp::new(&now) == self.stamp)
    }
}

impl Integrity {
    pub(super) fn new(size: u64, sha256: Sha256) -> Self {
        Self(Arc::new(Checksums { size, sha256, chunks: OnceLock::new(), verified: Mutex::default() }))
    }

    /// Whether both are about the same bytes.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.0.sha256 == other.0.sha256
    }

    pub(super) fn size(&self) -> u64 {
        self.0.size
    }

    pub(super) fn sha256(&self) -> Sha256 {
        self.0.sha256
    }

    /// Verifies the chunks that `part` overlaps, or all of them the first time; blocks on the disk. Returns the verification if
    /// it can be reused: `None` for a file that has just changed.
    pub(super) fn verify(&self, file: &File, part: &Range<u64>) -> io::Result<Option<Verified>> {
        let mut verified = self.0.verified.lock().as_deref().copied();
        if !verified.is_some_and(|verified| verified.is_current(file)) {
            let stamp = Stamp::new(&file.metadata()?);
            let at = Instant::now();
            match self.0.chunks.get() {
                None => self.hash(file)?,
                Some(_) => self.compare(file, part)?,
            }
            verified = stamp.is_settled().then_some(Verified { stamp, at });
            if *part == (0..self.0.size) {
                *self.0.verified.lock() = verified.map(Box::new);
            }
        }
        Ok(verified)
    }

    /// Verifies the chunks that `part` overlaps by their CRCs.
    pub(super) fn compare(&self, file: &File, part: &Range<u64>) -> io::Result<()> {
        let mut buffer = Vec::new();
        let first = part.start - part.start % CHUNK;
        (first..part.end)
            .step_by(CHUNK as usize)
            .try_for_each(|start| self.read_chunk(file, start, &mut buffer))
    }

    /// Reads the chunk at `start` and verifies its CRC.
    pub(super) fn read_chunk(&self, file: &File, start: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.fill(file, start, buffer)?;
        let sums = self.0.chunks.get();
        let sum = sums.and_then(|sums| sums.get(usize::try_from(start / CHUNK).ok()?));
        match sum == Some(&crc32fast::hash(buffer)) {
            true => Ok(()),
            false => {
                Err(Error::new(ErrorKind::InvalidData, format!("the bytes from {start} on are damaged")))
            }
        }
    }

    fn fill(&self, file: &File, start: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.resize(CHUNK.min(self.0.size - start) as usize, 0);
        file.read_exact_at(buffer, start)
    }

    fn hash(&self, file: &File) -> io::Result<()> {
        let (mut hasher, mut sums, mut buffer) = (sha2::Sha256::new(), Vec::new(), Vec::new());
        for start in (0..self.0.size).step_by(CHUNK as usize) {
            self.fill(file, start, &mut buffer)?;
            hasher.update(&buffer);
            sums.push(crc32fast::hash(&buffer));
        }
        let found = Sha256(hasher.finalize().into());
        if found != self.0.sha256 {
            let error = format!("the SHA-256 is {found}, not {}", self.0.sha256);
            return Err(Error::new(ErrorKind::InvalidData, error));
        }
        let _ = self.0.chunks.set(sums.into());
        Ok(())
    }
}
