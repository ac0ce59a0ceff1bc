//! The body of a request, for the few who read it.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::io::AsyncWrite as _;

use super::Connection;
use super::head::Framing;

/// Bytes of the line before a chunk; what stands behind its size means nothing here.
const CHUNK_LINE: usize = 256;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A body on a connection of any kind.
pub(super) type Uploaded<'u> =
    dyn hyper::body::Body<Data = Bytes, Error = io::Error> + Send + Sync + Unpin + 'u;

pub(super) struct Upload<'c> {
    connection: &'c mut Connection,
    framing: Framing,
    /// What was received and not handed out.
    received: Bytes,
    /// What is left of the body, or of its chunk.
    left: u64,
    /// Whether a chunk was read, whose line ends before the next one.
    after_chunk: bool,
    /// What the client still has to be told before it sends the body.
    invitation: &'static [u8],
}

impl<'c> Upload<'c> {
    pub(super) fn new(connection: &'c mut Connection, framing: Framing, expects_continue: bool) -> Self {
        Self {
            connection,
            framing,
            received: Bytes::new(),
            left: match framing {
                Framing::Length(length) => length,
                Framing::None | Framing::Chunked => 0,
            },
            after_chunk: false,
            invitation: match expects_continue && framing != Framing::None {
                true => CONTINUE,
                false => b"",
            },
        }
    }
}

impl Upload<'_> {
    fn poll_invite(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever has begun to send did not wait.
        if self.invitation == CONTINUE && !self.connection.received.is_empty() {
            self.invitation = b"";
        }
        let mut stream = Pin::new(&mut self.connection.stream);
        while !self.invitation.is_empty() {
            let count = ready!(stream.as_mut().poll_write(cx, self.invitation))?;
            self.invitation = &self.invitation[count..];
        }
        stream.poll_flush(cx)
    }

    /// Reads what is not there yet; an end of the stream is an error.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.received.is_empty() && ready!(self.connection.poll_receive(cx))? == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        let more = mem::take(&mut self.connection.received);
        self.received = match self.received.is_empty() {
            true => more.into(),
            false => [&self.received[..], &more].concat().into(),
        };
        Poll::Ready(Ok(()))
    }

    /// The size of the next chunk (RFC 9112 section 7.1); zero for the last one.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        loop {
            let received = &self.received[..];
            let line = match (self.after_chunk, received) {
                (false, line) | (true, [b'\r', b'\n', line @ ..]) => Some(line),
                (true, [] | [b'\r']) => None,
                (true, _) => return Poll::Ready(Err(malformed())),
            };
            // Without a digit there is no size, which is not the size 0.
            if line
                .and_then(<[u8]>::first)
                .is_some_and(|first| !first.is_ascii_hexdigit())
            {
                return Poll::Ready(Err(malformed()));
            }
            if let Some(line) = line {
                match httparse::parse_chunk_size(line) {
                    Ok(httparse::Status::Complete((length, size))) => {
                        let before = received.len() - line.len();
                        self.received.advance(before + length);
                        return Poll::Ready(Ok(size));
                    }
                    Ok(httparse::Status::Partial) if line.len() < CHUNK_LINE => {}
                    _ => return Poll::Ready(Err(malformed())),
                }
            }
            ready!(self.poll_receive(cx))?;
        }
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed chunks")
}

impl hyper::body::Body for Upload<'_> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let upload = self.get_mut();
        ready!(upload.poll_invite(cx))?;
        if upload.left == 0 && upload.framing == Framing::Chunked {
            upload.left = ready!(upload.poll_chunk(cx))?;
            upload.after_chunk = true;
            if upload.left == 0 {
                upload.framing = Framing::None;
            }
        }
        if upload.left == 0 {
            return Poll::Ready(None);
        }
        if upload.received.is_empty() {
            ready!(upload.poll_receive(cx))?;
        }
        let left = usize::try_from(upload.left).unwrap_or(usize::MAX);
        let piece = upload.received.split_to(upload.received.len().min(left));
        upload.left -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::None => SizeHint::with_exact(0),
            Framing::Length(_) => SizeHint::with_exact(self.left),
            Framing::Chunked => SizeHint::new(),
        }
    }
}
