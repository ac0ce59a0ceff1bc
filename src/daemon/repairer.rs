//! Repairs damaged archives by building them again from git.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::app::{App, cycle_runner};
use crate::cycle::RebuildOutcome;
use crate::ledger::Release;
use crate::store::{RepositoryStore, Volume, VolumeLockError};
use crate::util::cancel::CancelFlag;

/// How the repair of files ended that is not in here: they are whole.
#[derive(Default)]
pub(super) struct RepairResult {
    /// Why they are damaged still, and what to do.
    pub(super) damaged: BTreeMap<PathBuf, String>,
    /// Another instance has the volume.
    pub(super) postponed: BTreeSet<PathBuf>,
}

/// Builds damaged archives again from git, and replaces those that come out as they were published.
pub(super) fn repair(
    app: &App,
    stores: &[RepositoryStore],
    id: &str,
    damaged: &BTreeSet<PathBuf>,
    stop: &CancelFlag,
) -> RepairResult {
    let mut left = RepairResult::default();
    for (repository, store) in app.repositories.iter().zip(stores) {
        let is_damaged = |r: &Release| damaged.contains(&store.archive(r)) && store.check_archive(r).is_err();
        let releases: Vec<_> = served_releases(store).into_iter().filter(is_damaged).collect();
        if releases.is_empty() {
            continue;
        }
        let mended = || {
            let volume = Volume::reopen(&app.config.data, id)?;
            let store = volume.repository(&repository.name)?;
            cycle_runner::rebuild(app, &volume, repository, &store, &releases, true, stop)
        };
        let results = match mended() {
            Ok(results) => results,
            Err(error) if error.is::<VolumeLockError>() => {
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
                    .insert(file.clone(), failure_message(&release, &file, &because));
            }
        }
    }
    left
}

/// What is wrong with an archive that cannot be built again, and what to do.
fn failure_message(release: &Release, file: &Path, because: &str) -> String {
    let is = match file.exists() {
        true => "is damaged",
        false => "is missing",
    };
    let sha256 = release.sha256;
    format!(
        "{is} and could not be built again: {because}; restore it from a back-up or another mirror (SHA-256 {sha256})"
    )
}

pub(super) fn served_releases(store: &RepositoryStore) -> Vec<Release> {
    store.served_releases().unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        Vec::new()
    })
}

fn tell(release: &Release, file: &Path, result: &RebuildOutcome) {
    let (package, version) = (&release.name, &release.version);
    match result {
        RebuildOutcome::Impossible(because) => {
            let why = failure_message(release, file, because);
            tracing::error!(package, version, "`{}` {why}", file.display());
        }
        _ => tracing::warn!(package, version, "a damaged archive was built again and replaced"),
    }
}
