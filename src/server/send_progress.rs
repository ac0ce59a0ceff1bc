//! Whether the client of an HTTP/2 connection gets on: whether it asks, and takes what it has asked for.
//!
//! Bytes do not tell: those of a PING, and of what answers it, may come and go for ever (RFC 9113 section 6.7). What tells
//! are requests, and the bytes that flow control and the peer's network let an answer send. A request counts them, and
//! somebody looks at the counts a few times in an idle timeout, so that no request reads a clock or sets a timer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::sleep;

use super::body::Body;
use super::timeout_stream::is_at_pace;

/// How often the counts are looked at in an idle timeout, which lasts longer by one such time at most.
const LOOKS: u32 = 4;

/// What a client has done.
#[derive(Default)]
pub(super) struct Progress {
    asked: AtomicU64,
    /// Requests whose answers are being made.
    waiting: AtomicUsize,
    /// Answers of which there is something to take.
    open: AtomicUsize,
    /// Bytes of answers.
    taken: AtomicU64,
}

/// Why there is nothing more to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standstill {
    /// Nothing was asked, and there was nothing to take.
    Idle,
    /// Nothing, or too little, was taken of what there was.
    Stalled,
}

/// The counts at one moment.
#[derive(Clone, Copy)]
struct Seen {
    asked: u64,
    waiting: usize,
    open: usize,
    taken: u64,
}

/// A request whose answer is being made.
pub(super) struct Waiting<'p>(&'p Progress);

/// The body of an answer, of which is counted what is taken.
pub(super) struct Counted {
    body: Body,
    progress: Arc<Progress>,
}

impl Progress {
    /// Counts a request, until its answer is there.
    pub(super) fn asked(&self) -> Waiting<'_> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    /// Counts an answer, until it is taken whole.
    pub(super) fn answered(self: &Arc<Self>, body: Body) -> Counted {
        self.open.fetch_add(1, Ordering::Relaxed);
        Counted {
            body,
            progress: Arc::clone(self),
        }
    }

    /// Waits until the client has been idle for so long, or has taken less than `pace` bytes a second meanwhile.
    pub(super) async fn standstill(&self, idle: Duration, pace: u64) -> Standstill {
        self.watch(idle, pace, |before, now| before.asked == now.asked)
            .await
    }

    /// The same for a connection that is about to end: to ask more there is not to get on.
    pub(super) async fn end(&self, idle: Duration, pace: u64) -> Standstill {
        self.watch(idle, pace, |_, _| true).await
    }

    /// `is_silent` tells whether nothing was asked between two looks.
    async fn watch(&self, idle: Duration, pace: u64, is_silent: fn(Seen, Seen) -> bool) -> Standstill {
        let (mut since, mut before) = (Instant::now(), self.seen());
        loop {
            sleep(idle / LOOKS).await;
            let (elapsed, now) = (since.elapsed(), self.seen());
            let (is_taking, taken) = (before.open > 0 && now.open > 0, now.taken - before.taken);
            let is_idle = before.is_idle() && now.is_idle() && is_silent(before, now);
            if (is_taking || is_idle) && elapsed < idle {
                continue;
            }
            if is_idle {
                return Standstill::Idle;
            }
            if is_taking && (taken == 0 || !is_at_pace(taken, elapsed, pace)) {
                return Standstill::Stalled;
            }
            (since, before) = (Instant::now(), now);
        }
    }

    fn seen(&self) -> Seen {
        Seen {
            asked: self.asked.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed),
            open: self.open.load(Ordering::Relaxed),
            taken: self.taken.load(Ordering::Relaxed),
        }
    }
}

impl Seen {
    fn is_idle(self) -> bool {
        self.waiting == 0 && self.open == 0
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.progress.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let taken = frame.data_ref().map_or(0, Bytes::len);
            self.progress.taken.fetch_add(taken as u64, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use hyper::body::Body as _;
    use tokio::time::timeout;

    use super::*;

    const IDLE: Duration = Duration::from_millis(400);

    /// What `progress` comes to in four times as long as it may, while the client does `something` again and again.
    async fn comes_to(
        progress: &Progress,
        is_ending: bool,
        mut something: impl FnMut(),
    ) -> Option<Standstill> {
        let doing = async {
            loop {
                something();
                sleep(IDLE / 40).await;
            }
        };
        let standstill = async {
            match is_ending {
                true => progress.end(IDLE, 1000).await,
                false => progress.standstill(IDLE, 1000).await,
            }
        };
        let either = async {
            tokio::select! {
                standstill = standstill => standstill,
                () = doing => unreachable!("it is done for ever"),
            }
        };
        timeout(4 * IDLE, either).await.ok()
    }

    #[tokio::test]
    async fn requests_count_until_the_connection_is_to_end() {
        let progress = Progress::default();
        let ask = || drop(progress.asked());
        assert_eq!(comes_to(&progress, false, || {}).await, Some(Standstill::Idle));
        assert_eq!(comes_to(&progress, false, ask).await, None);
        assert_eq!(comes_to(&progress, true, ask).await, Some(Standstill::Idle));
        let _waiting = progress.asked();
        assert_eq!(comes_to(&progress, true, || {}).await, None, "the server's turn");
    }

    #[tokio::test]
    async fn what_there_is_has_to_be_taken_whatever_else_is_asked() {
        let progress = Arc::new(Progress::default());
        let mut open = progress.answered(Bytes::from(vec![0; 1 << 20]).into());
        let ask = || drop(progress.asked());
        assert_eq!(comes_to(&progress, false, ask).await, Some(Standstill::Stalled));
        let taken = poll_fn(|cx| Pin::new(&mut open).poll_frame(cx)).await;
        assert!(taken.is_some_and(|frame| frame.is_ok()));
        assert_eq!(progress.seen().taken, 16 << 10);
        for is_ending in [false, true] {
            let take = |bytes| {
                let progress = &progress;
                move || {
                    progress.taken.fetch_add(bytes, Ordering::Relaxed);
                }
            };
            assert_eq!(comes_to(&progress, is_ending, take(100)).await, None);
            let slow = comes_to(&progress, is_ending, take(1)).await;
            assert_eq!(slow, Some(Standstill::Stalled));
        }
    }
}
