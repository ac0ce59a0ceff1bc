//! Independent faults on several threads: each worker has a mirror of its own.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::Figures;
use crate::fixture::Verdict;

/// How many workers there are: `FAULTS_JOBS`, or one for each processor, `waiting` times as many for faults that mostly wait.
fn count(waiting: usize) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    number("FAULTS_JOBS").unwrap_or_else(|| processors() * waiting)
}

/// A number in an environment variable.
pub fn number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The seeds of `most` faults, from `FAULTS_SEED` on.
pub fn seeds(most: usize) -> Vec<u64> {
    let first = number("FAULTS_SEED").unwrap_or(1);
    (first..first + most).map(|seed| seed as u64).collect()
}

/// A bug that a seed has found.
pub fn with_seed(seed: u64, why: &str) -> String {
    format!("seed {seed} (FAULTS_SEED={seed} FAULTS_COUNT=1 repeats it): {why}")
}

/// Lets workers, each made by `prepare`, `inject` the faults, and adds up what they count. Ends at the first bug.
pub fn each<F: Sync, W>(
    faults: &[F],
    waiting: usize,
    prepare: impl Fn() -> Verdict<W> + Sync,
    inject: impl Fn(&mut W, &F, &mut Figures) -> Verdict + Sync,
) -> Verdict<Figures> {
    let (next, found_bug, total) =
        (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(Figures::default()));
    let work = || -> Verdict {
        let (mut worker, mut figures) = (None, Figures::default());
        while !found_bug.load(Ordering::Relaxed)
            && let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let worker = match &mut worker {
                Some(worker) => worker,
                None => worker.insert(prepare()?),
            };
            inject(worker, fault, &mut figures)?;
        }
        total.lock().expect("no panic").add(figures);
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..count(waiting).min(faults.len()))
            .map(|_| scope.spawn(|| work().inspect_err(|_| found_bug.store(true, Ordering::Relaxed))))
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no panic"))
    })?;
    Ok(total.into_inner().expect("no panic"))
}
