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
use super::patience::is_at_pace;

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
        let (mut since, mut before) = (Instant::now(), self.seen());
        loop {
            sleep(idle / LOOKS).await;
            let (elapsed, now) = (since.elapsed(), self.seen());
            if before.open > 0 && now.open > 0 {
                let taken = now.taken - before.taken;
                if elapsed < idle {
                    continue;
                }
                if taken == 0 || !is_at_pace(taken, elapsed, pace) {
                    return Standstill::Stalled;
                }
            } else if before.is_idle() && now.is_idle() && before.asked == now.asked {
                if elapsed < idle {
                    continue;
                }
                return Standstill::Idle;
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
