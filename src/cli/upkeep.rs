//! What a running mirror does for its archives beside the cycles: it reads them, and mends what is damaged.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use super::commands;
use super::setup::Setup;
use super::wait;
use crate::cycle::Again;
use crate::ledger::Release;
use crate::serve::Published;
use crate::source::CancelFlag;
use crate::store::{Repository, Scrub, Volume};

/// Reads all archives within the configured time, over and over.
pub(super) fn scrub(
    setup: &Setup,
    stores: &[Repository],
    published: &Published,
    scrubbed: &Scrub,
    stop: &CancelFlag,
) {
    let period = setup.config.verify.scrub;
    while !period.is_zero() && !stop.is_set() {
        let begin = Instant::now();
        let releases: Vec<_> = stores.iter().map(standing).collect();
        let count = releases.iter().map(Vec::len).sum::<usize>().max(1);
        let pause = period / u32::try_from(count).unwrap_or(u32::MAX);
        for (store, release) in stores
            .iter()
            .zip(&releases)
            .flat_map(|(store, all)| all.iter().map(move |r| (store, r)))
        {
            wait(stop, pause);
            if stop.is_set() {
                return;
            }
            let result = store.check_archive(release);
            scrubbed.count(result.is_err());
            if let Err(error) = result {
                tracing::error!("{error:#}");
                published.report_damaged(&store.archive(release));
            }
        }
        scrubbed.end_pass();
        let state = scrubbed.state();
        tracing::info!(
            checked = state.checked,
            damaged = state.damaged,
            "read all archives"
        );
        wait(stop, period.saturating_sub(begin.elapsed()));
    }
}

/// Builds damaged archives again from git, and replaces those that come out as they were published.
pub(super) fn mend(
    setup: &Setup,
    stores: &[Repository],
    id: &str,
    damaged: &BTreeSet<PathBuf>,
    stop: &CancelFlag,
) {
    for (repository, store) in setup.repositories.iter().zip(stores) {
        let is_damaged = |r: &Release| damaged.contains(&store.archive(r)) && store.check_archive(r).is_err();
        let releases: Vec<_> = standing(store).into_iter().filter(is_damaged).collect();
        if releases.is_empty() {
            continue;
        }
        let mended = || {
            let volume = Volume::open_again(&setup.config.data, id)?;
            let store = volume.repository(&repository.name)?;
            commands::build_again(setup, &volume, repository, &store, &releases, true, stop)
        };
        match mended() {
            Ok(results) => results.iter().for_each(|(release, result)| tell(release, result)),
            Err(error) => tracing::error!(repository = repository.name, "failed to repair: {error:#}"),
        }
    }
}

fn standing(store: &Repository) -> Vec<Release> {
    store.standing().unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        Vec::new()
    })
}

fn tell(release: &Release, result: &Again) {
    let (package, version) = (&release.name, &release.version);
    match result {
        Again::Impossible(because) => {
            tracing::error!(package, version, "a damaged archive is not repaired: {because}");
        }
        _ => tracing::warn!(package, version, "a damaged archive was built again and replaced"),
    }
}
