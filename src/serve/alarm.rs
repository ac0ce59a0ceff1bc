//! The timer that hyper measures the heads of one connection's requests with, as strict as tokio's and set more seldom.
//!
//! hyper asks for a new timer for every head and drops it as soon as the head is there. To set one and to take it off
//! again locks what all threads share, for every request; here one is set for the whole connection, and when it goes off
//! it is moved to where the last head's then belongs.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// For one connection: of the sleeps that it hands out, one is waited for at a time.
pub(super) struct Alarm(Arc<Mutex<Pin<Box<tokio::time::Sleep>>>>);

impl Alarm {
    /// Set for the first time in `first`.
    pub(super) fn new(first: Duration) -> Self {
        Self(Arc::new(Mutex::new(Box::pin(tokio::time::sleep(first)))))
    }
}

impl Timer for Alarm {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until {
            alarm: Arc::clone(&self.0),
            deadline: deadline.into(),
        })
    }
}

struct Until {
    alarm: Arc<Mutex<Pin<Box<tokio::time::Sleep>>>>,
    deadline: tokio::time::Instant,
}

impl Sleep for Until {}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
        if alarm.deadline() > self.deadline {
            alarm.as_mut().reset(self.deadline);
        }
        loop {
            ready!(alarm.as_mut().poll(cx));
            if alarm.deadline() >= self.deadline {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(self.deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second sleep waits for its own end, not for that of the first, whose alarm is still set.
    #[test]
    fn each_sleep_ends_at_its_own_time() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let alarm = Alarm::new(Duration::from_millis(20));
            let started = Instant::now();
            for milliseconds in [60, 120, 90] {
                let due = started + Duration::from_millis(milliseconds);
                alarm.sleep_until(due).await;
                assert!(Instant::now() >= due);
            }
            let far = alarm.sleep(Duration::from_secs(600));
            assert!(
                tokio::time::timeout(Duration::from_millis(50), far)
                    .await
                    .is_err()
            );
            tokio::time::timeout(Duration::from_secs(60), alarm.sleep(Duration::from_millis(10)))
                .await
                .unwrap();
        });
    }
}
