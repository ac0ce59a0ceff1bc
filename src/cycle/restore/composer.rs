//! `mirror restore` from a Composer repository that has no ledger, such as a satis mirror. An operator who switches
//! from one keeps the archives that users' lock files pin.
//!
//! The archives are published as they are, if they have the SHA-1 that the metadata names. Which source, tag and commit they are from
//! follows from the recipe, whose sources are planned for that; each is marked as imported, and the next cycles build it again.
//! What no source gives belongs to the source [`IMPORTED`].

use std::collections::BTreeSet;
use std::io;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use url::Url;

use super::provenance::{Provenance, Provenances};
use crate::composer::{Manifest, NamePattern};
use crate::composer_repository::{ComposerRepository, Downloaded, RemoteVersion};
use crate::config::Limits;
use crate::cycle::confirm_imports::{self, IMPORTED};
use crate::cycle::context::{CycleContext, ProgressEvent};
use crate::cycle::metadata_budget::MetadataBudget;
use crate::cycle::report::ALIASES;
use crate::cycle::{composer_source, file_names, read_manifests};
use crate::ledger::{Ledger, Release, ReleaseKind};
use crate::net::{is_not_found, redacted};
use crate::package::prebuilt_archive;
use crate::store::StagedArchive;
use crate::util::clock::now;
use crate::util::digest::Sha256;
use crate::util::parallel;

/// Archives that are published together, so that a restoration that is interrupted keeps what it has.
const BATCH: usize = 200;

/// What was restored.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Names and versions.
    pub(super) releases: BTreeSet<(String, String)>,
    /// Heads of branches, which are left out.
    pub(super) branches: usize,
    /// Metapackages whose archive cannot be had: satis makes none, since Composer downloads none. The recipe gives them.
    pub(super) metapackages: usize,
    /// What could not be restored, and why.
    pub(super) problems: Vec<String>,
}

/// Gets the archive of a published release again.
type Fetch<'a> = dyn Fn(&Release) -> anyhow::Result<StagedArchive> + 'a;

/// Lets `repair` do what it does with archives of the repository at `from`, and restores all versions that this lists and that are
/// not published here.
pub(super) fn take(
    ctx: &CycleContext<'_>,
    from: &Url,
    repair: impl FnOnce(&Fetch<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Taken> {
    // They are packages as a build makes them, and may be as large.
    let archive = ctx.limits.archive.max(ctx.limits.package);
    let limits = Limits { archive, ..ctx.limits.clone() };
    let repository = ComposerRepository::open(from, composer_source::access(ctx, &limits, None))?;
    repair(&|release: &Release| fetch(ctx, &repository, release))?;
    let mut taken = Taken::default();
    let listed = list(ctx, &repository, &mut taken)?;
    let provenances = Provenances::find(ctx);
    ctx.ensure_can_continue()?;
    taken.problems.extend(provenances.problems.iter().cloned());
    let shown = redacted(from.as_str());
    (ctx.progress)(ProgressEvent::Building { source: &shown, packages: listed.len() as u64 });
    let previous = ctx.store.latest_snapshot()?;
    let budget = MetadataBudget::new(ctx.limits, previous.as_ref());
    let one_in_memory = Mutex::new(());
    for versions in listed.chunks(BATCH) {
        ctx.ensure_can_continue()?;
        let stage = |(): &(), version: &RemoteVersion| {
            let staged = stage(ctx, &repository, &one_in_memory, &provenances, version);
            (ctx.progress)(ProgressEvent::Built);
            staged
        };
        let staged = parallel::map(versions, composer_source::requests(ctx), || Ok(()), stage);
        let mut batch = Vec::new();
        for (version, staged) in versions.iter().zip(staged) {
            let claimed = staged.and_then(|staged| budget.claim(&staged.0, &staged.1).map(|()| staged));
            match claimed {
                Ok(staged) => batch.push(staged),
                Err(error) if version.kind() == "metapackage" && is_without_archive(version, &error) => {
                    taken.metapackages += 1;
                    tracing::info!("{} {} is not restored: {error:#}", version.name, version.version);
                }
                Err(error) => {
                    taken.problems.push(format!("{} {}: {error:#}", version.name, version.version));
                }
            }
        }
        let restored = batch.iter().map(|(_, release)| (release.name.clone(), release.version.clone()));
        taken.releases.extend(restored);
        publish(ctx, batch, &shown)?;
    }
    Ok(taken)
}

/// Whether a version has no archive, or one that is not there.
fn is_without_archive(version: &RemoteVersion, error: &anyhow::Error) -> bool {
    let is_no_file = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    version.dist.is_none() || is_not_found(error) || error.downcast_ref().is_some_and(is_no_file)
}

/// The archive of a published release, if the repository lists the same bytes.
fn fetch(
    ctx: &CycleContext<'_>,
    repository: &ComposerRepository<'_>,
    release: &Release,
) -> anyhow::Result<StagedArchive> {
    let listed = repository.versions(&release.name.to_ascii_lowercase(), false)?.versions;
    let archives = listed.iter().filter_map(|version| Some((version, version.dist.as_ref()?)));
    let same = archives.into_iter().find(|(_, dist)| dist.shasum == Some(release.sha1));
    let (version, dist) =
        same.with_context(|| format!("the repository lists no archive with SHA-1 {}", release.sha1))?;
    Ok(composer_source::download(ctx, repository, version, dist)?.0)
}

/// The versions to restore, in the order of their names. Those that are published here with other bytes are problems.
fn list(
    ctx: &CycleContext<'_>,
    repository: &ComposerRepository<'_>,
    taken: &mut Taken,
) -> anyhow::Result<Vec<RemoteVersion>> {
    let names: Vec<_> = repository.names(&[NamePattern::new("*")])?.into_iter().collect();
    let answers = composer_source::versions(ctx, repository, &names, true)?;
    let mut listed = Vec::new();
    for (name, versions) in names.iter().zip(answers) {
        let versions = versions.with_context(|| format!("failed to list the versions of {name}"))?;
        let unreadable = versions.unreadable.into_iter();
        taken.problems.extend(unreadable.map(|(version, reason)| format!("{name} {version}: {reason}")));
        for version in versions.versions {
            if version.is_branch() {
                taken.branches += 1;
                continue;
            }
            let known =
                ctx.store.ledger(|ledger| ledger.find(name, &version.version).map(|known| known.sha1));
            let there = version.dist.as_ref().and_then(|dist| dist.shasum);
            match known {
                None => listed.push(version),
                Some(here) if there.is_none_or(|there| there == here) => {}
                Some(here) => taken.problems.push(format!(
                    "{name} {}: it is published here with SHA-1 {here}, and that is kept",
                    version.version
                )),
            }
        }
    }
    Ok(listed)
}

/// Fetches and checks an archive.
fn stage(
    ctx: &CycleContext<'_>,
    repository: &ComposerRepository<'_>,
    one_in_memory: &Mutex<()>,
    provenances: &Provenances,
    version: &RemoteVersion,
) -> anyhow::Result<(StagedArchive, Release)> {
    let dist = version.dist.as_ref().context("it has no archive")?;
    ensure!(dist.shasum.is_some(), "its archive has no checksum in the metadata");
    let (staged, downloaded) = composer_source::download(ctx, repository, version, dist)?;
    match release(ctx, one_in_memory, provenances, version, &staged, &downloaded) {
        Ok(release) => Ok((staged, release)),
        Err(error) => {
            // If its file name is taken, it is removed already.
            let _ = ctx.store.discard(&staged);
            Err(error)
        }
    }
}

/// The release of a staged archive.
fn release(
    ctx: &CycleContext<'_>,
    one_in_memory: &Mutex<()>,
    provenances: &Provenances,
    version: &RemoteVersion,
    staged: &StagedArchive,
    downloaded: &Downloaded,
) -> anyhow::Result<Release> {
    let archive = {
        // Of all threads, one has an archive in memory.
        let _one = one_in_memory.lock();
        prebuilt_archive::check(&std::fs::read(staged.path())?, ctx.limits)?
    };
    let (name, number) = (archive.name.to_string(), archive.version.to_string());
    ensure!(
        name.eq_ignore_ascii_case(&version.name) && archive.version.normalized() == version.normalized,
        "its archive is of {name} {number}"
    );
    let path = version.urls().iter().find_map(|url| public_path(url));
    let time = version.text("time").and_then(|time| time.parse::<Timestamp>().ok());
    let mut release = Release {
        number: 0,
        previous: Sha256([0; 32]),
        kind: ReleaseKind::Package,
        file: path.filter(|path| *path != format!("packages/{name}-{number}.zip")),
        bound: None,
        name,
        version: number,
        sha1: staged.digests.sha1,
        sha256: staged.digests.sha256,
        size: staged.digests.size,
        source: IMPORTED.to_owned(),
        tag: String::new(),
        commit: String::new(),
        tree: String::new(),
        committed: time.or(downloaded.last_modified).unwrap_or_else(now),
        time: now(),
        upstream: None,
    };
    let manifest = read_manifests::manifest_in_archive(staged.path())?.context("it has no composer.json")?;
    describe(ctx, &mut release, &manifest, provenances)?;
    file_names::check(&release)?;
    file_names::avoid_published(ctx, &mut release);
    ctx.store.check_free(staged, &release)?;
    Ok(release)
}

/// The path below `packages/` in the URL of an archive, where its new one can be the same.
fn public_path(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let below = match path.strip_prefix("packages/") {
        Some(below) => below,
        None => path.split_once("/packages/")?.1,
    };
    let is_plain = |name: &str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._+~-".contains(c))
    };
    (below.ends_with(".zip") && below.split('/').all(is_plain)).then(|| format!("packages/{below}"))
}

/// Says where a release is from.
fn describe(
    ctx: &CycleContext<'_>,
    release: &mut Release,
    manifest: &Manifest,
    provenances: &Provenances,
) -> anyhow::Result<()> {
    let alias = || {
        let rule = ctx.recipe.aliases.as_ref()?;
        let is_alias = manifest.is_metapackage() && release.name.split('/').next() == Some(&*rule.names);
        let (name, version) = manifest.exact_requirements().next().filter(|_| is_alias)?;
        provenances.of(name, version.as_str())
    };
    let (provenance, is_alias) = match provenances.of(&release.name, &release.version) {
        Some(provenance) => (Some(provenance), false),
        None => (alias(), true),
    };
    let Some(provenance) = provenance else { return Ok(()) };
    let Provenance { source, tag, commit, tree, committed, is_bound, file } = provenance.clone();
    if is_alias {
        (release.kind, release.source) = (ReleaseKind::Alias, ALIASES.to_owned());
    } else {
        release.source = source;
        release.file = file.or(release.file.take());
    }
    if is_bound {
        let url =
            own_url(manifest).context("it contains no URL of its mirror, which the recipe puts into it")?;
        release.bound = Some(url);
    }
    (release.tag, release.commit, release.tree, release.committed) = (tag, commit, tree, committed);
    Ok(())
}

/// The base URL of the mirror that a project's manifest names.
fn own_url(manifest: &Manifest) -> Option<String> {
    let repositories = manifest.0.get("repositories")?;
    let listed: Vec<_> = match repositories {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => return None,
    };
    let of_composer = listed.into_iter().find(|repository| repository["type"] == "composer")?;
    of_composer["url"].as_str().map(str::to_owned)
}

/// Marks releases, then publishes them: what is published without a mark would count as confirmed.
fn publish(
    ctx: &CycleContext<'_>,
    mut batch: Vec<(StagedArchive, Release)>,
    from: &str,
) -> anyhow::Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    file_names::separate(&mut batch);
    let first = ctx.store.ledger(Ledger::len) + 1;
    for (number, (_, release)) in (first..).zip(&mut batch) {
        release.number = number;
    }
    let releases: Vec<_> = batch.iter().map(|(_, release)| release.clone()).collect();
    confirm_imports::mark(ctx, &releases, from)?;
    ctx.store.publish(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_keep_their_path_below_packages() {
        let path = |url: &str| public_path(url).unwrap_or_default();
        assert_eq!(path("https://old.example/x/packages/a/b-1.0.zip?v=1"), "packages/a/b-1.0.zip");
        assert_eq!(path("packages/additional/b.zip"), "packages/additional/b.zip");
        for other in [
            "https://old.example/dist/a/b.zip",
            "/packages/../b.zip",
            "/packages/a/b.tar",
            "/packages/a b.zip",
        ] {
            assert_eq!(path(other), "", "{other}");
        }
    }
}
