//! A flag that stops work on other threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Stops the work, or ends the wait, of other threads; clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    is_set: AtomicBool,
    /// Held while the flag is being set, so that no thread starts to wait in between.
    lock: Mutex<()>,
    set: Condvar,
    parent: Option<CancelFlag>,
}

/// How often a wait on a child looks at the flags above it.
const POLL: Duration = Duration::from_millis(100);

impl CancelFlag {
    pub fn set(&self) {
        let _held = self.0.lock.lock();
        self.0.is_set.store(true, Ordering::Relaxed);
        self.0.set.notify_all();
    }

    /// A flag that is also set when this one is, and that can be set alone.
    pub fn child(&self) -> Self {
        Self(Arc::new(Flag { parent: Some(self.clone()), ..Flag::default() }))
    }

    pub fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::Relaxed) || self.0.parent.as_ref().is_some_and(Self::is_set)
    }

    /// Sleeps for `time`, or until the flag is set.
    pub fn wait(&self, time: Duration) {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let step = if self.0.parent.is_some() { left.min(POLL) } else { left };
            let mut held = self.0.lock.lock();
            self.0.set.wait_while_for(&mut held, |()| !self.is_set(), step);
            if self.is_set() || step == left {
                return;
            }
        }
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

    #[test]
    fn child_is_set_alone_or_with_its_parent() {
        let parent = CancelFlag::default();
        let (first, second) = (parent.child(), parent.child());
        first.set();
        assert!(first.is_set() && !second.is_set() && !parent.is_set());
        let waiting = thread::spawn(move || second.wait(Duration::from_secs(600)));
        parent.set();
        waiting.join().unwrap();
    }
}
