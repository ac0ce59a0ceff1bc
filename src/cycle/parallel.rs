//! A bounded number of threads over a list, results in the list's order.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::anyhow;

/// Applies `work` to each item on up to `count` threads; each thread begins with its own `start`.
pub fn map<T: Sync, S, R: Send>(
    items: &[T],
    count: usize,
    start: impl Fn() -> anyhow::Result<S> + Sync,
    work: impl Fn(&S, &T) -> anyhow::Result<R> + Sync,
) -> Vec<anyhow::Result<R>> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<anyhow::Result<R>>>> = items.iter().map(|_| Mutex::new(None)).collect();
    thread::scope(|scope| {
        for _ in 0..count.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                let state = start();
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(item), Some(slot)) = (items.get(place), results.get(place)) else {
                        break;
                    };
                    let result = match &state {
                        Ok(state) => work(state, item),
                        Err(error) => Err(anyhow!("{error:#}")),
                    };
                    *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(result);
                }
            });
        }
    });
    let finished = |slot: Mutex<Option<_>>| {
        slot.into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    };
    results
        .into_iter()
        .map(|slot| finished(slot).unwrap_or_else(|| Err(anyhow!("the work did not end"))))
        .collect()
}
