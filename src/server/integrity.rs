//! Whether a file on disk still has the bytes that were published, asked before any of them is sent.
//!
//! The first request for a file hashes it whole and, when the SHA-256 is right, remembers a CRC of each piece. From
//! then on only the pieces that are sent are compared, which costs a tenth of a hash and still finds every rotten
//! bit. What was compared a moment ago is not compared again as long as the file system knows of no change; nothing is
//! trusted for longer than that, because a disk that decays changes neither size nor date.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use anyhow::{Result, ensure};
use arc_swap::ArcSwapOption;
use sha2::Digest as _;

use super::mapping::Mapping;
use crate::util::digest::Sha256;

/// How much is brought into memory, compared and handed out at a time; also where pieces begin.
pub(super) const PIECE: usize = 1 << 20;

/// What is known of the bytes of one published file; clones share it, and it outlives a publication.
#[derive(Clone)]
pub(super) struct Integrity(Arc<Known>);

struct Known {
    sha256: Sha256,
    /// The CRC of each piece, once the whole file was found right.
    sums: OnceLock<Box<[u32]>>,
    /// The file as it was last mapped.
    mapping: ArcSwapOption<Mapping>,
    /// Whether it stays mapped.
    keeps: bool,
}

impl Integrity {
    /// Nothing is known yet; `keeps` says whether the file stays mapped between requests.
    pub(super) fn new(sha256: Sha256, keeps: bool) -> Self {
        Self(Arc::new(Known {
            sha256,
            sums: OnceLock::new(),
            mapping: ArcSwapOption::empty(),
            keeps,
        }))
    }

    /// Whether both are about the same bytes, kept alike.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.0.sha256 == other.0.sha256 && self.0.keeps == other.0.keeps
    }

    pub(super) fn mapping(&self) -> Option<Arc<Mapping>> {
        self.0.mapping.load_full()
    }

    pub(super) fn keep(&self, mapping: Option<Arc<Mapping>>) {
        self.0.mapping.store(mapping.filter(|_| self.0.keeps));
    }

    /// Checks the pieces of a mapped `file` that `part` touches, all of them when nothing is known yet; blocks on the disk.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or are not what was published.
    pub(super) fn check(&self, mapping: &Mapping, file: &File, part: &Range<usize>) -> Result<()> {
        if self.0.sums.get().is_none() {
            return self.check_whole(mapping, file);
        }
        for piece in pieces(mapping.len(), part) {
            ensure!(
                self.is_intact(mapping, Some(file), piece.start)?,
                "its bytes at {}..{} are damaged",
                piece.start,
                piece.end
            );
        }
        Ok(())
    }

    /// Whether the piece that begins at `start` is as it was when the whole file was hashed.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub(super) fn is_intact(&self, mapping: &Mapping, file: Option<&File>, start: usize) -> io::Result<bool> {
        let known = self.0.sums.get();
        let known = known.and_then(|sums| sums.get(start / PIECE).copied());
        let mut sum = crc32fast::Hasher::new();
        let piece = start..mapping.len().min(start + PIECE);
        mapping.read(file, piece, |block| sum.update(block))?;
        Ok(known == Some(sum.finalize()))
    }

    fn check_whole(&self, mapping: &Mapping, file: &File) -> Result<()> {
        let (mut hasher, mut sums) = (sha2::Sha256::new(), Vec::new());
        for piece in pieces(mapping.len(), &(0..mapping.len())) {
            let mut sum = crc32fast::Hasher::new();
            mapping.read(Some(file), piece, |block| {
                hasher.update(block);
                sum.update(block);
            })?;
            sums.push(sum.finalize());
        }
        let found = Sha256(hasher.finalize().into());
        ensure!(
            found == self.0.sha256,
            "its SHA-256 is {found}, not the published {}",
            self.0.sha256
        );
        let _ = self.0.sums.set(sums.into());
        Ok(())
    }
}

/// The pieces of a file of `len` bytes that `part` touches.
pub(super) fn pieces(len: usize, part: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    let first = part.start - part.start % PIECE;
    (first..part.end.min(len))
        .step_by(PIECE)
        .map(move |start| start..len.min(start + PIECE))
}
