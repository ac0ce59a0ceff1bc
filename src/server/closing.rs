//! The end of a connection, once we have said that nothing more comes: how long the peer has to take what is on its way, and to
//! end, too.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::transport::Transport;

/// Time for a few round trips.
const LINGER: Duration = Duration::from_secs(3);

/// How much longer for each byte that may be on its way when the server ends: what the kernel has then is lost when a container
/// ends and its network goes, and what a proxy at the container's port has, too.
const LINGER_PER_BYTE: Duration = Duration::from_micros(1);

/// As much as both of them have of an archive that a client takes slowly.
const ON_ITS_WAY: u64 = 16_000_000;

/// Bytes that a peer may say meanwhile: more than what is under way when a client reads its last answer, and too little for
/// a flood to keep a thread busy.
const UNHEARD: usize = 64 << 10;

pub(super) struct Closing {
    over: Pin<Box<Sleep>>,
    unheard: usize,
}

impl Closing {
    /// Of one connection among others.
    pub(super) fn new() -> Self {
        Self::within(LINGER)
    }

    /// With the server: `bytes` may be on their way still, the last of which was sent `since` so long.
    pub(super) fn with_server(bytes: u64, since: Duration) -> Self {
        Self::within(linger(bytes, since))
    }

    fn within(time: Duration) -> Self {
        Self {
            over: Box::pin(sleep(time)),
            unheard: 0,
        }
    }

    /// Waits until the peer has ended, too, within its time and for [`UNHEARD`] at most; what it says meanwhile is not heard.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, stream: &mut Transport) -> Poll<()> {
        let mut buffer = [0; 4096];
        while self.unheard < UNHEARD && self.over.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut buffer);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => self.unheard += buf.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

fn linger(bytes: u64, since: Duration) -> Duration {
    let bytes = bytes.min(ON_ITS_WAY);
    let longer = LINGER_PER_BYTE * u32::try_from(bytes).unwrap_or(u32::MAX);
    LINGER + longer.saturating_sub(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_on_its_way_has_its_time_and_no_more() {
        for (bytes, since, expected) in [
            (0, 0, 3),
            (5_000_000, 0, 8),
            (5_000_000, 2, 6),
            (5_000_000, 10, 3),
            (1 << 40, 0, 19),
        ] {
            let found = linger(bytes, Duration::from_secs(since));
            assert_eq!(
                found,
                Duration::from_secs(expected),
                "{bytes} bytes since {since} s"
            );
        }
    }
}
