//! What carries a connection, and who looks at what is sent on it.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// What it is called where protocols are agreed on, by ALPN (RFC 7301).
pub(super) const HTTP2: &[u8] = b"h2";

pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static {
    fn sender(&self) -> Sender<'_>;

    /// Whether it may carry HTTP/2, as a client says first that knows it from elsewhere (RFC 9113 section 3.3).
    fn may_carry_http2(&self) -> bool {
        true
    }
}

/// Who takes what is written.
pub(super) enum Sender<'t> {
    /// This program, to encrypt it.
    Program,
    Kernel,
    /// The kernel, which can take a file's bytes by reference, too.
    Tcp(&'t TcpStream),
}

impl Transport for TcpStream {
    fn sender(&self) -> Sender<'_> {
        Sender::Tcp(self)
    }
}

impl Transport for UnixStream {
    fn sender(&self) -> Sender<'_> {
        Sender::Kernel
    }
}

impl<S: Transport> Transport for TlsStream<S> {
    fn sender(&self) -> Sender<'_> {
        Sender::Program
    }

    /// Only by agreement (RFC 9113 section 3.2).
    fn may_carry_http2(&self) -> bool {
        self.get_ref().1.alpn_protocol() == Some(HTTP2)
    }
}

/// Writes the one and then the other, in one call as far as the peer takes it, and moves both on.
pub(super) fn poll_write_both<W: AsyncWrite + Unpin>(
    writer: &mut W,
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
        let sent = ready!(Pin::new(&mut *writer).poll_write_vectored(cx, left))?;
        if sent == 0 {
            return Poll::Ready(Err(ErrorKind::WriteZero.into()));
        }
        let of_first = sent.min(first.len());
        *first = &first[of_first..];
        *second = &second[sent - of_first..];
    }
}
