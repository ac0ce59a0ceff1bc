//! Keeps archives apart whose usual file names are equal: `acme/a` 2010-01-02 and `acme/a-2010-01` 02.
//!
//! The second one gets a part of its digest into its name, as the states of a nightly version do.

use std::collections::HashSet;

use super::context::CycleContext;
use crate::ledger::Release;
use crate::store::StagedArchive;

/// Gives a release another file name if another name or version is published under its own.
pub(super) fn avoid_published(ctx: &CycleContext<'_>, release: &mut Release) {
    if !ctx.store.archive(release).exists() {
        return;
    }
    let path = release.path();
    let is_other = |other: &&Release| {
        (&other.name, &other.version) != (&release.name, &release.version) && other.path() == path
    };
    if ctx.store.ledger(|ledger| ledger.with_renditions().any(|other| is_other(&other))) {
        release.file = Some(with_digest(release));
    }
}

/// Gives releases other file names if earlier ones of the same batch have theirs.
pub(super) fn separate(batch: &mut [(StagedArchive, Release)]) {
    let mut taken = HashSet::new();
    for (_, release) in batch {
        if !taken.insert(release.path()) {
            release.file = Some(with_digest(release));
            taken.insert(release.path());
        }
    }
}

fn with_digest(release: &Release) -> String {
    let path = release.path();
    format!("{}{}", path.trim_end_matches(".zip"), digest_suffix(release))
}

/// The path of an archive as it was before [`avoid_published`].
pub(super) fn without_digest(release: &Release) -> String {
    let path = release.path();
    path.strip_suffix(&digest_suffix(release)).map_or(path.clone(), |stem| format!("{stem}.zip"))
}

fn digest_suffix(release: &Release) -> String {
    format!("-{}.zip", &release.sha256.to_string()[..8])
}
