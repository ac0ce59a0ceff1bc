//! The ways to give the kernel a file's bytes: it copies them from the mapping, or takes them by reference (`sendfile`).
//!
//! Which costs less is a matter of processor, kernel and network. Over loopback, for 2 MB, a reference costs half of a copy
//! on a Xeon of 2.5 GHz, and on an EPYC nginx, by reference, more than twice as much as our copies. So the processor time of both is measured while
//! serving, and the cheaper one is taken; the other is tried again from time to time.
//!
//! Bytes taken by reference are the file's until the client has acknowledged them: who writes into a published file in place, or cuts it short,
//! instead of replacing it by its name, can change what was compared already. Composer's own comparison finds that.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::time::{ClockId, clock_gettime};

use crate::server::body::is_cut;
use crate::server::file::Piece;
use crate::server::mapping::cut_short;
use crate::server::timeout_stream::Patient;
use crate::server::transport::poll_write_both;

/// Bytes below which nothing is gained, and nothing learned.
const LEAST: u64 = 256 << 10;

/// Of so many files one goes the dearer way.
const AGAIN: u32 = 64;

/// What is known of both ways.
#[derive(Default)]
pub(in crate::server) struct Ways {
    copy: Cost,
    reference: Cost,
    files: AtomicU32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Copy,
    Reference,
}

/// Nanoseconds of the processor for a mebibyte, lately; zero as long as nothing is known, so that it is tried.
#[derive(Default)]
struct Cost(AtomicU64);

/// Of what the machine cannot do, until it is seen to.
const NEVER: u64 = u64::MAX;

impl Ways {
    /// The way for so many bytes of a file.
    pub(super) fn choose(&self, is_tcp: bool, bytes: u64) -> Way {
        if !is_tcp || bytes < LEAST {
            return Way::Copy;
        }
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let copy_is_cheaper = self.copy.get() < self.reference.get();
        let tries_other = number % AGAIN == AGAIN - 1;
        match copy_is_cheaper != tries_other {
            true => Way::Copy,
            false => Way::Reference,
        }
    }

    /// Sends what is left of `head`, and a piece of a file: by reference where it has the file.
    ///
    /// # Errors
    ///
    /// When the client does not take it, or the file is not what it was.
    pub(super) async fn send(
        &self,
        stream: &mut Patient,
        mut head: &[u8],
        piece: &Piece,
        way: Way,
    ) -> io::Result<()> {
        let (mut range, mut failed) = (piece.range(), false);
        let len = range.len();
        if way == Way::Reference
            && let Some(file) = piece.file()
        {
            match timed(|cx| poll_refer(stream, cx, &mut head, file, &mut range)).await {
                Ok(spent) => {
                    self.reference.note(len, spent);
                    return Ok(());
                }
                Err(error) if is_of_client(&error) => return Err(error),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(is_cut(error)),
                // The machine cannot, or this file: a copy tells.
                Err(error) => {
                    tracing::debug!(%error, "a file could not be sent by reference");
                    failed = true;
                }
            }
        }
        let mut mapped = &piece.mapped()[len - range.len()..];
        let sent = timed(|cx| poll_write_both(stream, cx, &mut head, &mut mapped)).await;
        match sent {
            Ok(spent) => {
                self.copy.note(range.len(), spent);
                if failed {
                    self.reference.note_never();
                }
                Ok(())
            }
            // The kernel's words for what would be a SIGBUS here.
            Err(error) if error.raw_os_error() == Some(Errno::FAULT.raw_os_error()) => Err(is_cut(error)),
            Err(error) => Err(error),
        }
    }
}

/// Whether it is the connection that broke.
fn is_of_client(error: &io::Error) -> bool {
    use ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, HostUnreachable, NetworkDown, NetworkUnreachable,
        NotConnected, TimedOut,
    };
    matches!(
        error.kind(),
        BrokenPipe
            | ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | NetworkDown
            | NetworkUnreachable
            | NotConnected
            | TimedOut
    )
}

impl Cost {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Learns from a piece. One that took far longer than others says more of its reader than of its way.
    fn note(&self, bytes: usize, spent: Duration) {
        if (bytes as u64) < LEAST {
            return;
        }
        let spent = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        let found = (spent.saturating_mul(1 << 20) / bytes as u64).max(1);
        let known = match self.get() {
            0 | NEVER => found,
            known => known,
        };
        let found = found.min(known + known / 4 + 1);
        // Whoever comes between loses one of many.
        self.0.store(known - known / 4 + found / 4, Ordering::Relaxed);
    }

    fn note_never(&self) {
        self.0.store(NEVER, Ordering::Relaxed);
    }
}

/// Sends the head and then the bytes `range` of the file, and moves both on.
fn poll_refer(
    stream: &mut Patient,
    cx: &mut Context<'_>,
    head: &mut &[u8],
    file: &File,
    range: &mut Range<usize>,
) -> Poll<io::Result<()>> {
    while !head.is_empty() {
        // The rest comes at once: one packet holds the end of the head and the beginning of the file.
        let sent = ready!(stream.poll_tcp(cx, |socket| Ok(send(socket, head, SendFlags::MORE)?)))?;
        *head = &head[sent..];
    }
    while range.start < range.end {
        let mut at = range.start as u64;
        let sent = ready!(stream.poll_tcp(cx, |socket| {
            Ok(sendfile(socket, file, Some(&mut at), range.len())?)
        }))?;
        if sent == 0 {
            return Poll::Ready(Err(cut_short()));
        }
        range.start += sent;
    }
    Poll::Ready(Ok(()))
}

/// Waits until everything is sent; the time that the processor spent on it.
async fn timed(mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>) -> io::Result<Duration> {
    let mut spent = Duration::ZERO;
    poll_fn(|cx| {
        let before = processor_time();
        let polled = poll(cx);
        spent += processor_time().saturating_sub(before);
        polled
    })
    .await?;
    Ok(spent)
}

/// Of this thread.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheaper_way_is_taken_and_the_other_one_tried_again() {
        let ways = Ways::default();
        let mut taken = [0, 0];
        for _ in 0..1000 {
            let (way, cost, spent) = match ways.choose(true, LEAST) {
                Way::Copy => (0, &ways.copy, 500),
                Way::Reference => (1, &ways.reference, 240),
            };
            taken[way] += 1;
            cost.note(2_000_000, Duration::from_micros(spent));
        }
        assert!((15..20).contains(&taken[0]), "{taken:?}");
        // The machine becomes another one.
        for _ in 0..5000 {
            match ways.choose(true, LEAST) {
                Way::Copy => ways.copy.note(2_000_000, Duration::from_micros(100)),
                Way::Reference => ways.reference.note(2_000_000, Duration::from_micros(240)),
            }
        }
        assert!(ways.copy.get() < ways.reference.get());
    }

    #[test]
    fn what_cannot_be_done_is_not_chosen() {
        let ways = Ways::default();
        ways.reference.note_never();
        ways.copy.note(1 << 20, Duration::from_secs(1));
        let chosen = (0..AGAIN - 1).map(|_| ways.choose(true, LEAST));
        assert!(chosen.into_iter().all(|way| way == Way::Copy));
    }
}
