//! The last stage of a cycle: renders the next snapshot from the ledger and the archives.
//!
//! A package with the same releases as in the previous snapshot keeps its files and its part of the shared files, and its
//! archives are not read. That holds only while program and configuration are the same; otherwise everything is rendered.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::context::CycleContext;
use super::follow::{FOLLOW_FILE, FollowContent, FollowState};
use super::read_manifests::{self, Manifests, UnreadableArchive};
use super::report::Report;
use super::{nightly, shrink_guard};
use crate::composer::Manifest;
use crate::ledger::{Ledger, Release};
use crate::metadata::pages::{self, Findings, View};
use crate::metadata::reader::Includes;
use crate::metadata::{
    ByteRanges, CachedPackage, Files, PackageSummary, PreviousRender, RenderCache, RepositoryInfo, Summaries,
    expand, missing_dependencies, render,
};
use crate::recipe::Recipe;
use crate::store::snapshot::{ExpiredRelease, ExpiredReleases, Snapshot};
use crate::store::{ArchiveError, SnapshotContents, durable_fs};
use crate::util::clock::now;
use crate::util::digest::Sha256;

/// Releases by package, each in the order of the ledger.
type ByName<'r> = BTreeMap<&'r str, Vec<&'r Release>>;

/// Damaged archives by path, with the reason.
pub(super) type Damaged = BTreeMap<String, String>;

/// Publishes a snapshot that follows `previous`; returns it, or `None` if nothing would change, and the damaged archives.
///
/// # Errors
/// Something cannot be written, or what `previous` publishes cannot be read: then it stays published.
pub(super) fn publish(
    ctx: &CycleContext<'_>,
    previous: Option<&Snapshot>,
    report: &mut Report,
) -> anyhow::Result<(Option<Snapshot>, Damaged)> {
    report.omitted.clear();
    let absent = ctx.store.absent_entries()?;
    let mut releases = published_releases(ctx, previous, report);
    let unlisted = unlisted(previous, &releases, report);
    releases
        .retain(|release| !absent.contains_key(&release.number) && !unlisted.contains_key(&release.number));
    let current = releases.iter().map(|release| release.number).collect();
    let mut expired = match &report.followed {
        Some(followed) => followed.state.expired(ctx.store.ledger(Ledger::len)),
        None => ctx.store.expired_releases(previous, &current, ctx.retention.grace),
    };
    expired.extend(unlisted);
    expired.extend(absent);
    publish_content(ctx, previous, report, SnapshotDraft { releases, rollback_to: None, expired })
}

/// The releases that upstream does not list any more. Their archives stay, for those who have locked them.
fn unlisted(previous: Option<&Snapshot>, releases: &[Release], report: &Report) -> ExpiredReleases {
    let unlisted = releases.iter().filter(|release| report.is_unlisted(release));
    let entry = |release: &Release| {
        let known = previous.and_then(|previous| previous.manifest.expired.get(&release.number));
        let since = known.map_or_else(now, |known| known.since);
        (release.number, ExpiredRelease { since, withdrawn: false, absent: false })
    };
    unlisted.map(entry).collect()
}

/// What a snapshot publishes.
pub(super) struct SnapshotDraft {
    pub(super) releases: Vec<Release>,
    pub(super) rollback_to: Option<u64>,
    pub(super) expired: ExpiredReleases,
}

pub(super) fn publish_content(
    ctx: &CycleContext<'_>,
    previous: Option<&Snapshot>,
    report: &mut Report,
    content: SnapshotDraft,
) -> anyhow::Result<(Option<Snapshot>, Damaged)> {
    let SnapshotDraft { releases, rollback_to, expired } = content;
    let ctx = &CycleContext { recipe: &pages_recipe(ctx, report), ..ctx.clone() };
    let info = ctx.repository_info();
    let renderer = renderer_digest(ctx, &info, report)?;
    let previous = previous.map(|previous| ctx.store.checked(previous));
    let previous = previous.as_ref();
    let intact = previous.filter(|previous| previous.is_intact);
    let reusable = intact.zip(renderer).and_then(|(previous, renderer)| reusable_render(previous, renderer));
    let mut by_name = by_name(&releases);
    let changed = changed_releases(&by_name, reusable.as_ref());
    let (mut manifests, damaged) = read_changed(ctx, previous, &changed, &mut by_name, report)?;
    manifests.mark_abandoned(report.abandoned());
    let summaries = summaries(&by_name, &manifests, reusable.as_ref())?;
    if let Some(previous) = previous.filter(|_| rollback_to.is_none()) {
        shrink_guard::check(ctx, previous, &summaries, report)?;
    }
    update_gaps(ctx, report, &summaries);
    let diverged: Vec<_> = report.diverged().collect();
    let withdrawals = ctx.store.withdrawals();
    let held_back: Vec<_> = report.sources.values().flat_map(|source| &source.held_back).collect();
    let findings = Findings {
        diverged: &diverged,
        withdrawals: &withdrawals,
        gaps: &report.gaps,
        held_back: &held_back,
    };
    let view = View::new(&info, &summaries, findings);
    let mut files = pages(ctx, &view, &by_name, &manifests, reusable.as_ref())?;
    let claims = claimed_names(ctx, report, &expired, |name| summaries.contains_key(name));
    // A rollback keeps the lines of the ledger that were published.
    let lines = match (rollback_to, previous) {
        (Some(_), Some(previous)) => previous.manifest.releases,
        _ => ctx.store.ledger(Ledger::len),
    };
    let told = FollowContent { lines, listed: &releases, expired: &expired, claimed: &claims };
    let mut follow_state = FollowState::new(ctx, report, &told);
    if let Some(known) = previous.map(|previous| previous.read_intact(FOLLOW_FILE)).transpose()?.flatten()
        && let Ok(known) = serde_json::from_slice(&known)
    {
        follow_state.keep_publisher(&known);
    }
    files.insert(FOLLOW_FILE.to_owned(), Some(serde_json::to_vec(&follow_state)?));
    let (texts, ranges) = render(&info, &summaries, &claims, |name| manifests.get(name), reusable.as_ref())?;
    files.extend(texts);
    keep_includes(ctx, previous, &mut files)?;
    drop((manifests, reusable));
    let render_cache = renderer.map(|renderer| render_cache(renderer, &view, &summaries, ranges));
    let contents = SnapshotContents {
        base_url: &ctx.base_url.to_string(),
        files,
        report: &report.to_json()?,
        render_cache: render_cache.transpose()?,
        releases: lines,
        rollback_to,
        rollback_ended: false,
        expired,
    };
    Ok((ctx.store.commit_snapshot(previous, &contents)?, damaged))
}

/// Reads the changed releases. One whose archive is damaged or cannot be read is taken from the previous snapshot's metadata;
/// if that does not name it, it is left out until its archive can be read.
fn read_changed<'r>(
    ctx: &CycleContext<'_>,
    previous: Option<&Snapshot>,
    changed: &[&'r Release],
    by_name: &mut ByName<'_>,
    report: &mut Report,
) -> anyhow::Result<(Manifests<'r>, Damaged)> {
    let (mut manifests, unreadable) = read_manifests::read(ctx.store, changed, ctx.workers);
    let mut damaged = Damaged::new();
    for UnreadableArchive { release, reason } in unreadable {
        let path = release.path();
        match ctx.store.check_archive(release) {
            Err(ArchiveError::Damaged(_)) => {
                let reason = format!("could not be read: {reason}; `mirror verify --repair` builds it again");
                tracing::error!(file = path, "an archive {reason}");
                damaged.insert(path.clone(), reason);
            }
            Err(ArchiveError::Unreadable(_)) | Ok(()) => {
                tracing::error!(file = path, "an archive could not be read: {reason}");
                report.add_unreadable(release, &reason);
            }
        }
        let manifest = previous.map(|previous| manifest_from_snapshot(previous, release));
        let manifest = manifest.transpose()?.flatten();
        if manifest.is_none_or(|manifest| manifests.add(release, &manifest).is_err()) {
            omit(release, by_name);
            report.omitted.push(path);
        }
    }
    Ok((manifests, damaged))
}

/// The releases of the packages that have other releases than in the previous render.
fn changed_releases<'r>(by_name: &ByName<'r>, previous: Option<&PreviousRender>) -> Vec<&'r Release> {
    let is_unchanged = |name: &str, releases: &[&Release]| {
        let cached = previous.and_then(|previous| previous.package(name));
        cached.is_some_and(|cached| {
            let numbers = releases.iter().map(|release| &release.number);
            cached.summary.releases.iter().eq(numbers)
        })
    };
    let changed = by_name.iter().filter(|(name, releases)| !is_unchanged(name, releases));
    changed.flat_map(|(_, releases)| releases).copied().collect()
}

/// The manifest of a version as the previous snapshot published it: Composer's data of a version is a manifest that gives the
/// same data. `None` if that snapshot does not name it, or its file is damaged.
fn manifest_from_snapshot(previous: &Snapshot, release: &Release) -> anyhow::Result<Option<Manifest>> {
    let name = &release.name;
    let files = [format!("p2/{name}.json"), format!("p2/{name}~dev.json")];
    for file in files.iter().filter(|file| previous.manifest.files.contains_key(*file)) {
        let p2 = previous.read_intact(file)?;
        if let Some(manifest) = p2.and_then(|p2| published_manifest(&p2, release)) {
            return Ok(Some(manifest));
        }
    }
    Ok(None)
}

fn published_manifest(p2: &[u8], release: &Release) -> Option<Manifest> {
    let p2: Value = serde_json::from_slice(p2).ok()?;
    let versions = expand(p2["packages"][release.name.as_str()].as_array()?);
    let is_release = |version: &Map<String, Value>| {
        version.get("version").and_then(Value::as_str) == Some(&release.version)
            && version.get("dist").is_some_and(|dist| dist["shasum"] == release.sha1.to_string())
    };
    versions.into_iter().find(is_release).map(Manifest)
}

/// Removes a release from what is to be rendered.
fn omit(release: &Release, by_name: &mut ByName<'_>) {
    let name = release.name.as_str();
    if let Some(releases) = by_name.get_mut(name) {
        releases.retain(|other| other.number != release.number);
        if releases.is_empty() {
            by_name.remove(name);
        }
    }
}

fn summaries(
    by_name: &ByName<'_>,
    manifests: &Manifests<'_>,
    previous: Option<&PreviousRender>,
) -> serde_json::Result<Summaries> {
    let known = |name: &str| Some(previous?.package(name)?.summary.clone());
    let mut summaries = Summaries::new();
    for &name in by_name.keys() {
        let summary =
            manifests.get(name)?.map_or_else(|| known(name), |versions| PackageSummary::new(&versions));
        summaries.extend(summary.map(|summary| (name.to_owned(), summary)));
    }
    Ok(summaries)
}

/// The names without a version that are this repository's nevertheless, so that Composer takes them from no other one: those
/// that it has published, whose versions were withdrawn or have expired, and those of which every version failed or is held back. Absent
/// releases claim nothing: another repository may have them.
pub(super) fn claimed_names(
    ctx: &CycleContext<'_>,
    report: &Report,
    expired: &ExpiredReleases,
    has_version: impl Fn(&str) -> bool,
) -> BTreeSet<String> {
    let base_url = ctx.base_url.to_string();
    let is_here = |release: &&Release| !expired.get(&release.number).is_some_and(|expired| expired.absent);
    let mut names: BTreeSet<_> = ctx.store.ledger(|ledger| {
        ledger.for_url(&base_url).filter(is_here).map(|release| release.name.clone()).collect()
    });
    names.extend(report.followed.iter().flat_map(|followed| followed.state.claimed().cloned()));
    names.extend(report.unpublished_packages().map(|name| name.to_string()));
    names.retain(|name| !has_version(name));
    names
}

/// Warns of required versions that have become missing since the previous report.
fn update_gaps(ctx: &CycleContext<'_>, report: &mut Report, summaries: &Summaries) {
    let gaps = missing_dependencies(summaries, |package| ctx.recipe.is_external(package));
    let known = std::mem::replace(&mut report.gaps, gaps);
    for gap in report.gaps.iter().filter(|gap| !known.contains(gap)) {
        tracing::warn!("{gap}");
    }
}

/// The pages. That of an unchanged package is rendered again if what it shows of other packages has changed.
fn pages(
    ctx: &CycleContext<'_>,
    view: &View<'_>,
    by_name: &ByName<'_>,
    manifests: &Manifests<'_>,
    previous: Option<&PreviousRender>,
) -> serde_json::Result<Files> {
    let is_outdated = |name: &str| {
        let cached = previous.and_then(|previous| previous.package(name));
        cached.is_some_and(|cached| cached.page_context != view.page_context(name))
    };
    let outdated = by_name.iter().filter(|(name, _)| !manifests.contains(name) && is_outdated(name));
    let releases: Vec<_> = outdated.flat_map(|(_, releases)| releases).copied().collect();
    // If an archive cannot be read, its page is kept from the previous snapshot.
    let (mut others, _) = read_manifests::read(ctx.store, &releases, ctx.workers);
    others.mark_abandoned(manifests.abandoned().clone());
    pages::render(view, |name| if manifests.contains(name) { manifests.get(name) } else { others.get(name) })
}

/// The recipe as far as pages depend on it: a follower takes that over.
pub(super) fn pages_recipe(ctx: &CycleContext<'_>, report: &Report) -> Recipe {
    report.followed.as_ref().map_or_else(|| ctx.recipe.clone(), |followed| followed.state.recipe())
}

/// The releases that the snapshot after `previous` publishes.
fn published_releases(ctx: &CycleContext<'_>, previous: Option<&Snapshot>, report: &Report) -> Vec<Release> {
    let base_url = ctx.base_url.to_string();
    // What was absent may have come.
    let is_expired = |previous: &Snapshot, number: u64| {
        previous.manifest.withdraws(number) && !previous.manifest.is_absent(number)
    };
    let is_unpublished = |release: &Release| {
        previous.is_some_and(|previous| is_expired(previous, release.number))
            || ctx.store.is_withdrawn(&release.name, &release.version)
    };
    let published = ctx.store.ledger(|ledger| {
        let is_listed =
            |release: &Release| report.followed.as_ref().is_none_or(|f| f.state.lists(release.number));
        let releases = ledger.published_of(&base_url, is_listed);
        releases.filter(|release| !is_unpublished(release)).cloned().collect()
    });
    let mut retained = nightly::retained(ctx.recipe, published);
    for release in &mut retained {
        release.committed = report.committed(release);
    }
    retained
}

fn by_name(releases: &[Release]) -> ByName<'_> {
    let mut packages = ByName::new();
    for release in releases {
        packages.entry(release.name.as_str()).or_default().push(release);
    }
    packages
}

/// The digest of this program and of what it renders beside the ledger and the archives: any other program may render
/// differently. `None` if the program's file cannot be read.
fn renderer_digest(
    ctx: &CycleContext<'_>,
    info: &RepositoryInfo<'_>,
    report: &Report,
) -> anyhow::Result<Option<Sha256>> {
    static PROGRAM: OnceLock<Option<Sha256>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| durable_fs::hash(Path::new("/proc/self/exe")).ok());
    let dates: Vec<_> = ctx.store.ledger(|ledger| {
        let dates = ledger.releases().iter().map(|release| (release, report.committed(release)));
        let corrected = dates.filter(|(release, committed)| release.committed != *committed);
        corrected.map(|(release, committed)| (release.number, committed)).collect()
    });
    let (info, dates) = (info.digest()?, Sha256::digest(&serde_json::to_vec(&(dates, report.abandoned()))?));
    Ok(program.map(|program| Sha256::digest([program.0, info.0, dates.0].concat().as_slice())))
}

/// The previous render, if the same renderer made it.
fn reusable_render(previous: &Snapshot, renderer: Sha256) -> Option<PreviousRender> {
    let cache: RenderCache = serde_json::from_slice(&previous.render_cache()?).ok()?;
    if cache.renderer != renderer {
        return None;
    }
    PreviousRender::new(cache, |path| previous.read(path))
        .map_err(|error| tracing::warn!("rendering all metadata again: {error:#}"))
        .ok()
}

fn render_cache(
    renderer: Sha256,
    view: &View<'_>,
    summaries: &Summaries,
    ranges: ByteRanges,
) -> serde_json::Result<Vec<u8>> {
    let cached = |(name, summary): (&String, &PackageSummary)| {
        let cached = CachedPackage { summary: summary.clone(), page_context: view.page_context(name) };
        (name.clone(), cached)
    };
    serde_json::to_vec(&RenderCache { renderer, packages: summaries.iter().map(cached).collect(), ranges })
}

/// Keeps the includes of the last snapshots: a client with one of their packages.json may still request them.
fn keep_includes(
    ctx: &CycleContext<'_>,
    previous: Option<&Snapshot>,
    files: &mut Files,
) -> anyhow::Result<()> {
    let Some(previous) = previous else { return Ok(()) };
    let root = previous.read_intact("packages.json")?;
    let root: Option<Includes> = root.and_then(|root| serde_json::from_slice(&root).ok());
    let is_named = |path: &str| root.as_ref().is_some_and(|root| root.includes.contains_key(path));
    let published = previous.manifest.files.iter();
    let mut includes: Vec<_> = published.filter(|(path, _)| path.starts_with("include/")).collect();
    // The include that packages.json names comes first, then the latest ones.
    includes.sort_by_key(|(path, file)| Reverse((is_named(path), file.last_modified)));
    for (path, _) in includes.into_iter().take(ctx.retention.snapshots) {
        if previous.is_intact || previous.read_intact(path)?.is_some() {
            files.entry(path.clone()).or_insert(None);
        }
    }
    Ok(())
}
