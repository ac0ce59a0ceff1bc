//! Reads all archives slowly, again and again, to find damaged ones.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::repairer::served_releases;
use crate::app::App;
use crate::server::PublishedSite;
use crate::store::{RepositoryStore, Scrub};
use crate::util::cancel::CancelFlag;

/// How often it is looked whether there is anything to read.
const EMPTY: Duration = Duration::from_secs(60);

/// Reads all archives within the configured time, over and over.
pub(super) fn scrub(
    app: &App,
    stores: &[RepositoryStore],
    published: &PublishedSite,
    scrubbed: &Scrub,
    stop: &CancelFlag,
) {
    let period = app.config.verify.scrub;
    while !period.is_zero() && !stop.is_set() {
        let begin = Instant::now();
        let of = |store| {
            served_releases(store)
                .into_iter()
                .map(move |release| (store, release))
        };
        let mut releases: Vec<_> = stores.iter().flat_map(of).collect();
        if releases.is_empty() {
            stop.wait(EMPTY);
            continue;
        }
        let pause = period / u32::try_from(releases.len()).unwrap_or(u32::MAX);
        // A process that never lives as long as a pass reads now these and now those.
        let (count, now) = (
            releases.len() as u64,
            Timestamp::now().as_millisecond().unsigned_abs(),
        );
        releases.rotate_left(usize::try_from(now % count).unwrap_or_default());
        for (store, release) in releases {
            stop.wait(pause);
            if stop.is_set() {
                return;
            }
            let result = store.check_archive(&release);
            // It may have expired since.
            let stands = || {
                served_releases(store)
                    .iter()
                    .any(|other| other.number == release.number)
            };
            if result.is_err() && !stands() {
                continue;
            }
            scrubbed.count(result.is_err());
            if let Err(error) = result {
                tracing::error!("{error:#}");
                published.report_damaged(&store.archive(&release));
            }
        }
        scrubbed.end_pass();
        let state = scrubbed.state();
        tracing::info!(
            checked = state.checked,
            damaged = state.damaged,
            "read all archives"
        );
        stop.wait(period.saturating_sub(begin.elapsed()));
    }
}
