//! Detects clients that make no progress: that neither send requests nor read responses.
//!
//! In HTTP/2, bytes on the wire prove nothing: a client may send PINGs for ever (RFC 9113 section 6.7). Only requests count, and
//! the bytes of bodies that flow control and the network accept. The counts are sampled a few times per idle timeout, so that no
//! request reads a clock or sets a timer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::sleep;

use super::body::Body;
use super::connection_limits::ClientPermit;

/// How often the counts are sampled in an idle timeout, which may last one interval longer.
const SAMPLES_PER_TIMEOUT: u32 = 4;

/// The counts of one connection.
#[derive(Default)]
pub(super) struct SendProgress {
    requests: AtomicU64,
    /// Requests without a response.
    pending: AtomicUsize,
    /// Responses with bytes to send.
    sending: AtomicUsize,
    /// Bytes sent: over HTTP/1.1 all bytes, over HTTP/2 those of bodies.
    sent: AtomicU64,
    /// Whether an HTTP/1.1 connection waits until its client reads.
    is_blocked: AtomicBool,
}

/// Why there is no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stall {
    /// No requests came, and there was nothing to send.
    Idle,
    /// Nothing, or too little, was read of the responses.
    Stalled,
}

/// The counts at one moment.
#[derive(Clone, Copy)]
struct Sample {
    requests: u64,
    pending: usize,
    sending: usize,
    sent: u64,
}

/// A request without a response.
pub(super) struct PendingRequest<'p>(&'p SendProgress);

impl SendProgress {
    /// Counts a request, which is pending until the result is dropped.
    pub(super) fn begin_request(&self) -> PendingRequest<'_> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.pending.fetch_add(1, Ordering::Relaxed);
        PendingRequest(self)
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn is_responding(&self) -> bool {
        !self.sample().is_quiet()
    }

    /// Counts what an HTTP/1.1 connection has written, which is `None` if the socket takes nothing.
    pub(super) fn note_written(&self, count: Option<usize>) {
        self.is_blocked.store(count.is_none(), Ordering::Relaxed);
        self.sent.fetch_add(count.unwrap_or(0) as u64, Ordering::Relaxed);
    }

    /// Waits until the client was idle for `timeout`, or read less than `min_rate` bytes a second in that time. On a
    /// connection that is closing, further requests do not count as progress.
    pub(super) async fn stall(&self, timeout: Duration, min_rate: u64, is_closing: bool) -> Stall {
        let (mut since, mut before) = (Instant::now(), self.sample());
        loop {
            sleep(timeout / SAMPLES_PER_TIMEOUT).await;
            let (elapsed, now) = (since.elapsed(), self.sample());
            let (is_sending, sent) = (before.sending > 0 && now.sending > 0, now.sent - before.sent);
            let has_request = !is_closing && before.requests != now.requests;
            let is_idle = before.is_quiet() && now.is_quiet() && !has_request;
            if (is_sending || is_idle) && elapsed < timeout {
                continue;
            }
            if is_idle {
                return Stall::Idle;
            }
            if is_sending && (sent == 0 || !meets_min_rate(sent, elapsed, min_rate)) {
                return Stall::Stalled;
            }
            (since, before) = (Instant::now(), now);
        }
    }

    fn sample(&self) -> Sample {
        Sample {
            requests: self.requests.load(Ordering::Relaxed),
            pending: self.pending.load(Ordering::Relaxed),
            sending: self.sending.load(Ordering::Relaxed)
                + usize::from(self.is_blocked.load(Ordering::Relaxed)),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }
}

impl Sample {
    fn is_quiet(self) -> bool {
        self.pending == 0 && self.sending == 0
    }
}

fn meets_min_rate(bytes: u64, elapsed: Duration, rate: u64) -> bool {
    u128::from(bytes) * 1000 >= u128::from(rate) * elapsed.as_millis()
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a response: of HTTP/2 in frames of limited size, which are counted.
pub(super) struct CountedBody {
    body: Body,
    /// What was taken from the body and is not sent yet.
    rest: Bytes,
    max_frame: Option<usize>,
    progress: Arc<SendProgress>,
    _client: Option<ClientPermit>,
}

impl CountedBody {
    /// The request is counted for its client until the body is dropped.
    pub(super) fn new(
        body: Body,
        max_frame: Option<usize>,
        progress: Arc<SendProgress>,
        client: Option<ClientPermit>,
    ) -> Self {
        progress.sending.fetch_add(1, Ordering::Relaxed);
        Self { body, rest: Bytes::new(), max_frame, progress, _client: client }
    }
}

impl Drop for CountedBody {
    fn drop(&mut self) {
        self.progress.sending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl hyper::body::Body for CountedBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                other => return Poll::Ready(other),
            }
        }
        let mut length = self.rest.len();
        if let Some(max_frame) = self.max_frame {
            length = length.min(max_frame);
            self.progress.sent.fetch_add(length as u64, Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64 + self.body.size_hint().lower())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use hyper::body::Body as _;
    use tokio::time::timeout;

    use super::*;

    const IDLE: Duration = Duration::from_millis(400);

    /// How the client stalls within four timeouts while it does `action` again and again.
    async fn stall(progress: &SendProgress, is_closing: bool, mut action: impl FnMut()) -> Option<Stall> {
        let acting = async {
            loop {
                action();
                sleep(IDLE / 40).await;
            }
        };
        let either = async {
            tokio::select! {
                stall = progress.stall(IDLE, 1000, is_closing) => stall,
                () = acting => unreachable!("it never ends"),
            }
        };
        timeout(4 * IDLE, either).await.ok()
    }

    #[tokio::test]
    async fn requests_are_progress_unless_the_connection_is_closing() {
        let progress = SendProgress::default();
        let request = || drop(progress.begin_request());
        assert_eq!(stall(&progress, false, || {}).await, Some(Stall::Idle));
        assert_eq!(stall(&progress, false, request).await, None);
        assert_eq!(stall(&progress, true, request).await, Some(Stall::Idle));
        let _pending = progress.begin_request();
        assert_eq!(stall(&progress, true, || {}).await, None, "the server's turn");
    }

    #[tokio::test]
    async fn responses_must_be_read_whatever_is_requested() {
        let progress = Arc::new(SendProgress::default());
        let body = Body::Memory(Bytes::from(vec![0; 1 << 20]));
        let mut body = CountedBody::new(body, Some(16 << 10), Arc::clone(&progress), None);
        let request = || drop(progress.begin_request());
        assert_eq!(stall(&progress, false, request).await, Some(Stall::Stalled));
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        assert!(frame.is_some_and(|frame| frame.is_ok()));
        assert_eq!(progress.sample().sent, 16 << 10);
        for is_closing in [false, true] {
            let read = |bytes| {
                let progress = &progress;
                move || {
                    progress.sent.fetch_add(bytes, Ordering::Relaxed);
                }
            };
            assert_eq!(stall(&progress, is_closing, read(100)).await, None);
            let slow = stall(&progress, is_closing, read(1)).await;
            assert_eq!(slow, Some(Stall::Stalled));
        }
    }
}
