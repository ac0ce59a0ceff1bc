//! What a running mirror does for its archives beside the cycles: it reads them, and mends what is damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::commands;
use super::setup::Setup;
use crate::cycle::RebuildOutcome;
use crate::ledger::Release;
use crate::server::PublishedSite;
use crate::store::{Repository, Scrub, Unavailable, Volume};
use crate::util::cancel::CancelFlag;

/// How often it is looked whether there is anything to read.
const EMPTY: Duration = Duration::from_secs(60);

/// Reads all archives within the configured time, over and over.
pub(super) fn scrub(
    setup: &Setup,
    stores: &[Repository],
    published: &PublishedSite,
    scrubbed: &Scrub,
    stop: &CancelFlag,
) {
    let period = setup.config.verify.scrub;
    while !period.is_zero() && !stop.is_set() {
        let begin = Instant::now();
        let of = |store| standing(store).into_iter().map(move |release| (store, release));
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
            let stands = || standing(store).iter().any(|other| other.number == release.number);
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

/// How the repair of files ended that is not in here: they are whole.
#[derive(Default)]
pub(super) struct Left {
    /// Why they are damaged still, and what to do.
    pub(super) damaged: BTreeMap<PathBuf, String>,
    /// Another instance has the volume.
    pub(super) postponed: BTreeSet<PathBuf>,
}

/// Builds damaged archives again from git, and replaces those that come out as they were published.
pub(super) fn mend(
    setup: &Setup,
    stores: &[Repository],
    id: &str,
    damaged: &BTreeSet<PathBuf>,
    stop: &CancelFlag,
) -> Left {
    let mut left = Left::default();
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
        let results = match mended() {
            Ok(results) => results,
            Err(error) if error.is::<Unavailable>() => {
                left.postponed.extend(releases.iter().map(|r| store.archive(r)));
                continue;
            }
            Err(error) => {
                let because = format!("{error:#}");
                let impossible = |release| (release, RebuildOutcome::Impossible(because.clone()));
                releases.into_iter().map(impossible).collect()
            }
        };
        for (release, result) in results {
            let file = store.archive(&release);
            tell(&release, &file, &result);
            if let RebuildOutcome::Impossible(because) = result {
                left.damaged
                    .insert(file.clone(), still(&release, &file, &because));
            }
        }
    }
    left
}

/// What is wrong with an archive that cannot be built again, and what to do.
fn still(release: &Release, file: &Path, because: &str) -> String {
    let is = match file.exists() {
        true => "is damaged",
        false => "is missing",
    };
    let sha256 = release.sha256;
    format!(
        "{is} and could not be built again: {because}; restore it from a back-up or another mirror (SHA-256 {sha256})"
    )
}

fn standing(store: &Repository) -> Vec<Release> {
    store.standing().unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        Vec::new()
    })
}

fn tell(release: &Release, file: &Path, result: &RebuildOutcome) {
    let (package, version) = (&release.name, &release.version);
    match result {
        RebuildOutcome::Impossible(because) => {
            let why = still(release, file, because);
            tracing::error!(package, version, "`{}` {why}", file.display());
        }
        _ => tracing::warn!(package, version, "a damaged archive was built again and replaced"),
    }
}
