//! A flag that stops work on other threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Stops the work, or ends the wait, of other threads; clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    is_set: AtomicBool,
    /// Held while the flag is being set, so that no thread starts to wait in between.
    lock: Mutex<()>,
    set: Condvar,
}

impl CancelFlag {
    pub fn set(&self) {
        let _held = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.is_set.store(true, Ordering::Relaxed);
        self.0.set.notify_all();
    }

    pub fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::Relaxed)
    }

    /// Sleeps for `time`, or until the flag is set.
    pub fn wait(&self, time: Duration) {
        let held = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let _waited = self.0.set.wait_timeout_while(held, time, |()| !self.is_set());
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn setting_the_flag_ends_a_wait() {
        let (flag, began) = (CancelFlag::default(), Instant::now());
        flag.wait(Duration::from_millis(20));
        assert!(!flag.is_set() && began.elapsed() >= Duration::from_millis(20));
        let other = flag.clone();
        let waiting = thread::spawn(move || other.wait(Duration::from_secs(600)));
        thread::sleep(Duration::from_millis(20));
        flag.set();
        waiting.join().unwrap();
        flag.wait(Duration::from_secs(600));
        assert!(began.elapsed() < Duration::from_secs(300));
    }
}
