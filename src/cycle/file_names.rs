//! Keeps archives apart whose usual file names are equal: `acme/a` 2010-01-02 and `acme/a-2010-01` 02.
//!
//! The second one gets a part of its digest into its name, as the states of a nightly version do.

use std::collections::HashSet;

use anyhow::ensure;

use super::context::CycleContext;
use crate::ledger::Release;
use crate::store::StagedArchive;
use crate::util::text::{quoted, shortened};

/// In bytes: common file systems take 255 for a name, and parts of a digest and endings follow.
const MAX_NAME: usize = 230;

/// In bytes.
const MAX_PATH: usize = 1000;

/// In characters, of a path in a message.
const MAX_SHOWN: usize = 100;

/// Fails if the archive of a release, or the files of its package, cannot have their names: the volume would refuse them, and that
/// ends a cycle for all sources.
pub(super) fn check(release: &Release) -> anyhow::Result<()> {
    let path = release.path();
    let is_long = |name: &str| name.len() > MAX_NAME;
    ensure!(
        path.len() <= MAX_PATH && !path.split('/').chain(release.name.split('/')).any(is_long),
        "the name of its file is too long: `{}`",
        shortened(&path, MAX_SHOWN)
    );
    ensure!(
        !path.contains(|c: char| c.is_control() || c == '\\'),
        "the name of its file is unusable: `{}`",
        quoted(&path)
    );
    Ok(())
}

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
