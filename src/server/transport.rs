//! What carries a connection, who looks at what is sent on it, and how TCP's bytes are received and sent.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// Bytes that are received at once; a request of Composer has some hundred.
pub(super) const RECEIVED: usize = 4 << 10;

/// What it is called where protocols are agreed on, by ALPN (RFC 7301).
pub(super) const HTTP2: &[u8] = b"h2";

/// One type for all of them: what is said on connections is in the program once.
pub(super) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// On one of the others.
    Tls(Box<TlsStream<Transport>>),
}

/// Who takes what is written.
pub(super) enum Sender<'t> {
    /// This program, to encrypt it.
    Program,
    Kernel,
    /// The kernel, which can take a file's bytes by reference, too.
    Tcp(&'t TcpStream),
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl Transport {
    pub(super) fn sender(&self) -> Sender<'_> {
        match self {
            Self::Tcp(socket) => Sender::Tcp(socket),
            Self::Unix(_) => Sender::Kernel,
            Self::Tls(_) => Sender::Program,
        }
    }

    /// Whether it may carry HTTP/2, as a client says first that knows it from elsewhere (RFC 9113 section 3.3); by TLS only when
    /// that was agreed on (section 3.2).
    pub(super) fn may_carry_http2(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => true,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(HTTP2),
        }
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut dyn Stream> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream),
            Self::Unix(stream) => Pin::new(stream),
            Self::Tls(stream) => Pin::new(stream),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buf)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, bufs)
    }

    /// As of all of them.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}

/// Adds to `received` what has come, in room for at least [`RECEIVED`] bytes; answers how many, zero at the end of the stream.
/// Receives as tokio would, but by a system call in which no thread can be cancelled: what the C library does for that takes two
/// atomic operations more.
pub(super) fn poll_receive(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    received: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_read_ready(cx))?;
        received.reserve(RECEIVED);
        let room = received.capacity() - received.len();
        let mut all = None;
        let tried = socket.try_io(Interest::READABLE, || {
            let (count, _) = recv(socket, spare_capacity(received), RecvFlags::empty())?;
            // What comes after all that there was is told (epoll(7), edge-triggered): it need not be asked for.
            if 0 < count && count < room {
                all = Some(count);
                return Err(ErrorKind::WouldBlock.into());
            }
            Ok(count)
        });
        match all.map_or(tried, Ok) {
            Err(error) if is_passing(&error) => {}
            done => return Poll::Ready(done),
        }
    }
}

/// Sends by `operation` as soon as the socket takes anything.
pub(super) fn poll_send(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    mut operation: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        match socket.try_io(Interest::WRITABLE, || operation(socket.as_fd())) {
            Err(error) if is_passing(&error) => {}
            done => return Poll::Ready(done),
        }
    }
}

/// Whether the same is to be tried again, now or when the socket is ready.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Writes the one and then the other, in one call as far as the peer takes it, and moves both on.
pub(super) fn poll_write_both(
    stream: &mut (impl AsyncWrite + Unpin),
    cx: &mut Context<'_>,
    first: &mut &[u8],
    second: &mut &[u8],
) -> Poll<io::Result<()>> {
    loop {
        let both = [IoSlice::new(first), IoSlice::new(second)];
        let left = &both[usize::from(first.is_empty())..2 - usize::from(second.is_empty())];
        if left.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let sent = ready!(Pin::new(&mut *stream).poll_write_vectored(cx, left))?;
        if sent == 0 {
            return Poll::Ready(Err(ErrorKind::WriteZero.into()));
        }
        let of_first = sent.min(first.len());
        *first = &first[of_first..];
        *second = &second[sent - of_first..];
    }
}
