//! The end of a connection after our last byte: waits for the client to read it and close its side.
//!
//! Closing a socket while the client still sends would reset it, and the client could lose the response.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::transport::Transport;

/// Time for a few round trips.
pub(super) const LINGER: Duration = Duration::from_secs(3);

/// Additional time for each byte in flight when the server stops: data in the kernel and in the port proxy of the container is
/// lost when the container ends.
const LINGER_PER_BYTE: Duration = Duration::from_micros(1);

/// The most that the kernel and a proxy are assumed to hold for a slow client.
const MAX_IN_FLIGHT: u64 = 16_000_000;

/// Bytes to read from the client meanwhile: more than a client sends before it reads its last response, but not a flood.
const MAX_DISCARDED: usize = 64 << 10;

pub(super) struct LingeringClose {
    timer: Pin<Box<Sleep>>,
    discarded: usize,
}

impl LingeringClose {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timer: Box::pin(sleep(timeout)), discarded: 0 }
    }

    /// Discards what the client sends until it closes, or exceeds the time or the number of bytes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, stream: &mut Transport) -> Poll<()> {
        let mut buffer = [0; 4096];
        while self.discarded < MAX_DISCARDED && self.timer.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut buffer);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => self.discarded += buf.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

/// The time when the server stops, with up to `in_flight` bytes sent and not yet received, the last of them `elapsed` ago.
pub(super) fn timeout_at_shutdown(in_flight: u64, elapsed: Duration) -> Duration {
    let bytes = u32::try_from(in_flight.min(MAX_IN_FLIGHT)).unwrap_or(u32::MAX);
    LINGER + (LINGER_PER_BYTE * bytes).saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeout_grows_with_bytes_in_flight_up_to_a_limit() {
        for (in_flight, elapsed, expected) in
            [(0, 0, 3), (5_000_000, 0, 8), (5_000_000, 2, 6), (5_000_000, 10, 3), (1 << 40, 0, 19)]
        {
            let timeout = timeout_at_shutdown(in_flight, Duration::from_secs(elapsed));
            assert_eq!(timeout.as_secs(), expected, "{in_flight} bytes, {elapsed} s ago");
        }
    }
}
