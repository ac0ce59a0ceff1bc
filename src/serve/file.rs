//! A published file on disk, mapped, and handed out in pieces that are already in memory.
//!
//! All that can wait for a disk happens on a blocking thread: opening, and the first touch of every piece. The
//! pages are touched by the kernel (`MADV_POPULATE_READ`), so that a bad sector or a file cut short under our feet
//! is an error and not a SIGBUS. Files are mapped because that takes a quarter of the processor time of copying
//! them through buffers.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use memmap2::{Advice, Mmap};

use super::kind::Kind;

/// How much is brought into memory at a time.
const PIECE: usize = 1 << 20;

/// A part of a mapped file that has not been handed out yet.
pub(super) struct Mapped {
    map: Arc<Mmap>,
    rest: Range<usize>,
}

impl Mapped {
    /// Maps the bytes `part` of the file; blocks on the disk.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, or is not the one that was published with `size` bytes.
    pub(super) fn open(path: &Path, kind: Kind, size: u64, part: Range<u64>) -> Result<Self> {
        let named = || format!("failed to open `{}`", path.display());
        let file = File::open(path).with_context(named)?;
        let found = file.metadata().with_context(named)?.len();
        ensure!(
            kind.fits(size, found),
            "failed to serve `{}`: it has {found} bytes on disk, not the {size} that were published",
            path.display()
        );
        // SAFETY: published files are replaced by rename and never written in place, so the mapped bytes do not
        // change; a ledger grows behind the part that is mapped here.
        let map =
            unsafe { Mmap::map(&file) }.with_context(|| format!("failed to map `{}`", path.display()))?;
        Ok(Self {
            map: Arc::new(map),
            rest: usize::try_from(part.start)?..usize::try_from(part.end)?,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// Brings the next piece into memory and takes it; blocks on the disk.
    pub(super) fn take_piece(&mut self) -> io::Result<Bytes> {
        let end = self.rest.end.min(self.rest.start + PIECE);
        let piece = self.rest.start..end;
        match self
            .map
            .advise_range(Advice::PopulateRead, piece.start, piece.len())
        {
            // Linux before 5.14 does not know the advice; there the pages come when they are sent.
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
            _ => self.rest.start = end,
        }
        Ok(Bytes::from_owner(Piece {
            map: Arc::clone(&self.map),
            range: piece,
        }))
    }
}

struct Piece {
    map: Arc<Mmap>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }
}
