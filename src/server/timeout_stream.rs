//! A stream that gives up on a peer who neither sends nor takes a byte for too long, or who takes them too slowly.
//!
//! One timer covers all of it: the silence before a request, a head that drips, and a reader that stalls, or drips, in the
//! middle of a zip. In HTTP/2 bytes do not tell who gets on; see `progress`.

use std::io::{self, ErrorKind};
use std::mem::{self, MaybeUninit};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::io::writev;
use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep};

use super::closing::Closing;
use super::published::PublishedSite;
use super::server::Shared;
use super::transport::{RECEIVED, Sender, Transport, poll_receive, poll_send};
use crate::telemetry::Metrics;

/// What an HTTP/2 client says first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) struct Patient {
    stream: Transport,
    /// None where somebody else gives up.
    idle: Option<Duration>,
    /// Bytes a second that a reader must take.
    pace: u64,
    last_progress: Instant,
    /// Whether there was progress since, of which nothing is noted before somebody waits: to ask for the time costs as much as
    /// a request's header.
    has_moved: bool,
    /// By when something has to have come whole, however much of it has.
    due: Option<Instant>,
    /// Late by as much as has been transferred since it was set, so that a transfer does not move it every time.
    alarm: Pin<Box<Sleep>>,
    /// Whom it wakes.
    alarmed: Option<Waker>,
    /// Once we have said that nothing more comes.
    closing: Option<Closing>,
    /// Since when the peer has not taken all that there is for it, and how much had been sent then.
    behind: Option<(Instant, u64)>,
    /// How much had been sent when the peer was last heard: what was sent since may be on its way.
    arrived: u64,
    /// Bytes that were read to tell the protocol.
    first: Vec<u8>,
    traffic: Traffic,
    metrics: Metrics,
    published: PublishedSite,
}

/// What a connection has moved.
#[derive(Default)]
struct Traffic {
    sent: u64,
    received: u64,
}

impl Patient {
    pub(super) fn new(stream: Transport, idle: Duration, shared: &Shared) -> Self {
        Self {
            stream,
            idle: Some(idle),
            pace: shared.settings.min_pace,
            last_progress: Instant::now(),
            has_moved: false,
            due: None,
            alarm: Box::pin(sleep(idle)),
            alarmed: None,
            closing: None,
            behind: None,
            arrived: 0,
            first: Vec::new(),
            traffic: Traffic::default(),
            metrics: shared.metrics.clone(),
            published: shared.published.clone(),
        }
    }

    /// Lets reading fail when what is read from now on is not whole, and so said, `patience` after what went before. What is
    /// expected already has its time.
    pub(super) fn expect_within(&mut self, patience: Duration) {
        if self.due.is_some() {
            return;
        }
        self.note_progress();
        let due = self.last_progress + patience;
        if due < self.alarm.deadline() {
            self.set_alarm(due);
        }
        self.due = Some(due);
    }

    /// What was read to tell the protocol, for who reads on.
    pub(super) fn take_first(&mut self) -> Vec<u8> {
        mem::take(&mut self.first)
    }

    /// It is whole.
    pub(super) fn expect_nothing(&mut self) {
        self.due = None;
    }

    /// Leaves it to whoever reads and writes to give up.
    pub(super) fn wait_forever(&mut self) {
        self.due = None;
        self.idle = None;
    }

    /// Notes progress; when there is none, waits for the alarm too.
    fn watch<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.has_moved = true;
            return polled;
        }
        let Some(idle) = self.idle else {
            return Poll::Pending;
        };
        self.note_progress();
        // What is set for whom it shall wake, and has not gone off, need not be asked.
        let is_set = |alarmed: &Waker| alarmed.will_wake(cx.waker());
        if !self.alarm.is_elapsed() && self.alarmed.as_ref().is_some_and(is_set) {
            return Poll::Pending;
        }
        loop {
            // A timer that the task's budget keeps from being asked would not be set.
            if Pin::new(&mut unconstrained(self.alarm.as_mut()))
                .poll(cx)
                .is_pending()
            {
                match &mut self.alarmed {
                    Some(alarmed) => alarmed.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                return Poll::Pending;
            }
            let idle = self.last_progress + idle;
            let due = self.due.map_or(idle, |due| due.min(idle));
            if due <= Instant::now() {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
            self.set_alarm(due);
        }
    }

    /// Notes that what was there at `made` is sent, unless the peer had to be waited for, which is later.
    pub(super) fn sent(&mut self, made: std::time::Instant) {
        let made = Instant::from_std(made);
        if self.last_progress <= made {
            (self.last_progress, self.has_moved) = (made, false);
        }
    }

    fn note_progress(&mut self) {
        if mem::take(&mut self.has_moved) {
            self.last_progress = Instant::now();
        }
    }

    fn close(&mut self) -> Closing {
        if !self.published.is_draining() {
            return Closing::new();
        }
        self.note_progress();
        Closing::with_server(self.traffic.sent - self.arrived, self.last_progress.elapsed())
    }

    fn set_alarm(&mut self, to: Instant) {
        self.alarm.as_mut().reset(to);
        self.alarmed = None;
    }

    fn heard(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count @ 1..)) = polled {
            self.traffic.received += count as u64;
            // The next request: what went before was taken in time.
            self.behind = None;
            self.arrived = self.traffic.sent;
        }
        self.watch(cx, polled)
    }

    fn wrote(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Ready(Ok(count)) => {
                self.traffic.sent += *count as u64;
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending if self.keeps_pace() => {}
            Poll::Pending => return Poll::Ready(Err(ErrorKind::TimedOut.into())),
        }
        self.watch(cx, polled)
    }

    /// Whether the peer has taken enough since it fell behind; asked whenever it has to be waited for.
    fn keeps_pace(&mut self) -> bool {
        let Some(idle) = self.idle else {
            return true;
        };
        let (since, sent) = *self.behind.get_or_insert((Instant::now(), self.traffic.sent));
        let elapsed = since.elapsed();
        if elapsed < idle {
            return true;
        }
        self.behind = None;
        is_at_pace(self.traffic.sent - sent, elapsed, self.pace)
    }

    pub(super) fn sender(&self) -> Sender<'_> {
        self.stream.sender()
    }

    /// Adds to `received` what has come; answers how many bytes, zero at the end of the stream.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or nothing comes for too long.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        received: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        let polled = match self.stream.sender() {
            Sender::Tcp(socket) => poll_receive(socket, cx, received),
            Sender::Kernel | Sender::Program => {
                let mut buffer = [MaybeUninit::uninit(); RECEIVED];
                let mut buffer = ReadBuf::uninit(&mut buffer);
                let polled = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
                received.extend_from_slice(buffer.filled());
                polled.map_ok(|()| buffer.filled().len())
            }
        };
        self.heard(cx, polled)
    }

    /// Sends by `operation`, which tells the number of bytes that the socket has taken, as soon as the socket takes any.
    ///
    /// # Errors
    ///
    /// Of the operation; where there is no such socket; when the peer takes nothing for too long.
    pub(super) fn poll_tcp(
        &mut self,
        cx: &mut Context<'_>,
        operation: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let Sender::Tcp(socket) = self.stream.sender() else {
            return Poll::Ready(Err(ErrorKind::Unsupported.into()));
        };
        let polled = poll_send(socket, cx, operation);
        self.wrote(cx, polled)
    }

    /// Whether the client speaks HTTP/2 and may, told by its first bytes, which are then read again by whoever reads next.
    pub(super) async fn speaks_http2(&mut self) -> io::Result<bool> {
        let may_carry = self.stream.may_carry_http2();
        let (mut first, mut count) = ([0; PREFACE.len()], 0);
        while count < PREFACE.len() && first[..count] == PREFACE[..count] {
            match self.read(&mut first[count..]).await? {
                0 => break,
                more => count += more,
            }
            if !may_carry {
                break;
            }
        }
        first[..count].clone_into(&mut self.first);
        Ok(may_carry && first == PREFACE)
    }
}

/// Whether so many bytes in this time are as many a second as `pace`.
pub(super) fn is_at_pace(bytes: u64, elapsed: Duration, pace: u64) -> bool {
    u128::from(bytes) * 1000 >= u128::from(pace) * elapsed.as_millis()
}

impl Drop for Patient {
    fn drop(&mut self) {
        self.metrics
            .connection_moved(self.traffic.sent, self.traffic.received);
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let count = buf.remaining().min(self.first.len());
            buf.put_slice(&self.first[..count]);
            self.first.drain(..count);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let polled = polled.map_ok(|()| buf.filled().len() - before);
        self.heard(cx, polled).map_ok(|_| ())
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if matches!(self.stream.sender(), Sender::Tcp(_)) {
            return self.poll_tcp(cx, |socket| Ok(send(socket, buf, SendFlags::NOSIGNAL)?));
        }
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // The kernel takes one buffer for less than a list of one.
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        if matches!(self.stream.sender(), Sender::Tcp(_)) {
            return self.poll_tcp(cx, |socket| Ok(writev(socket, bufs)?));
        }
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(cx, polled)
    }

    /// Without it hyper would copy the bytes of every frame behind its head.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Its success is no progress: flushing a socket always succeeds, and moves nothing. That of TLS may have to wait.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Pending => self.watch(cx, Poll::Pending),
            flushed => flushed,
        }
    }

    /// Waits until the peer has ended, too, as [`Closing`] does.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut closing = match self.closing.take() {
            Some(closing) => closing,
            // That of TLS has something to say first, which the peer may not take.
            None => match Pin::new(&mut self.stream).poll_shutdown(cx) {
                Poll::Pending => return self.watch(cx, Poll::Pending),
                Poll::Ready(shut) => shut.map(|()| self.close())?,
            },
        };
        let polled = closing.poll(cx, &mut self.stream);
        self.closing = Some(closing);
        polled.map(Ok)
    }
}
