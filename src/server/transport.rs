//! The byte stream of a connection: TCP, a Unix socket, or TLS over one of them. One type, so that the connection code is
//! compiled once.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// The name of HTTP/2 in ALPN (RFC 7301).
pub(super) const ALPN_HTTP2: &[u8] = b"h2";

pub(super) struct Transport {
    stream: Stream,
    /// Bytes to be read again.
    unread: Vec<u8>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<Transport>>),
}

/// The version of HTTP on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

trait ReadWrite: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> ReadWrite for S {}

impl From<TcpStream> for Transport {
    fn from(stream: TcpStream) -> Self {
        Self { stream: Stream::Tcp(stream), unread: Vec::new() }
    }
}

impl From<UnixStream> for Transport {
    fn from(stream: UnixStream) -> Self {
        Self { stream: Stream::Unix(stream), unread: Vec::new() }
    }
}

impl From<TlsStream<Transport>> for Transport {
    fn from(stream: TlsStream<Transport>) -> Self {
        Self { stream: Stream::Tls(Box::new(stream)), unread: Vec::new() }
    }
}

impl Transport {
    pub(super) fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// The user of the process at the other end of a Unix socket.
    pub(super) fn peer_user(&self) -> Option<u32> {
        match &self.stream {
            Stream::Unix(stream) => stream.peer_cred().ok().map(|peer| peer.uid()),
            Stream::Tcp(_) | Stream::Tls(_) => None,
        }
    }

    /// Over TLS, the protocol of ALPN (RFC 9113 section 3.2). Without TLS, the first bytes of the client decide.
    pub(super) fn negotiated(&self) -> Option<Protocol> {
        match &self.stream {
            Stream::Tcp(_) | Stream::Unix(_) => None,
            Stream::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2) => {
                Some(Protocol::Http2)
            }
            Stream::Tls(_) => Some(Protocol::Http1),
        }
    }

    /// Puts back `bytes`, which were read last.
    pub(super) fn unread(&mut self, bytes: Vec<u8>) {
        self.unread.splice(..0, bytes);
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut dyn ReadWrite> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream),
            Stream::Unix(stream) => Pin::new(stream),
            Stream::Tls(stream) => Pin::new(stream),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return self.stream().poll_read(cx, buf);
        }
        let count = buf.remaining().min(self.unread.len());
        buf.put_slice(&self.unread[..count]);
        self.unread.drain(..count);
        Poll::Ready(Ok(()))
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

    /// All three support it.
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[test]
    fn bytes_that_were_put_back_are_read_before_the_rest() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (one, other) = UnixStream::pair().unwrap();
            let mut transport = Transport::from(one);
            assert_eq!(other.try_write(b"efgh").unwrap(), 4);
            drop(other);
            transport.unread(b"abcd".to_vec());
            let mut begin = [0; 2];
            transport.read_exact(&mut begin).await.unwrap();
            transport.unread(begin.to_vec());
            let mut all = Vec::new();
            transport.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, b"abcdefgh");
        });
    }
}
