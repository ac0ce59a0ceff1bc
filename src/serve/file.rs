//! A published file on disk, mapped, and handed out in pieces that are already in memory.
//!
//! All that can wait for a disk happens on a blocking thread: opening, checking the bytes (see [`super::integrity`]),
//! and the first touch of every piece. The pages are touched by the kernel (`MADV_POPULATE_READ`), so that a bad sector or a file cut short under our feet
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

use super::integrity::{Integrity, PIECE};
use super::kind::Kind;

/// A part of a mapped file that has not been handed out yet.
pub(super) struct Mapped {
    map: Arc<Mmap>,
    /// The length of what is published of the file.
    len: usize,
    rest: Range<usize>,
    integrity: Integrity,
    /// The end of what was compared when the file was opened.
    checked: usize,
}

impl Mapped {
    /// Maps the bytes `part` of the file; blocks on the disk.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or read, or is not the one that was published with `size` bytes.
    pub(super) fn open(
        path: &Path,
        kind: Kind,
        size: u64,
        integrity: Integrity,
        part: Range<u64>,
    ) -> Result<Self> {
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
        let (len, rest) = (
            usize::try_from(size)?,
            usize::try_from(part.start)?..usize::try_from(part.end)?,
        );
        integrity
            .check(&map[..len], rest.clone(), |piece| populate(&map, piece))
            .with_context(|| format!("failed to serve `{}`", path.display()))?;
        Ok(Self {
            map: Arc::new(map),
            len,
            checked: rest.start + PIECE - rest.start % PIECE,
            rest,
            integrity,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// Brings the next piece into memory, compares it and takes it; blocks on the disk.
    ///
    /// A reader may be slow, and what was right when the file was opened may have to come from the disk again.
    pub(super) fn take_piece(&mut self) -> io::Result<Bytes> {
        let start = self.rest.start - self.rest.start % PIECE;
        let end = self.rest.end.min(start + PIECE);
        let piece = self.rest.start..end;
        if piece.end <= self.checked {
            populate(&self.map, piece.clone())?;
        } else {
            populate(&self.map, start..self.len.min(start + PIECE))?;
            if !self.integrity.is_intact(&self.map[..self.len], start) {
                return Err(io::Error::other("its bytes were damaged during the download"));
            }
        }
        self.rest.start = end;
        Ok(Bytes::from_owner(Piece {
            map: Arc::clone(&self.map),
            range: piece,
        }))
    }
}

/// Brings pages into memory, or says why that cannot be.
fn populate(map: &Mmap, range: Range<usize>) -> io::Result<()> {
    match map.advise_range(Advice::PopulateRead, range.start, range.len()) {
        // Linux before 5.14 does not know the advice; there the pages come when they are touched.
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(error),
        _ => Ok(()),
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
