//! When a transfer is given up: on cancellation, at its deadline, or below the minimum rate.
//!
//! The rate counts only the time spent waiting for the other side, and every byte that arrives: headers, progress messages,
//! keep-alives. It is averaged over a few idle timeouts, because a server may take some time to prepare a large response.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::error::NetworkError;
use crate::config::Git;
use crate::util::cancel::CancelFlag;

/// How often a wait checks whether its transfer was given up.
pub(crate) const POLL: Duration = Duration::from_millis(200);

/// How many idle timeouts the rate is averaged over.
const PACE_TIMEOUTS: u32 = 4;

/// Why a transfer has to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    #[error("cancelled")]
    Cancelled,
    #[error("it took longer than {0:?}")]
    Deadline(Duration),
    #[error("fewer than {pace} bytes per second arrived for {window:?}")]
    TooSlow { pace: usize, window: Duration },
}

/// The limits of one transfer, which may use several connections; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct TransferWatch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cancel: CancelFlag,
    began: Instant,
    total: Duration,
    /// Bytes per second.
    min_pace: usize,
    window: Duration,
    current: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    waited: Duration,
    received: u64,
}

impl TransferWatch {
    /// For a transfer that begins now.
    pub(crate) fn new(git: &Git, cancel: &CancelFlag) -> Self {
        Self(Arc::new(Inner {
            cancel: cancel.clone(),
            began: Instant::now(),
            total: git.total_timeout,
            min_pace: git.min_pace,
            window: git.timeout * PACE_TIMEOUTS,
            current: Mutex::default(),
        }))
    }

    /// Fails if the transfer was cancelled or takes too long.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        if self.0.cancel.is_set() {
            return Err(Stop::Cancelled);
        }
        match self.0.began.elapsed() >= self.0.total {
            true => Err(Stop::Deadline(self.0.total)),
            false => Ok(()),
        }
    }

    /// Records the time of a wait for the other side and the bytes that it brought. Fails like [`Self::check`], and if the other
    /// side is too slow.
    pub(crate) fn record(&self, waited: Duration, received: usize) -> Result<(), Stop> {
        self.check()?;
        let Inner { min_pace, window, .. } = *self.0;
        let mut current = self.0.current.lock();
        current.waited += waited;
        current.received += received as u64;
        if current.waited < window {
            return Ok(());
        }
        let Window { waited, received } = std::mem::take(&mut *current);
        match (received as f64) < min_pace as f64 * waited.as_secs_f64() {
            true => Err(Stop::TooSlow { pace: min_pace, window }),
            false => Ok(()),
        }
    }
}

impl Stop {
    pub(crate) fn into_error(self, host: String) -> NetworkError {
        match self {
            Self::Cancelled => NetworkError::Cancelled,
            Self::Deadline(after) => NetworkError::Deadline { host, after },
            Self::TooSlow { pace, window } => NetworkError::TooSlow { host, pace, window },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(git: &Git) -> (TransferWatch, CancelFlag) {
        let cancel = CancelFlag::default();
        (TransferWatch::new(git, &cancel), cancel)
    }

    #[test]
    fn pace_is_the_average_over_the_time_waited() {
        let git = Git { timeout: Duration::from_secs(10), min_pace: 100, ..Git::default() };
        let (watch, _) = watch(&git);
        let second = Duration::from_secs(1);
        // A pause, then enough at once.
        for _ in 0..38 {
            watch.record(second, 0).unwrap();
        }
        watch.record(second * 2, 4_000).unwrap();
        let results: Vec<_> = (0..40).map(|_| watch.record(second, 99)).collect();
        assert!(results[..39].iter().all(Result::is_ok));
        assert_eq!(results[39], Err(Stop::TooSlow { pace: 100, window: second * 40 }));
    }

    #[test]
    fn cancellation_and_deadline_stop_a_transfer() {
        let (watch, cancel) = watch(&Git::default());
        watch.check().unwrap();
        cancel.set();
        assert_eq!(watch.check(), Err(Stop::Cancelled));
        let git = Git { total_timeout: Duration::ZERO, ..Git::default() };
        assert_eq!(self::watch(&git).0.record(POLL, 1 << 20), Err(Stop::Deadline(Duration::ZERO)));
    }
}
