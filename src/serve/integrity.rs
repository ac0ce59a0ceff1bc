//! Whether a file on disk still has the bytes that were published, asked before any of them is sent.
//!
//! The first request for a file hashes it whole and, when the SHA-256 is right, remembers a CRC of each piece. From
//! then on only the pieces that are sent are compared, which costs a tenth of a hash and still finds every rotten
//! bit. Nothing is trusted because of a size or a date: a disk that decays changes neither.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use anyhow::{Result, ensure};
use sha2::Digest as _;

use crate::digest::Sha256;

/// How much is brought into memory, compared and handed out at a time; also where pieces begin.
pub(super) const PIECE: usize = 1 << 20;

/// What is known of the bytes of one published file; clones share it.
#[derive(Clone)]
pub(super) struct Integrity {
    sha256: Sha256,
    /// The CRC of each piece, once the whole file was found right.
    pieces: Arc<OnceLock<Box<[u32]>>>,
}

impl Integrity {
    pub(super) fn new(sha256: Sha256) -> Self {
        Self {
            sha256,
            pieces: Arc::default(),
        }
    }

    /// Checks the pieces of `file` that `part` touches, all of them when nothing is known yet; `load` brings a range
    /// into memory before it is looked at.
    pub(super) fn check(
        &self,
        file: &[u8],
        part: Range<usize>,
        load: impl Fn(Range<usize>) -> std::io::Result<()>,
    ) -> Result<()> {
        if self.pieces.get().is_none() {
            return self.check_whole(file, load);
        }
        for piece in pieces(file.len()).filter(|p| p.start < part.end && part.start < p.end) {
            load(piece.clone())?;
            ensure!(
                self.is_intact(file, piece.start),
                "its bytes at {}..{} are damaged",
                piece.start,
                piece.end
            );
        }
        Ok(())
    }

    /// Whether the piece that begins at `start` is as it was when the whole file was hashed.
    pub(super) fn is_intact(&self, file: &[u8], start: usize) -> bool {
        let known = self
            .pieces
            .get()
            .and_then(|pieces| pieces.get(start / PIECE).copied());
        let end = file.len().min(start + PIECE);
        known == Some(crc32fast::hash(&file[start..end]))
    }

    fn check_whole(&self, file: &[u8], load: impl Fn(Range<usize>) -> std::io::Result<()>) -> Result<()> {
        let (mut hasher, mut sums) = (sha2::Sha256::new(), Vec::new());
        for piece in pieces(file.len()) {
            load(piece.clone())?;
            hasher.update(&file[piece.clone()]);
            sums.push(crc32fast::hash(&file[piece]));
        }
        let found = Sha256(hasher.finalize().into());
        ensure!(
            found == self.sha256,
            "its SHA-256 is {found}, not the published {}",
            self.sha256
        );
        let _ = self.pieces.set(sums.into());
        Ok(())
    }
}

fn pieces(len: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len)
        .step_by(PIECE)
        .map(move |start| start..len.min(start + PIECE))
}
