//! A part of a published file on disk, handed out in pieces that are in memory and were compared with what was published.

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
    /// The end of what was compared when the file was opened.
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

    /// The next piece, when it can be sent without waiting.
    ///
    /// A reader may be slow, and what was right when the file was opened may have to come from the disk again.
    pub(super) fn next_at_hand(&mut self) -> Option<Bytes> {
        let piece = self.next();
        self.mapping
            .is_ready(&self.path, &piece)
            .then(|| self.hand_out(piece))
    }

    /// Brings the next piece into memory, compares it and takes it; blocks on the disk.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is damaged.
    pub(super) fn take_piece(&mut self) -> io::Result<Bytes> {
        let piece = self.next();
        if piece.end <= self.compared {
            self.mapping.populate(piece.clone())?;
        } else {
            let file = self.mapping.reopen(&self.path)?;
            let start = piece.start - piece.start % PIECE;
            if !self.integrity.is_intact(&self.mapping, file.as_ref(), start)? {
                return Err(io::Error::other("its bytes were damaged during the download"));
            }
            self.mapping.populate(piece.clone())?;
            self.mapping.note_compared(&piece);
        }
        Ok(self.hand_out(piece))
    }

    fn next(&self) -> Range<usize> {
        let start = self.rest.start - self.rest.start % PIECE;
        self.rest.start..self.rest.end.min(start + PIECE)
    }

    fn hand_out(&mut self, piece: Range<usize>) -> Bytes {
        self.rest.start = piece.end;
        Bytes::from_owner(Piece {
            mapping: Arc::clone(&self.mapping),
            range: piece,
        })
    }
}

struct Piece {
    mapping: Arc<Mapping>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.mapping.bytes()[self.range.clone()]
    }
}
