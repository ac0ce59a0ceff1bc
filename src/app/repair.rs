//! Repairs damaged archives by building them again from git.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::cycle_runner::OpenRepository;
use crate::cycle::RebuildOutcome;
use crate::ledger::Release;
use crate::store::RepositoryStore;
use crate::util::cancel::CancelFlag;

/// Builds the damaged ones of `files` again, and replaces each whose bytes match the ledger. Returns why the others are still
/// damaged, and what to do.
pub(crate) fn repair(
    opened: &OpenRepository<'_>,
    files: &BTreeSet<PathBuf>,
    cancel: &CancelFlag,
) -> BTreeMap<PathBuf, String> {
    let store = opened.store;
    let is_damaged = |r: &Release| files.contains(&store.archive(r)) && store.check_archive(r).is_err();
    let releases: Vec<_> = served_releases(store).into_iter().filter(is_damaged).collect();
    if releases.is_empty() {
        return BTreeMap::new();
    }
    let outcomes = match opened.rebuild(&releases, true, cancel) {
        Ok(outcomes) => outcomes,
        Err(error) => return all_impossible(store, files, &format!("{error:#}")),
    };
    let mut damaged = BTreeMap::new();
    for (release, outcome) in outcomes {
        if let Some(message) = log_outcome(store, &release, outcome) {
            damaged.insert(store.archive(&release), message);
        }
    }
    damaged
}

/// The result of a repair that failed as a whole.
pub(crate) fn all_impossible(
    store: &RepositoryStore,
    files: &BTreeSet<PathBuf>,
    reason: &str,
) -> BTreeMap<PathBuf, String> {
    let releases = served_releases(store).into_iter();
    let releases = releases.filter(|release| files.contains(&store.archive(release)));
    let impossible = |release: Release| {
        let message = log_outcome(store, &release, RebuildOutcome::Impossible(reason.to_owned()))?;
        Some((store.archive(&release), message))
    };
    releases.filter_map(impossible).collect()
}

/// The releases whose archives are served; none if the ledger cannot be read.
pub(crate) fn served_releases(store: &RepositoryStore) -> Vec<Release> {
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

/// Logs what became of an archive. Returns why it is still damaged.
fn log_outcome(store: &RepositoryStore, release: &Release, outcome: RebuildOutcome) -> Option<String> {
    let (package, version) = (&release.name, &release.version);
    let RebuildOutcome::Impossible(reason) = outcome else {
        tracing::warn!(package, version, "damaged archive built again and replaced");
        return None;
    };
    let file = store.archive(release);
    let message = failure_message(release, &file, &reason);
    tracing::error!(package, version, "`{}` {message}", file.display());
    Some(message)
}
