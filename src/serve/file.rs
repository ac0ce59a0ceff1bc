//! A part of a published file on disk, handed out in pieces that are in memory and were compared with what was published.
//!
//! A piece is sent by the kernel, or copied: the mapping is not looked at, see [`Mapping::bytes`].

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;

use super::integrity::{Integrity, PIECE};
use super::kind::Kind;
use super::mapping::Mapping;

/// A part of a file that has not been handed out yet.
pub(super) struct Mapped {
    path: Arc<Path>,
    mapping: Arc<Mapping>,
    rest: Range<usize>,
    integrity: Integrity,
    /// The end of what was compared last.
    compared: usize,
}

impl Mapped {
    /// The bytes `part` of a file that is mapped already, when they can be sent without waiting.
    pub(super) fn at_hand(path: &Arc<Path>, integrity: &Integrity, part: &Range<u64>) -> Option<Self> {
        let rest = usize::try_from(part.start).ok()?..usize::try_from(part.end).ok()?;
        let mapping = integrity.mapping()?;
        mapping.is_ready(path, &rest).then(|| Self {
            path: Arc::clone(path),
            mapping,
            compared: rest.start + PIECE - rest.start % PIECE,
            rest,
            integrity: integrity.clone(),
        })
    }

    /// Maps the bytes `part` of the file and compares them; blocks on the disk.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or read, or is not the one that was published with `size` bytes.
    pub(super) fn open(
        path: &Arc<Path>,
        kind: Kind,
        size: u64,
        integrity: Integrity,
        part: Range<u64>,
    ) -> Result<Self> {
        let known = integrity.mapping().filter(|mapping| mapping.is_current(path));
        let known = known.and_then(|mapping| Some((mapping.reopen(path).ok()??, mapping)));
        let (mapping, file) = match known {
            Some((file, mapping)) => (mapping, file),
            None => {
                let (mapping, file) = Mapping::open(path, kind, size)?;
                (Arc::new(mapping), file)
            }
        };
        let rest = usize::try_from(part.start)?..usize::try_from(part.end)?;
        let compared = integrity.check(&mapping, &file, &rest);
        let ready = compared.and_then(|()| Ok(mapping.populate(rest.clone())?));
        if ready.is_err() {
            integrity.keep(None);
        }
        ready.with_context(|| format!("failed to serve `{}`", path.display()))?;
        mapping.note_compared(&rest);
        integrity.keep(Some(Arc::clone(&mapping)));
        Ok(Self {
            path: Arc::clone(path),
            mapping,
            compared: rest.start + PIECE - rest.start % PIECE,
            rest,
            integrity,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// The next piece, of `most` bytes, when it can be sent without waiting.
    ///
    /// A reader may be slow, and what was right when the file was opened may have to come from the disk again.
    pub(super) fn next_at_hand(&mut self, most: usize) -> Option<Piece> {
        let piece = self.next(most);
        self.mapping
            .is_ready(&self.path, &piece)
            .then(|| self.hand_out(piece))
    }

    /// Brings the next piece, of `most` bytes, into memory, compares it and takes it; blocks on the disk.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is damaged.
    pub(super) fn take_piece(&mut self, most: usize) -> io::Result<Piece> {
        let piece = self.next(most);
        let file = self.mapping.reopen(&self.path)?;
        if piece.end > self.compared {
            let start = piece.start - piece.start % PIECE;
            if !self.integrity.is_intact(&self.mapping, file.as_ref(), start)? {
                return Err(io::Error::other("its bytes were damaged during the download"));
            }
            self.compared = start + PIECE;
            self.mapping.note_compared(&piece);
        }
        self.mapping.populate(piece.clone())?;
        Ok(self.hand_out(piece))
    }

    fn next(&self, most: usize) -> Range<usize> {
        let step = most.min(PIECE);
        let start = self.rest.start - self.rest.start % step;
        self.rest.start..self.rest.end.min(start + step)
    }

    fn hand_out(&mut self, range: Range<usize>) -> Piece {
        self.rest.start = range.end;
        Piece {
            path: Arc::clone(&self.path),
            mapping: Arc::clone(&self.mapping),
            range,
        }
    }
}

/// Bytes of a published file, on their way out.
pub(super) struct Piece {
    path: Arc<Path>,
    mapping: Arc<Mapping>,
    range: Range<usize>,
}

impl Piece {
    /// Where in the file it is.
    pub(super) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Its bytes, for the kernel.
    pub(super) fn mapped(&self) -> &[u8] {
        &self.mapping.bytes()[self.range.clone()]
    }

    /// The file that it is in; none when that has lost its name.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, or was cut short.
    pub(super) fn file(&self) -> io::Result<Option<File>> {
        self.mapping.reopen(&self.path)
    }

    /// Its bytes, for anybody.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub(super) fn copy(&self) -> io::Result<Bytes> {
        let file = self.file()?;
        self.mapping
            .copy(file.as_ref(), self.range.clone())
            .map(Into::into)
    }
}
