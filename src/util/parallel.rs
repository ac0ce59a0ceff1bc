//! A bounded number of threads over a list, with the results in the list's order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::anyhow;
use parking_lot::Mutex;

use super::threads;

/// Applies `work` to each item on up to `count` threads; each thread makes its own state with `start`.
pub(crate) fn map<T: Sync, S, R: Send>(
    items: &[T],
    count: usize,
    start: impl Fn() -> anyhow::Result<S> + Sync,
    work: impl Fn(&S, &T) -> anyhow::Result<R> + Sync,
) -> Vec<anyhow::Result<R>> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<anyhow::Result<R>>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let span = tracing::Span::current();
    let worker = || {
        let _entered = span.enter();
        let state = start();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some(item), Some(slot)) = (items.get(index), results.get(index)) else {
                break;
            };
            let result = match &state {
                Ok(state) => work(state, item),
                Err(error) => Err(anyhow!("{error:#}")),
            };
            *slot.lock() = Some(result);
        }
    };
    thread::scope(|scope| {
        // This thread is one of them. With fewer it takes longer.
        for _ in 1..count.min(items.len()) {
            if threads::spawn_scoped(scope, worker).is_err() {
                break;
            }
        }
        worker();
    });
    results
        .into_iter()
        .map(|slot| slot.into_inner().unwrap_or_else(|| Err(anyhow!("a worker thread ended early"))))
        .collect()
}
