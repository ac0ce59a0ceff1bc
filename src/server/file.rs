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

use super::content_kind::ContentKind;
use super::integrity::{Integrity, PIECE};
use super::mapping::{FRESH, Mapping, Stamp};
use super::room::{FILES, Open, Room};

/// A part of a file that has not been handed out yet.
pub(super) struct Mapped {
    path: Arc<Path>,
    mapping: Arc<Mapping>,
    rest: Range<usize>,
    integrity: Integrity,
    compared: Compared,
    /// Once it had to be opened, where it is not kept open and there is room for it.
    file: Option<Arc<Open>>,
}

/// What was compared last.
struct Compared {
    end: usize,
    at: Instant,
    /// What the file system said of the file.
    stamp: Stamp,
}

impl Mapped {
    /// The bytes `part` of a file that is mapped already, when they can be sent without waiting.
    pub(super) fn at_hand(path: &Arc<Path>, integrity: &Integrity, part: &Range<u64>) -> Option<Self> {
        let rest = usize::try_from(part.start).ok()?..usize::try_from(part.end).ok()?;
        let mapping = integrity.mapping()?;
        mapping.is_ready(path, &rest).then(|| Self {
            path: Arc::clone(path),
            compared: Compared::now(rest.start, mapping.stamp()),
            mapping,
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
        kind: ContentKind,
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
                // What it holds is given back first: also when there is no file any more.
                integrity.keep(None);
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
            compared: Compared::now(rest.start, mapping.stamp()),
            mapping,
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
        let is_at_hand = !wanted.file || file(&self.mapping, self.file.as_deref()).is_some();
        (is_at_hand && self.mapping.is_ready(&self.path, &piece)).then(|| self.hand_out(piece))
    }

    /// Brings the next piece into memory, compares it and takes it; blocks on the disk.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is damaged.
    pub(super) fn take_piece(&mut self, wanted: Wanted) -> io::Result<Piece> {
        let piece = self.next(wanted);
        let kept = file(&self.mapping, self.file.as_deref()).cloned();
        let file = match kept {
            Some(file) => Some(file),
            None => {
                let file = self.mapping.reopen(&self.path).map(Arc::new);
                self.file = file
                    .as_ref()
                    .and_then(|file| Open::keep(file, &FILES))
                    .map(Arc::new);
                file
            }
        };
        let stamp = match &file {
            Some(file) => self.mapping.whole(file)?,
            None => self.mapping.stamp(),
        };
        if !self.compared.has(&piece, stamp) {
            let start = piece.start - piece.start % PIECE;
            if !self.integrity.is_intact(&self.mapping, file.as_deref(), start)? {
                return Err(io::Error::other("its bytes were damaged during the download"));
            }
            self.compared = Compared::now(start, stamp);
            self.mapping.note_compared(&piece);
        }
        self.mapping.populate(piece.clone())?;
        Ok(self.hand_out(piece))
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
fn file<'f>(mapping: &'f Mapping, opened: Option<&'f Open>) -> Option<&'f Arc<File>> {
    mapping.file().or(opened.map(|open| &open.file))
}

impl Compared {
    /// The piece that `at` is in, now.
    fn now(at: usize, stamp: Stamp) -> Self {
        Self {
            end: at + PIECE - at % PIECE,
            at: Instant::now(),
            stamp,
        }
    }

    /// Whether `part` need not be compared again, in a file of which `stamp` is said.
    fn has(&self, part: &Range<usize>, stamp: Stamp) -> bool {
        part.end <= self.end && stamp == self.stamp && self.at.elapsed() < FRESH
    }
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
        file(&self.mapping, self.file.as_deref()).map(|file| &**file)
    }

    /// A copy of its bytes, for anybody, which holds `room` as long as it is there.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub(super) fn copy(&self, room: Option<Room>) -> io::Result<Bytes> {
        let bytes = self.mapping.copy(self.file(), self.range.clone())?;
        Ok(Bytes::from_owner(Copied { bytes, _room: room }))
    }
}

/// As in [`Piece::mapped`].
impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.mapped()
    }
}

struct Copied {
    bytes: Vec<u8>,
    _room: Option<Room>,
}

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
