//! Requests at the same time: most of the time of each is a wait for the store.

use std::sync::{Mutex, PoisonError};

use anyhow::bail;

use crate::util::parallel;

const PARALLEL: usize = 8;

/// The results of `work` for all items, in their order, or the first error. After that no other item is begun.
pub(super) fn map<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let first = Mutex::new(None);
    let first_error = || first.lock().unwrap_or_else(PoisonError::into_inner);
    let results = parallel::map(
        items,
        PARALLEL,
        || Ok(()),
        |(), item| {
            if first_error().is_some() {
                bail!("another request has failed");
            }
            work(item).map_err(|error| {
                let text = anyhow::anyhow!("{error:#}");
                first_error().get_or_insert(error);
                text
            })
        },
    );
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => results.into_iter().collect(),
    }
}
