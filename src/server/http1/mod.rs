//! HTTP/1.1 (RFC 9112) on one connection: a request is read, answered and sent before the next is looked at.
//!
//! The grammar is `httparse`'s; what frames a message is here, and strict: who says two lengths, or one that another party
//! could read otherwise, is refused (section 6.3). A connection ends with the answer to a request that has a body, so that
//! nothing a body holds is ever taken for a request.

mod head;
mod send;
mod upload;
mod ways;

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::task::unconstrained;

use self::head::{Framing, Head, Persistence, Refusal};
use self::upload::{Upload, Uploaded};
use super::body::Body;
use super::connection::{Phase, Talk, reached};
use super::reply::Reply;
use super::responses::text;
use super::timeout_stream::Patient;

pub(super) use self::ways::Ways;

/// Answers requests until the client goes, or the head of one takes longer than `patience` from its first byte; once the
/// server ends, only the one that has begun.
///
/// # Errors
///
/// When the connection breaks, or a file cannot be read to its end.
pub(super) async fn serve(
    mut stream: Patient,
    talk: &Talk,
    patience: Duration,
    phase: &mut watch::Receiver<Phase>,
) -> io::Result<()> {
    let mut connection = Connection {
        received: stream.take_first(),
        stream,
        head: Vec::with_capacity(1 << 10),
    };
    let ending = AtomicBool::new(*phase.borrow() >= Phase::Draining);
    let mut served = pin!(connection.serve(talk, patience, &ending));
    if let Some(done) = until_draining(served.as_mut(), talk, phase).await {
        return done;
    }
    ending.store(true, Ordering::Relaxed);
    tokio::select! {
        served = served => served,
        () = reached(phase, Phase::Cut) => Ok(()),
    }
}

/// Serves until that is done, or the server is to end.
async fn until_draining<T>(
    mut served: Pin<&mut impl Future<Output = T>>,
    talk: &Talk,
    phase: &mut watch::Receiver<Phase>,
) -> Option<T> {
    // A question that the task's budget keeps from being asked would be answered to nobody.
    let mut draining = pin!(unconstrained(reached(phase, Phase::Draining)));
    let mut told: Option<Waker> = None;
    poll_fn(|cx| {
        if let Poll::Ready(done) = served.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        // To ask takes a lock that all connections share. Who has asked is told, and that an end is near is known before.
        let is_told = |told: &Waker| told.will_wake(cx.waker());
        if told.as_ref().is_some_and(is_told) && !talk.is_draining() {
            return Poll::Pending;
        }
        told = Some(cx.waker().clone());
        draining.as_mut().poll(cx).map(|()| None)
    })
    .await
}

struct Connection {
    stream: Patient,
    /// What was received and not looked at yet.
    received: Vec<u8>,
    /// The head of the answer on its way; kept for its memory.
    head: Vec<u8>,
}

/// Why a conversation ends before the client ends it.
enum Trouble {
    Broken(io::Error),
    Refused(Refusal),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Connection {
    async fn serve(&mut self, talk: &Talk, patience: Duration, ending: &AtomicBool) -> io::Result<()> {
        match self.converse(talk, patience, ending).await {
            Ok(()) => {}
            Err(Trouble::Broken(error)) => return Err(error),
            Err(Trouble::Refused(Refusal(status, because))) => {
                let mut reply = text(status, because);
                talk.refused(&reply);
                self.send(&mut reply, Persistence::Close, Instant::now(), talk.ways())
                    .await?;
            }
        }
        self.stream.shutdown().await
    }

    async fn converse(
        &mut self,
        talk: &Talk,
        patience: Duration,
        ending: &AtomicBool,
    ) -> Result<(), Trouble> {
        let mut tally = talk.tally();
        loop {
            let limit = talk.max_header_size();
            let Some(mut bytes) = self.next_head(limit, patience, ending).await? else {
                return Ok(());
            };
            self.stream.expect_nothing();
            let parsed = Head::parse(&bytes);
            let (head, len) = parsed.as_ref().map_err(|refusal| *refusal)?;
            if *len < bytes.len() {
                self.received.splice(..0, bytes[*len..].iter().copied());
            }
            let mut upload = Upload::new(self, head.framing, head.expects_continue);
            let upload: &mut Uploaded<'_> = &mut upload;
            let (mut reply, made) = talk.answer(&head.request, upload, &mut tally).await;
            let is_last = reply.is_last || head.framing != Framing::None || ending.load(Ordering::Relaxed);
            let persistence = if is_last {
                Persistence::Close
            } else {
                head.persistence
            };
            self.send(&mut reply, persistence, made, talk.ways()).await?;
            if self.received.is_empty() {
                bytes.clear();
                self.received = bytes;
            }
            if persistence == Persistence::Close {
                return Ok(());
            }
        }
    }

    /// The bytes of the next head, and maybe of what follows it; none when the client has gone, or is to go.
    async fn next_head(
        &mut self,
        limit: usize,
        patience: Duration,
        ending: &AtomicBool,
    ) -> Result<Option<Vec<u8>>, Trouble> {
        // Empty lines before it begin it too, or they could come for ever.
        let (mut has_begun, mut looked_at) = (!self.received.is_empty(), 0);
        loop {
            if let Some(end) = head::end(&mut self.received, &mut looked_at, limit)? {
                let rest = self.received.split_off(end);
                return Ok(Some(mem::replace(&mut self.received, rest)));
            }
            if has_begun {
                self.stream.expect_within(patience);
            }
            let count = poll_fn(|cx| match self.poll_receive(cx) {
                // What was asked before the end is answered.
                Poll::Pending if self.received.is_empty() && ending.load(Ordering::Relaxed) => {
                    Poll::Ready(Ok(0))
                }
                polled => polled,
            });
            match count.await {
                Ok(0) => return Ok(None),
                Ok(_) => has_begun = true,
                // Only who has begun a request is told: to anybody else it would look like the answer to the next one.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => match self.received.is_empty() {
                    true => return Ok(None),
                    false => {
                        return Err(Refusal(StatusCode::REQUEST_TIMEOUT, "the request took too long").into());
                    }
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads once; the number of bytes, zero at the end of the stream.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.stream.poll_receive(cx, &mut self.received)
    }

    async fn send(
        &mut self,
        reply: &mut Reply,
        persistence: Persistence,
        made: Instant,
        ways: &Ways,
    ) -> io::Result<()> {
        send::write_head(&mut self.head, reply, persistence, made);
        send::send(&mut self.stream, &self.head, &mut reply.body, ways).await?;
        // What comes from a disk takes its time.
        if !matches!(reply.body, Body::Disk(_)) {
            self.stream.sent(made);
        }
        Ok(())
    }
}
