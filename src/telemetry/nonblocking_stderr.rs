//! The standard error output of a server, which must not wait for its reader.
//!
//! It is usually a pipe to a container engine or to systemd. If the reader stalls, every thread that logs would wait for it,
//! in the end the one that serves.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a line waits for a stalled reader. Later lines are dropped at once until the reader continues.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A writable pipe takes this many bytes without blocking (`PIPE_BUF`).
const MAX_WRITE: usize = 4096;

/// Dropped lines that were not reported yet. Changed only under the lock of the output.
static DROPPED_LINES: AtomicU64 = AtomicU64::new(0);

/// Writes one line at a time.
pub(super) struct Output;

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        let dropped = DROPPED_LINES.load(Ordering::Relaxed);
        let timeout = if dropped == 0 { TIMEOUT } else { Duration::ZERO };
        if !is_writable(&stderr, timeout) {
            DROPPED_LINES.store(dropped + 1, Ordering::Relaxed);
            return Ok(line.len());
        }
        if dropped > 0 {
            DROPPED_LINES.store(0, Ordering::Relaxed);
            tracing::warn!(lines = dropped, "log lines were dropped because their reader stalled");
            return self.write(line);
        }
        stderr.write(&line[..line.len().min(MAX_WRITE)])
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// If the state cannot be determined, it counts as writable: the write then reports the error.
fn is_writable(output: &impl AsFd, timeout: Duration) -> bool {
    let mut output = [PollFd::new(output, PollFlags::OUT)];
    let timeout = Timespec::try_from(timeout).ok();
    !matches!(poll(&mut output, timeout.as_ref()), Ok(0))
}
