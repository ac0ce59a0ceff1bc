//! The body of an answer: bytes in memory, or a published file piece by piece.
//!
//! Who lets the kernel send takes [`Piece`]s, and nothing is copied here; who has to look at what is sent, for TLS or
//! HTTP/2, takes copies ([`Pieces::next_copy`]).

use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use anyhow::Result;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use super::content_kind::ContentKind;
use super::file::{Mapped, Piece, Wanted};
use super::integrity::{Integrity, PIECE};
use super::room::{COPIES, FRAMES};

/// What is copied to be encrypted: so much stays in the cache of the processor.
const COPY: Wanted = Wanted {
    most: 64 << 10,
    file: true,
};

/// What is copied when too many do not read what was copied for them.
const SMALL_COPY: Wanted = Wanted {
    most: 4 << 10,
    file: true,
};

/// A frame of HTTP/2, of which a client can have many made that it does not read.
const FRAME: Wanted = Wanted {
    most: 16 << 10,
    file: true,
};

/// Answers are handed on by value, and the most frequent ones have no body: so it is a pointer at most.
pub(super) enum Body {
    Empty,
    /// Never without bytes.
    Memory(Arc<Bytes>),
    Disk(Box<Pieces>),
}

/// A file on its way out: at most one piece being loaded.
pub(super) struct Pieces {
    loading: Loading,
    left: u64,
}

enum Loading {
    Idle(Mapped),
    Busy(JoinHandle<io::Result<(Mapped, Piece)>>),
    Over,
}

impl Body {
    pub(super) fn all(bytes: &Arc<Bytes>) -> Self {
        if bytes.is_empty() {
            Self::Empty
        } else {
            Self::Memory(Arc::clone(bytes))
        }
    }

    /// Opens a file and compares what is wanted of it, on a blocking thread unless it is at hand.
    pub(super) async fn open(
        path: &Arc<Path>,
        kind: ContentKind,
        size: u64,
        integrity: Integrity,
        part: Range<u64>,
    ) -> Result<Self> {
        let left = part.end - part.start;
        let mapped = match Mapped::at_hand(path, &integrity, &part) {
            Some(mapped) => mapped,
            None => {
                let path = Arc::clone(path);
                spawn_blocking(move || Mapped::open(&path, kind, size, integrity, part)).await??
            }
        };
        Ok(Self::Disk(Box::new(Pieces {
            loading: Loading::from(mapped),
            left,
        })))
    }
}

/// Tells of a file that cannot be sent to its end.
pub(super) fn is_cut(error: io::Error) -> io::Error {
    tracing::error!(%error, "failed to read a published file; its download is cut");
    error
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::all(&Arc::new(bytes))
    }
}

impl From<Mapped> for Loading {
    fn from(mapped: Mapped) -> Self {
        if mapped.len() == 0 {
            Self::Over
        } else {
            Self::Idle(mapped)
        }
    }
}

impl Pieces {
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// What comes next, for the kernel to send, with the file it is in if that is wanted; none when all is sent.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is damaged; nothing comes after that.
    pub(super) async fn next(&mut self, file: bool) -> io::Result<Option<Piece>> {
        let wanted = Wanted { most: PIECE, file };
        poll_fn(|cx| self.poll_next(cx, wanted)).await.transpose()
    }

    /// What comes next, for anybody to look at; none when all is sent.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is damaged; nothing comes after that.
    pub(super) async fn next_copy(&mut self) -> io::Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_copy(cx)).await.transpose()
    }

    fn poll_copy(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let room = COPIES.take(COPY.most);
        let wanted = if room.is_some() { COPY } else { SMALL_COPY };
        let piece = ready!(self.poll_next(cx, wanted));
        Poll::Ready(piece.map(|piece| piece?.copy(room).map_err(is_cut)))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, wanted: Wanted) -> Poll<Option<io::Result<Piece>>> {
        let loaded = ready!(self.poll_piece(cx, wanted));
        Poll::Ready(loaded.map(|loaded| {
            let piece = loaded.map_err(is_cut)?;
            self.left -= piece.range().len() as u64;
            Ok(piece)
        }))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>, wanted: Wanted) -> Poll<Option<io::Result<Piece>>> {
        loop {
            self.loading = match std::mem::replace(&mut self.loading, Loading::Over) {
                Loading::Over => return Poll::Ready(None),
                Loading::Idle(mut mapped) => {
                    if let Some(piece) = mapped.next_at_hand(wanted) {
                        self.loading = Loading::from(mapped);
                        return Poll::Ready(Some(Ok(piece)));
                    }
                    Loading::Busy(spawn_blocking(move || {
                        let piece = mapped.take_piece(wanted)?;
                        Ok((mapped, piece))
                    }))
                }
                Loading::Busy(mut task) => match Pin::new(&mut task).poll(cx) {
                    Poll::Pending => {
                        self.loading = Loading::Busy(task);
                        return Poll::Pending;
                    }
                    Poll::Ready(loaded) => {
                        let loaded = loaded.map_err(io::Error::other).flatten();
                        return Poll::Ready(Some(loaded.map(|(mapped, piece)| {
                            self.loading = Loading::from(mapped);
                            piece
                        })));
                    }
                },
            };
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = self.get_mut();
        let pieces = match body {
            Self::Empty => return Poll::Ready(None),
            // Frame by frame also what is there at once: a stream takes as much as it is given, and how much of it the client
            // has taken is not told.
            Self::Memory(bytes) => {
                let mut rest = Bytes::clone(bytes);
                let frame = rest.split_to(rest.len().min(FRAME.most));
                *body = Self::from(rest);
                return Poll::Ready(Some(Ok(Frame::data(frame))));
            }
            Self::Disk(pieces) => pieces,
        };
        let piece = ready!(pieces.poll_next(cx, FRAME));
        Poll::Ready(piece.map(|piece| {
            let piece = piece?;
            match FRAMES.take(FRAME.most) {
                Some(room) => piece.copy(Some(room)).map_err(is_cut).map(Frame::data),
                // Streams that nobody reads would fill the memory with copies. Beyond their room the mapping itself is
                // looked at, and only then who cuts a file short ends the process.
                None => Ok(Frame::data(Bytes::from_owner(piece))),
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Memory(_) => false,
            Self::Disk(pieces) => pieces.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Empty => 0,
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Disk(pieces) => pieces.left,
        })
    }
}
