//! The last stage of a cycle: from what the ledger has to the next snapshot.
//!
//! The metadata follows from the ledger and the archives alone. Most of it was made for the snapshot before: a package with
//! the same releases keeps its files and its place in those that all share, and its archives are not read. That is so only
//! while program and configuration stay the same; everything else makes all of it anew.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::report::Report;
use super::{CycleContext, nightly, read_manifests, shrink_guard};
use crate::composer::Manifest;
use crate::ledger::Release;
use crate::metadata::pages::{self, View};
use crate::metadata::reader::Includes;
use crate::metadata::{
    CachedPackage, Files, PackageSummary, PackageVersion, PreviousRender, RenderCache, RepositoryInfo,
    Summaries, expand, gaps, render,
};
use crate::store::SnapshotContents;
use crate::store::snapshot::Snapshot;
use crate::util::digest::Sha256;

/// Releases by package, each in the order of the ledger.
type ByName<'r> = BTreeMap<&'r str, Vec<&'r Release>>;

/// Archives that could not be read, by path, with the reason.
pub(super) type Damaged = BTreeMap<String, String>;

/// The versions of packages that were read, newest first.
type Read = BTreeMap<String, Vec<PackageVersion>>;

/// Publishes what there is after `previous`; answers the snapshot, `None` if nothing would change, and the archives that could
/// not be read.
///
/// # Errors
/// A loss that the fuse prevents, and those of the store.
pub(super) fn publish(
    job: &CycleContext<'_>,
    previous: Option<&Snapshot>,
    report: &mut Report,
) -> anyhow::Result<(Option<Snapshot>, Damaged)> {
    let (said, releases) = (job.said(), releases(job, previous));
    let by = maker(&said)?;
    let whole = previous.filter(|previous| previous.is_whole);
    let before = whole.zip(by).and_then(|(previous, by)| before(previous, by));
    let mut by_name = by_name(&releases);
    let changed = changed(&by_name, before.as_ref());
    let (mut new, unread) = read_manifests::read(job.store, &changed, job.workers);
    let mut damaged = Damaged::new();
    for (release, error) in unread {
        let reason = format!("could not be read: {error}; `mirror verify --repair` builds it again");
        tracing::error!(file = release.path(), "an archive {reason}");
        damaged.insert(release.path(), reason);
        match previous.and_then(|previous| recall(previous, release)) {
            Some(version) => new.entry(release.name.clone()).or_default().push(version),
            None => {
                leave_out(release, &mut by_name);
                report.omitted.push(release.path());
            }
        }
    }
    new.values_mut()
        .for_each(|versions| read_manifests::sort(versions));
    let summaries = summaries(&by_name, &new, before.as_ref());
    if let Some(previous) = previous {
        shrink_guard::check(job, previous, &summaries)?;
    }
    let known_gaps = std::mem::replace(&mut report.gaps, gaps(&summaries));
    for gap in report.gaps.iter().filter(|gap| !known_gaps.contains(gap)) {
        tracing::warn!("{gap}");
    }
    let view = View::new(&said, &summaries);
    let mut files = pages(job, &view, &by_name, &new, before.as_ref());
    let versions = |name: &str| new.get(name).map(Vec::as_slice);
    let (texts, places) = render(&said, &summaries, versions, before.as_ref())?;
    files.extend(texts);
    keep_includes(job, previous, &mut files);
    drop((new, before));
    let made = by.map(|by| {
        let known = |(name, summary): (&String, &PackageSummary)| {
            let around = view.around(name);
            (
                name.clone(),
                CachedPackage {
                    summary: summary.clone(),
                    around,
                },
            )
        };
        serde_json::to_vec(&RenderCache {
            by,
            packages: summaries.iter().map(known).collect(),
            places,
        })
    });
    let contents = SnapshotContents {
        base_url: &job.base_url.to_string(),
        files,
        report: &report.to_json()?,
        render_cache: made.transpose()?,
        releases: job.store.ledger(|ledger| ledger.len()),
        rollback_to: None,
        expired: {
            let named = releases.iter().map(|release| release.number).collect();
            job.store.expired_releases(previous, &named, job.retention.grace)
        },
    };
    Ok((job.store.commit_snapshot(previous, &contents)?, damaged))
}

/// The releases of the packages that have others than before.
fn changed<'r>(by_name: &ByName<'r>, before: Option<&PreviousRender>) -> Vec<&'r Release> {
    let is_as_before = |name: &str, releases: &[&Release]| {
        let known = before.and_then(|before| before.known(name));
        known.is_some_and(|known| {
            let numbers = releases.iter().map(|release| &release.number);
            known.summary.releases.iter().eq(numbers)
        })
    };
    let changed = by_name
        .iter()
        .filter(|(name, releases)| !is_as_before(name, releases));
    changed.flat_map(|(_, releases)| releases).copied().collect()
}

/// A release whose archive cannot be read, as the snapshot before tells of it: Composer's data of a version is a manifest
/// that gives the same data.
fn recall(previous: &Snapshot, release: &Release) -> Option<PackageVersion> {
    let name = &release.name;
    let files = [format!("p2/{name}.json"), format!("p2/{name}~dev.json")];
    files.iter().find_map(|file| {
        let told: Value = serde_json::from_slice(&previous.read(file).ok()?).ok()?;
        let versions = expand(told["packages"][name.as_str()].as_array()?);
        let is_it = |version: &Map<String, Value>| {
            version.get("version").and_then(Value::as_str) == Some(&release.version)
                && version
                    .get("dist")
                    .is_some_and(|dist| dist["shasum"] == release.sha1.to_string())
        };
        let told = versions.into_iter().find(is_it)?;
        read_manifests::version(release, Manifest(told)).ok()
    })
}

/// Takes a release out of the metadata.
fn leave_out(release: &Release, by_name: &mut ByName<'_>) {
    let name = release.name.as_str();
    if let Some(releases) = by_name.get_mut(name) {
        releases.retain(|other| other.number != release.number);
        if releases.is_empty() {
            by_name.remove(name);
        }
    }
}

fn summaries(by_name: &ByName<'_>, new: &Read, before: Option<&PreviousRender>) -> Summaries {
    let summary = |name: &str| match new.get(name) {
        Some(versions) => PackageSummary::new(versions),
        None => Some(before?.known(name)?.summary.clone()),
    };
    let names = by_name.keys();
    names
        .filter_map(|name| Some(((*name).to_owned(), summary(name)?)))
        .collect()
}

/// The pages; those of packages that are as before, but about which others say something else, are made anew, too.
fn pages(
    job: &CycleContext<'_>,
    view: &View<'_>,
    by_name: &ByName<'_>,
    new: &Read,
    before: Option<&PreviousRender>,
) -> Files {
    let is_other = |name: &str| {
        let known = before.and_then(|before| before.known(name));
        known.is_some_and(|known| known.around != view.around(name))
    };
    let others = by_name
        .iter()
        .filter(|(name, _)| !new.contains_key(**name) && is_other(name));
    let releases: Vec<_> = others.flat_map(|(_, releases)| releases).copied().collect();
    // Of one that cannot be read, the page stays as it is.
    let (again, _) = read_manifests::read(job.store, &releases, job.workers);
    pages::render(view, |name| new.get(name).or(again.get(name)).map(Vec::as_slice))
}

/// What the repository publishes now, after `previous`.
fn releases(job: &CycleContext<'_>, previous: Option<&Snapshot>) -> Vec<Release> {
    let base_url = job.base_url.to_string();
    let stands = |r: &&Release| previous.is_none_or(|p| !p.manifest.withdraws(r.number));
    let published = job
        .store
        .ledger(|ledger| ledger.published(&base_url).filter(stands).cloned().collect());
    nightly::retained(job.recipe, published)
}

fn by_name(releases: &[Release]) -> ByName<'_> {
    let mut packages = ByName::new();
    for release in releases {
        packages.entry(release.name.as_str()).or_default().push(release);
    }
    packages
}

/// The digest of what makes the files, whatever the packages are: another program may render in another way. `None` where
/// this program cannot be told from others.
fn maker(said: &RepositoryInfo<'_>) -> anyhow::Result<Option<Sha256>> {
    static PROGRAM: OnceLock<Option<Sha256>> = OnceLock::new();
    let read = || std::fs::read("/proc/self/exe").ok();
    let program = PROGRAM.get_or_init(|| read().map(|bytes| Sha256::digest(&bytes)));
    let said = said.digest()?;
    Ok(program.map(|program| Sha256::digest([program.0, said.0].concat().as_slice())))
}

/// What can be taken over from a snapshot that was made by the same maker.
fn before(previous: &Snapshot, by: Sha256) -> Option<PreviousRender> {
    let made: RenderCache = serde_json::from_slice(&previous.render_cache()?).ok()?;
    if made.by != by {
        return None;
    }
    let before = PreviousRender::new(made, |path| previous.read(path));
    before
        .map_err(|error| tracing::warn!("the metadata is made anew: {error:#}"))
        .ok()
}

/// The includes of the last snapshots: a client that has read one of their packages.json may still ask for what it names.
fn keep_includes(job: &CycleContext<'_>, previous: Option<&Snapshot>, files: &mut Files) {
    let Some(previous) = previous else { return };
    let root = previous.read("packages.json").ok();
    let root: Option<Includes> = root.and_then(|root| serde_json::from_slice(&root).ok());
    let is_named = |path: &str| root.as_ref().is_some_and(|root| root.includes.contains_key(path));
    let published = previous.manifest.files.iter();
    let mut includes: Vec<_> = published
        .filter(|(path, _)| path.starts_with("include/"))
        .collect();
    // The one that is named now, then the last ones.
    includes.sort_by_key(|(path, file)| Reverse((is_named(path), file.last_modified)));
    for (path, _) in includes.into_iter().take(job.retention.snapshots) {
        if previous.is_whole || previous.read(path).is_ok() {
            files.entry(path.clone()).or_insert(None);
        }
    }
}
