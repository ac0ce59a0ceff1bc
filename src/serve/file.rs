//! A part of a published file on disk, handed out in pieces that are in memory and were compared with what was published.
//!
//! A piece is sent by the kernel, or copied: the mapping is not looked at, see [`Mapping::bytes`].

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use bytes::Bytes;

use super::integrity::{Integrity, PIECE};
use super::kind::Kind;
use super::mapping::{FRESH, Mapping};
use super::room::{COPIES, FILES, Open, Room};

/// A part of a file that has not been handed out yet.
pub(super) struct Mapped {
    path: Arc<Path>,
    mapping: Arc<Mapping>,
    rest: Range<usize>,
    integrity: Integrity,
    /// The end of what was compared last, and when.
    compared: (usize, Instant),
    /// Once it had to be opened, where it is not kept open and there is room for it.
    file: Option<Arc<Open>>,
}

impl Mapped {
    /// The bytes `part` of a file that is mapped already, when they can be sent without waiting.
    pub(super) fn at_hand(path: &Arc<Path>, integrity: &Integrity, part: &Range<u64>) -> Option<Self> {
        let rest = usize::try_from(part.start).ok()?..usize::try_from(part.end).ok()?;
        let mapping = integrity.mapping()?;
        mapping.is_ready(path, &rest).then(|| Self {
            path: Arc::clone(path),
            mapping,
            compared: (end_of_piece(rest.start), Instant::now()),
            rest,
            integrity: integrity.clone(),
            file: None,
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
        let known = known.and_then(|mapping| {
            let kept = mapping.file().cloned();
            Some((kept.or_else(|| mapping.reopen(path).map(Arc::new))?, mapping))
        });
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
        let opened = match mapping.file() {
            Some(_) => None,
            None => Open::keep(&file, &FILES).map(Arc::new),
        };
        Ok(Self {
            path: Arc::clone(path),
            mapping,
            compared: (end_of_piece(rest.start), Instant::now()),
            rest,
            integrity,
            file: opened,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// The next piece, when it can be sent without waiting.
    ///
    /// A reader may be slow, and what was right when the file was opened may have to come from the disk again.
    pub(super) fn next_at_hand(&mut self, wanted: Wanted) -> Option<Piece> {
        let piece = self.next(wanted);
        let is_at_hand = !wanted.file || self.file().is_some();
        (is_at_hand && self.mapping.is_ready(&self.path, &piece)).then(|| self.hand_out(piece))
    }

    /// Brings the next piece into memory, compares it and takes it; blocks on the disk.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is damaged.
    pub(super) fn take_piece(&mut self, wanted: Wanted) -> io::Result<Piece> {
        let piece = self.next(wanted);
        if self.file().is_none() {
            let file = self.mapping.reopen(&self.path).map(Arc::new);
            self.file = file.and_then(|file| Open::keep(&file, &FILES)).map(Arc::new);
        }
        let file = self.file();
        if let Some(file) = file {
            self.mapping.ensure_whole(file)?;
        }
        let (end, at) = self.compared;
        let is_compared = piece.end <= end && at.elapsed() < FRESH && self.mapping.is_current(&self.path);
        if !is_compared {
            let start = piece.start - piece.start % PIECE;
            if !self.integrity.is_intact(&self.mapping, file, start)? {
                return Err(io::Error::other("its bytes were damaged during the download"));
            }
            self.compared = (start + PIECE, Instant::now());
            self.mapping.note_compared(&piece);
        }
        self.mapping.populate(piece.clone())?;
        Ok(self.hand_out(piece))
    }

    fn file(&self) -> Option<&File> {
        file(&self.mapping, self.file.as_deref())
    }

    fn next(&self, wanted: Wanted) -> Range<usize> {
        let start = self.rest.start - self.rest.start % wanted.most;
        self.rest.start..self.rest.end.min(start + wanted.most)
    }

    fn hand_out(&mut self, range: Range<usize>) -> Piece {
        self.rest.start = range.end;
        Piece {
            mapping: Arc::clone(&self.mapping),
            range,
            file: self.file.clone(),
        }
    }
}

/// The file of a mapping, or else the one that was opened for this download.
fn file<'f>(mapping: &'f Mapping, opened: Option<&'f Open>) -> Option<&'f File> {
    mapping
        .file()
        .or(opened.map(|open| &open.file))
        .map(|file| &**file)
}

/// The end of the piece that `at` is in.
fn end_of_piece(at: usize) -> usize {
    at + PIECE - at % PIECE
}

/// What is asked for of a file.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// Bytes at a time, a whole part of [`PIECE`].
    pub(super) most: usize,
    /// Whether the file is wanted, too.
    pub(super) file: bool,
}

/// Bytes of a published file, on their way out.
pub(super) struct Piece {
    mapping: Arc<Mapping>,
    range: Range<usize>,
    file: Option<Arc<Open>>,
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

    /// The file that it is in, where it was wanted and could be had.
    pub(super) fn file(&self) -> Option<&File> {
        file(&self.mapping, self.file.as_deref())
    }

    /// Its bytes, for anybody: a copy, as long as there is room for one. Readers who do not read would fill the memory with
    /// copies; what is beyond that is looked at where it is mapped, and only then who cuts a file short ends the process.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub(super) fn copy(self) -> io::Result<Bytes> {
        let Some(room) = COPIES.take(self.range.len()) else {
            return Ok(Bytes::from_owner(self));
        };
        let bytes = self.mapping.copy(self.file(), self.range.clone())?;
        Ok(Bytes::from_owner(Copied { bytes, _room: room }))
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.mapped()
    }
}

struct Copied {
    bytes: Vec<u8>,
    _room: Room,
}

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
