//! A stream that bounds the time for the head of a request, counts bytes, and closes gently.
//!
//! The head of the first request must arrive within the timeout from the start of the connection, other heads within the timeout
//! from their first byte. Between requests, [`SendProgress`] limits how long a client may be idle. hyper's
//! `header_read_timeout` is one number for both.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::{Duration, Instant, Sleep, sleep};

use super::context::ServerContext;
use super::lingering_close::{LINGER, LingeringClose, timeout_at_shutdown};
use super::request_line::RequestLine;
use super::send_progress::SendProgress;
use super::transport::{Protocol, Transport};

/// What an HTTP/2 client sends first (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) struct TimeoutStream {
    stream: Transport,
    /// Bytes that were read to detect the protocol, to be read again.
    replay: Vec<u8>,
    /// `None` for HTTP/2.
    head: Option<HeadDeadline>,
    progress: Arc<SendProgress>,
    closing: Option<LingeringClose>,
    sent: u64,
    received: u64,
    /// The value of `sent` when the client last sent something; bytes sent since then may be in flight.
    sent_before_read: u64,
    last_sent: Instant,
    context: Arc<ServerContext>,
}

/// When the head of the next request must be complete.
struct HeadDeadline {
    timeout: Duration,
    /// Requests before this one.
    requests: u64,
    state: HeadState,
    line: RequestLine,
    timer: Pin<Box<Sleep>>,
}

#[derive(Clone, Copy)]
enum HeadState {
    /// No byte of it was received.
    Awaited,
    /// A part arrived while the previous response was being sent; its time begins afterwards.
    Early,
    Begun(Instant),
}

impl TimeoutStream {
    pub(super) fn new(
        stream: Transport,
        header_timeout: Duration,
        progress: Arc<SendProgress>,
        context: Arc<ServerContext>,
    ) -> Self {
        let now = Instant::now();
        Self {
            stream,
            replay: Vec::new(),
            head: Some(HeadDeadline {
                timeout: header_timeout,
                requests: 0,
                state: HeadState::Begun(now),
                line: RequestLine::START,
                timer: Box::pin(sleep(header_timeout)),
            }),
            progress,
            closing: None,
            sent: 0,
            received: 0,
            sent_before_read: 0,
            last_sent: now,
            context,
        }
    }

    /// Whether files may be sent from a memory map. Without TLS, the kernel copies the bytes, and reports an error if the file
    /// was truncated; reading them in this process, for TLS, would be a fatal signal.
    pub(super) fn can_send_mapped_files(&self) -> bool {
        !self.stream.is_tls()
    }

    /// Detects the client's protocol. For HTTP/2 the header timeout ends here, because its frames do not show where a head
    /// begins.
    pub(super) async fn detect_protocol(&mut self) -> io::Result<Protocol> {
        let protocol = match self.stream.negotiated() {
            Some(protocol) => protocol,
            None if self.starts_with_preface().await? => Protocol::Http2,
            None => Protocol::Http1,
        };
        if protocol == Protocol::Http2 {
            self.head = None;
        }
        Ok(protocol)
    }

    /// The bytes that were read to detect the protocol, which suffice to recognize a PROXY header.
    pub(super) fn first_bytes(&self) -> &[u8] {
        &self.replay
    }

    async fn starts_with_preface(&mut self) -> io::Result<bool> {
        let (mut first, mut count) = ([0; HTTP2_PREFACE.len()], 0);
        while count < first.len() && first[..count] == HTTP2_PREFACE[..count] {
            match self.read(&mut first[count..]).await? {
                0 => break,
                more => count += more,
            }
        }
        first[..count].clone_into(&mut self.replay);
        Ok(first == HTTP2_PREFACE)
    }

    /// Polled while there is nothing to read: fails once the head of the next request is late.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(head) = &mut self.head else {
            return Poll::Pending;
        };
        if head.requests != self.progress.requests() {
            (head.requests, head.state) = (self.progress.requests(), HeadState::Awaited);
        }
        let is_responding = self.progress.is_responding();
        head.state = match head.state {
            HeadState::Begun(_) if is_responding => HeadState::Early,
            HeadState::Early if !is_responding => HeadState::Begun(Instant::now()),
            state => state,
        };
        let HeadState::Begun(begun) = head.state else {
            return Poll::Pending;
        };
        let deadline = begun + head.timeout;
        if head.timer.deadline() != deadline {
            head.timer.as_mut().reset(deadline);
        }
        ready!(head.timer.as_mut().poll(cx));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }

    fn note_received(&mut self, bytes: &mut [u8]) {
        self.received += bytes.len() as u64;
        self.sent_before_read = self.sent;
        let Some(head) = &mut self.head else { return };
        let requests = self.progress.requests();
        if head.requests != requests || matches!(head.state, HeadState::Awaited) {
            (head.requests, head.state) = (requests, HeadState::Begun(Instant::now()));
            // What arrives before the response may be the body of its request.
            head.line = match self.progress.is_responding() {
                true => RequestLine::END,
                false => RequestLine::START,
            };
        }
        head.line.read(bytes);
    }

    fn note_sent(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let count = match &written {
            Poll::Ready(Ok(count)) => Some(*count),
            Poll::Ready(Err(_)) => Some(0),
            Poll::Pending => None,
        };
        if let Some(count) = count {
            self.sent += count as u64;
            self.last_sent = Instant::now();
        }
        if self.head.is_some() {
            self.progress.note_written(count);
        }
        written
    }

    fn close(&self) -> LingeringClose {
        match self.context.published.is_draining() {
            true => LingeringClose::new(timeout_at_shutdown(
                self.sent - self.sent_before_read,
                self.last_sent.elapsed(),
            )),
            false => LingeringClose::new(LINGER),
        }
    }
}

impl Drop for TimeoutStream {
    fn drop(&mut self) {
        self.context.metrics.connection_moved(self.sent, self.received);
    }
}

impl AsyncRead for TimeoutStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.replay.is_empty() {
            let count = buf.remaining().min(self.replay.len());
            buf.put_slice(&self.replay[..count]);
            self.replay.drain(..count);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                self.note_received(&mut buf.filled_mut()[before..]);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => self.poll_deadline(cx),
            ready => ready,
        }
    }
}

impl AsyncWrite for TimeoutStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note_sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note_sent(written)
    }

    /// Without it hyper would copy the bytes of bodies.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Ends our side, then waits for the client as [`LingeringClose`] does.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut closing = match self.closing.take() {
            Some(closing) => closing,
            None => {
                ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
                self.close()
            }
        };
        let polled = closing.poll(cx, &mut self.stream);
        self.closing = Some(closing);
        polled.map(Ok)
    }
}
