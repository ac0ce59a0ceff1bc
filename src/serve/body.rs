//! The body of an answer: bytes in memory, or a mapped file piece by piece.

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

use super::file::Mapped;
use super::integrity::Integrity;
use super::kind::Kind;

pub(super) enum Body {
    /// Never empty bytes; nothing once they are sent.
    Memory(Option<Bytes>),
    Disk(Pieces),
}

/// A file on its way out: at most one piece in memory, at most one being loaded.
pub(super) struct Pieces {
    ready: Option<Bytes>,
    loading: Loading,
    left: u64,
}

enum Loading {
    Idle(Mapped),
    Busy(JoinHandle<io::Result<(Mapped, Bytes)>>),
    Over,
}

impl Body {
    pub(super) fn empty() -> Self {
        Self::Memory(None)
    }

    /// Opens a file and loads its first piece, on a blocking thread unless it is at hand.
    pub(super) async fn open(
        path: &Arc<Path>,
        kind: Kind,
        size: u64,
        integrity: Integrity,
        part: Range<u64>,
    ) -> Result<Self> {
        let left = part.end - part.start;
        if let Some(mapped) = Mapped::at_hand(path, &integrity, &part) {
            return Ok(Self::Disk(Pieces {
                ready: None,
                loading: Loading::from(mapped),
                left,
            }));
        }
        let path = Arc::clone(path);
        let opened = spawn_blocking(move || -> Result<_> {
            let mut mapped = Mapped::open(&path, kind, size, integrity, part)?;
            let first = if left == 0 {
                None
            } else {
                Some(mapped.take_piece()?)
            };
            Ok((mapped, first))
        });
        let (mapped, ready) = opened.await??;
        Ok(Self::Disk(Pieces {
            ready,
            loading: Loading::from(mapped),
            left,
        }))
    }

    /// The next piece; none when all is sent.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or is damaged; nothing comes after that.
    pub(super) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_piece(cx)).await.transpose()
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let pieces = match self {
            Self::Memory(bytes) => return Poll::Ready(bytes.take().map(Ok)),
            Self::Disk(pieces) => pieces,
        };
        let loaded = ready!(pieces.poll_piece(cx));
        match &loaded {
            Some(Ok(piece)) => pieces.left -= piece.len() as u64,
            Some(Err(error)) => {
                tracing::error!(%error, "failed to read a published file; its download is cut")
            }
            None => {}
        }
        Poll::Ready(loaded)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Memory(Some(bytes).filter(|bytes| !bytes.is_empty()))
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
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(piece) = self.ready.take() {
            return Poll::Ready(Some(Ok(piece)));
        }
        loop {
            self.loading = match std::mem::replace(&mut self.loading, Loading::Over) {
                Loading::Over => return Poll::Ready(None),
                Loading::Idle(mut mapped) => {
                    if let Some(piece) = mapped.next_at_hand() {
                        self.loading = Loading::from(mapped);
                        return Poll::Ready(Some(Ok(piece)));
                    }
                    Loading::Busy(spawn_blocking(move || {
                        let piece = mapped.take_piece()?;
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
        let piece = ready!(self.get_mut().poll_piece(cx));
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Memory(bytes) => bytes.is_none(),
            Self::Disk(pieces) => pieces.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Memory(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::Disk(pieces) => pieces.left,
        })
    }
}
