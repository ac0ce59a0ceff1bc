//! The last stage of a cycle: from what the ledger has to the next snapshot.
//!
//! The metadata follows from the ledger and the archives alone. Most of it was made for the snapshot before: a package with
//! the same releases keeps its files and its place in those that all share, and its archives are not read. That is so only
//! while program and configuration stay the same; everything else makes all of it anew.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use anyhow::Context as _;

use super::report::Report;
use super::{Job, fuse, metadata, nightly};
use crate::digest::Sha256;
use crate::ledger::Release;
use crate::repository::listing::Includes;
use crate::repository::pages::{self, View};
use crate::repository::{Before, Files, Known, Made, Said, Summaries, Summary, gaps, render};
use crate::store::snapshot::{Contents, Snapshot};

/// Publishes what there is after `previous`; answers `None` if nothing would change.
///
/// # Errors
/// An archive that cannot be read, a loss that the fuse prevents, and those of the store.
pub(super) fn publish(
    job: &Job<'_>,
    previous: Option<&Snapshot>,
    report: &mut Report,
) -> anyhow::Result<Option<Snapshot>> {
    let (said, releases) = (job.said(), releases(job, previous));
    let by = maker(&said)?;
    let before = previous.and_then(|previous| before(previous, by));
    let known = |name: &str| before.as_ref().and_then(|before| before.known(name));
    let by_name = by_name(&releases);
    let changed = by_name.iter().filter(|(name, releases)| {
        let numbers = releases.iter().map(|release| &release.number);
        !known(name).is_some_and(|known| known.summary.releases.iter().eq(numbers))
    });
    let new = metadata::read(job.store, &flat(changed), job.workers)?;
    let summary = |name: &str| match new.get(name) {
        Some(versions) => Summary::of(versions),
        None => known(name).map(|known| known.summary.clone()),
    };
    let summaries: Summaries = by_name
        .keys()
        .filter_map(|name| Some(((*name).to_owned(), summary(name)?)))
        .collect();
    if let Some(previous) = previous {
        fuse::check(job, previous, &summaries)?;
    }
    report.gaps = gaps(&summaries);
    for gap in &report.gaps {
        tracing::warn!("{gap}");
    }
    let view = View::of(&said, &summaries);
    let around: BTreeMap<_, _> = summaries
        .keys()
        .map(|name| (name.as_str(), view.around(name)))
        .collect();
    let elsewhere = by_name.iter().filter(|(name, _)| {
        !new.contains_key(**name) && known(name).is_some_and(|known| around.get(*name) != Some(&known.around))
    });
    let again = metadata::read(job.store, &flat(elsewhere), job.workers)?;
    let mut files = pages::render(&view, |name| new.get(name).or(again.get(name)).map(Vec::as_slice));
    let (texts, places) = render(
        &said,
        &summaries,
        |name| new.get(name).map(Vec::as_slice),
        before.as_ref(),
    )?;
    files.extend(texts);
    keep_includes(job, previous, &mut files)?;
    drop((new, again, before));
    let packages = summaries.iter().map(|(name, summary)| {
        let around = around[name.as_str()];
        (
            name.clone(),
            Known {
                summary: summary.clone(),
                around,
            },
        )
    });
    let made = Made {
        by,
        packages: packages.collect(),
        places,
    };
    let contents = Contents {
        base_url: &job.base_url.to_string(),
        files,
        report: &report.to_json()?,
        made: Some(&serde_json::to_vec(&made)?),
        releases: job.store.ledger(|ledger| ledger.len()),
        rollback_to: None,
        expired: {
            let named = releases.iter().map(|release| release.number).collect();
            job.store.expiry(previous, &named, job.retention.grace)
        },
    };
    job.store.commit_snapshot(previous, &contents)
}

/// What the repository publishes now, after `previous`.
fn releases(job: &Job<'_>, previous: Option<&Snapshot>) -> Vec<Release> {
    let base_url = job.base_url.to_string();
    let stands = |r: &&Release| previous.is_none_or(|p| !p.manifest.withdraws(r.number));
    let published = job
        .store
        .ledger(|ledger| ledger.published(&base_url).filter(stands).cloned().collect());
    nightly::retained(job.recipe, published)
}

/// In the order of the ledger.
fn by_name(releases: &[Release]) -> BTreeMap<&str, Vec<&Release>> {
    let mut packages = BTreeMap::<_, Vec<_>>::new();
    for release in releases {
        packages.entry(release.name.as_str()).or_default().push(release);
    }
    packages
}

fn flat<'a, 'b: 'a>(packages: impl Iterator<Item = (&'a &'b str, &'a Vec<&'b Release>)>) -> Vec<&'b Release> {
    packages.flat_map(|(_, releases)| releases).copied().collect()
}

/// The digest of what makes the files, whatever the packages are: another program may render in another way.
fn maker(said: &Said<'_>) -> anyhow::Result<Sha256> {
    static PROGRAM: OnceLock<Option<Sha256>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        std::fs::read("/proc/self/exe")
            .ok()
            .map(|bytes| Sha256::of(&bytes))
    });
    let program = program.context("the program cannot be read")?;
    Ok(Sha256::of([program.0, said.digest()?.0].concat().as_slice()))
}

/// What can be taken over from a snapshot that was made by the same maker.
fn before(previous: &Snapshot, by: Sha256) -> Option<Before> {
    let made: Made = serde_json::from_slice(&previous.made()?).ok()?;
    if made.by != by {
        return None;
    }
    let before = Before::new(made, |path| previous.read(path));
    before
        .map_err(|error| tracing::warn!("the metadata is made anew: {error:#}"))
        .ok()
}

/// The includes of the last snapshots: a client that has read one of their packages.json may still ask for what it names.
fn keep_includes(job: &Job<'_>, previous: Option<&Snapshot>, files: &mut Files) -> anyhow::Result<()> {
    let Some(previous) = previous else {
        return Ok(());
    };
    let root: Includes = serde_json::from_slice(&previous.read("packages.json")?).context("packages.json")?;
    let published = previous.manifest.files.iter();
    let mut includes: Vec<_> = published
        .filter(|(path, _)| path.starts_with("include/"))
        .collect();
    // The one that is named now, then the last ones.
    includes.sort_by_key(|(path, file)| Reverse((root.includes.contains_key(*path), file.last_modified)));
    for (path, _) in includes.into_iter().take(job.retention.snapshots) {
        files.entry(path.clone()).or_insert(None);
    }
    Ok(())
}
