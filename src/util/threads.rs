//! Starts threads, and explains why the system refuses one.

use std::io;
use std::sync::Mutex;
use std::thread::{self, Builder, JoinHandle, Scope, ScopedJoinHandle};

/// The size of a thread's stack in bytes.
pub(crate) const STACK: usize = 2 << 20;

/// What to do if the system starts no more processes or threads.
pub(crate) const HINT: &str =
    "allow more processes and threads (`--pids-limit`, `TasksMax=`, `ulimit -u`), and enough memory for them";

/// The system did not start a thread.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ThreadError {
    #[error(
        "there is not enough memory for another thread\nhint: raise `limits.cycle_memory`, or give the container more memory"
    )]
    Memory,
    #[error("failed to start a thread: {0}\nhint: {HINT}")]
    Refused(io::Error),
}

impl From<io::Error> for ThreadError {
    fn from(error: io::Error) -> Self {
        // The system gives the same reason for too many threads and for a stack beyond the memory limit.
        match Vec::<u8>::new().try_reserve_exact(STACK) {
            Ok(()) => Self::Refused(error),
            Err(_) => Self::Memory,
        }
    }
}

pub(crate) fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, ThreadError> {
    Ok(Builder::new().spawn(work)?)
}

pub(crate) fn spawn_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, ThreadError> {
    Ok(Builder::new().spawn_scoped(scope, work)?)
}

/// Fails unless the system would start `count` threads now.
pub(crate) fn ensure_available(count: usize) -> Result<(), ThreadError> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        // None of them ends until all are started.
        let _closed = gate.lock();
        (0..count).try_for_each(|_| spawn_scoped(scope, || drop(gate.lock())).map(drop))
    })
}
