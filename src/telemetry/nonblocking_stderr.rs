//! The standard error output of a server, which goes on when nobody reads it.
//!
//! It is a pipe to the container engine or to systemd, and who reads there may stand still with what it writes to. What waits for
//! it then is every thread that has something to say, in the end the one that serves.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a line waits for the reader before it and those after it are given up, until somebody reads again.
const PATIENCE: Duration = Duration::from_secs(1);

/// A pipe that can be written to takes so much at once (`PIPE_BUF`).
const AT_ONCE: usize = 4096;

/// Lines that were given up and not told of yet. Changed by who has the lock of the output.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Writes a line at a time.
pub(super) struct Output;

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr().lock();
        let lost = LOST.load(Ordering::Relaxed);
        if !can_write(&stderr, if lost == 0 { PATIENCE } else { Duration::ZERO }) {
            LOST.store(lost + 1, Ordering::Relaxed);
            return Ok(line.len());
        }
        if lost > 0 {
            LOST.store(0, Ordering::Relaxed);
            tracing::warn!(
                lines = lost,
                "nobody read the log for a while: lines are missing here"
            );
            return self.write(line);
        }
        stderr.write(&line[..line.len().min(AT_ONCE)])
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Also where that cannot be told: writing tells.
fn can_write(output: &impl AsFd, patience: Duration) -> bool {
    let mut output = [PollFd::new(output, PollFlags::OUT)];
    let patience = Timespec::try_from(patience).ok();
    !matches!(poll(&mut output, patience.as_ref()), Ok(0))
}
