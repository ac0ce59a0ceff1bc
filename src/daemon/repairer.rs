//! Repairs damaged archives by building them again from git.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::app::App;
use crate::app::cycle_runner::OpenRepository;
use crate::cycle::RebuildOutcome;
use crate::ledger::Release;
use crate::store::{RepositoryStore, Volume, VolumeLockError};
use crate::util::cancel::CancelFlag;

/// The files that a repair did not make whole.
#[derive(Default)]
pub(super) struct RepairResult {
    /// Why each file is still damaged, and what to do.
    pub(super) damaged: BTreeMap<PathBuf, String>,
    /// Not tried, because another instance has locked the volume.
    pub(super) postponed: BTreeSet<PathBuf>,
}

/// Builds damaged archives again, and replaces each whose bytes match the ledger.
pub(super) fn repair(
    app: &App,
    stores: &[RepositoryStore],
    volume_id: &str,
    damaged: &BTreeSet<PathBuf>,
    stop: &CancelFlag,
) -> RepairResult {
    let mut result = RepairResult::default();
    for (repository, store) in app.repositories.iter().zip(stores) {
        let is_damaged = |r: &Release| damaged.contains(&store.archive(r)) && store.check_archive(r).is_err();
        let releases: Vec<_> = served_releases(store).into_iter().filter(is_damaged).collect();
        if releases.is_empty() {
            continue;
        }
        let rebuild = || {
            let volume = Volume::reopen(&app.config.data, volume_id)?;
            let opened = OpenRepository {
                app,
                volume: &volume,
                repository,
                store: &volume.repository(&repository.name)?,
            };
            opened.rebuild(&releases, true, stop)
        };
        let outcomes = match rebuild() {
            Ok(outcomes) => outcomes,
            Err(error) if error.is::<VolumeLockError>() => {
                result.postponed.extend(releases.iter().map(|r| store.archive(r)));
                continue;
            }
            Err(error) => {
                let reason = format!("{error:#}");
                let impossible = |release| (release, RebuildOutcome::Impossible(reason.clone()));
                releases.into_iter().map(impossible).collect()
            }
        };
        for (release, outcome) in outcomes {
            let file = store.archive(&release);
            log_outcome(&release, &file, &outcome);
            if let RebuildOutcome::Impossible(reason) = outcome {
                let message = failure_message(&release, &file, &reason);
                result.damaged.insert(file, message);
            }
        }
    }
    result
}

/// The releases whose archives are served; none if the ledger cannot be read.
pub(super) fn served_releases(store: &RepositoryStore) -> Vec<Release> {
    store.served_releases().unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        Vec::new()
    })
}

fn failure_message(release: &Release, file: &Path, reason: &str) -> String {
    let state = match file.exists() {
        true => "is damaged",
        false => "is missing",
    };
    format!(
        "{state} and could not be built again: {reason}; restore it from a backup or another mirror (SHA-256 {})",
        release.sha256
    )
}

fn log_outcome(release: &Release, file: &Path, outcome: &RebuildOutcome) {
    let (package, version) = (&release.name, &release.version);
    match outcome {
        RebuildOutcome::Impossible(reason) => {
            let message = failure_message(release, file, reason);
            tracing::error!(package, version, "`{}` {message}", file.display());
        }
        _ => tracing::warn!(package, version, "damaged archive built again and replaced"),
    }
}
