//! Reads all archives slowly and repeatedly to find damaged ones.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::configuration::Configuration;
use crate::app::repair::served_releases;
use crate::server::PublishedSite;
use crate::store::Scrub;
use crate::util::heap;

/// The pause while there is nothing to read.
const EMPTY_PAUSE: Duration = Duration::from_secs(60);

/// Reads all archives once per `verify.scrub`, and counts them in `scrub`.
pub(super) fn run(
    Configuration { app, stores, stop, .. }: &Configuration,
    published: &PublishedSite,
    scrub: &Scrub,
) {
    let period = app.config.verify.scrub;
    while !period.is_zero() && !stop.is_set() {
        let began = Instant::now();
        // Only their numbers are kept in memory, because a pass takes days.
        let releases = stores.iter().flat_map(|store| {
            let releases = served_releases(store).into_iter();
            releases.map(move |release| (store, release.number, release.bound))
        });
        let mut releases: Vec<_> = releases.collect();
        heap::trim();
        if releases.is_empty() {
            stop.wait(EMPTY_PAUSE);
            continue;
        }
        let pause = period / u32::try_from(releases.len()).unwrap_or(u32::MAX);
        let first = start(releases.len());
        releases.rotate_left(first);
        for (store, number, bound) in releases {
            stop.wait(pause);
            if stop.is_set() {
                return;
            }
            let Some(release) = store.ledger(|ledger| ledger.archive_of(number, bound.as_deref()).cloned())
            else {
                continue;
            };
            let result = store.check_archive(&release);
            // The archive of a nightly version may have expired since the list was made.
            let is_served = || served_releases(store).iter().any(|other| other.number == release.number);
            if result.is_err() && !is_served() {
                continue;
            }
            scrub.count(result.is_err());
            if let Err(error) = result {
                tracing::error!("{error:#}");
                published.report_damaged(&store.archive(&release));
            }
        }
        scrub.end_pass();
        let state = scrub.state();
        let (checked, damaged) = (state.checked, state.damaged);
        tracing::info!(checked, damaged, "read all archives");
        stop.wait(period.saturating_sub(began.elapsed()));
    }
}

/// The first archive of a pass, which differs each time, so that processes that never finish a pass still read all archives.
fn start(count: usize) -> usize {
    let now = Timestamp::now().as_millisecond().unsigned_abs();
    usize::try_from(now % count as u64).unwrap_or_default()
}
