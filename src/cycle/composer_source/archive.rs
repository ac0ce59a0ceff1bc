//! The archive of a listed version: downloaded, checked, and staged with what the repository says of it.

use std::fs;

use anyhow::{Context as _, anyhow, bail, ensure};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value};

use super::listing::WantedVersion;
use super::open;
use crate::composer::{Manifest, to_js_string};
use crate::composer_repository::{ComposerRepository, Dist, Downloaded, RemoteVersion};
use crate::cycle::context::CycleContext;
use crate::cycle::{file_names, read_manifests};
use crate::ledger::{Release, ReleaseKind, Upstream};
use crate::package::plan::{ExactVersion, Notice, describe_omitted};
use crate::package::prebuilt_archive;
use crate::package::zip_writer::{EntryType, ZipWriter};
use crate::recipe::ComposerSource;
use crate::store::StagedArchive;
use crate::util::clock::now;
use crate::util::digest::Sha256;

/// A staged archive with its release.
pub(super) struct Staged {
    pub(super) archive: StagedArchive,
    pub(super) release: Release,
    /// For a metapackage: the versions without which it cannot be installed.
    pub(super) requires: Vec<ExactVersion>,
    pub(super) notice: Option<Notice>,
}

/// What only a repository says of a version, and no manifest.
const LISTED_ONLY: [&str; 12] = [
    "dist",
    "source",
    "uid",
    "version_normalized",
    "time",
    "published-time",
    "notification-url",
    "installation-source",
    "default-branch",
    "transport-options",
    "abandoned",
    "filter",
];

/// What only the manifest of a project's root has, which many repositories do not list.
const ROOT_ONLY: [&str; 3] = ["scripts", "autoload-dev", "archive"];

/// Downloads the archive of a version, checks and stages it. Of all threads, one has an archive in memory.
pub(super) fn stage(
    ctx: &CycleContext<'_>,
    source: &ComposerSource,
    repository: &ComposerRepository<'_>,
    wanted: &WantedVersion,
    one_in_memory: &Mutex<()>,
) -> anyhow::Result<Staged> {
    let (archive, downloaded) = fetch(ctx, repository, wanted)?;
    let staged =
        check(ctx, source, wanted, &archive, downloaded, one_in_memory).and_then(|(release, manifest)| {
            ctx.store.check_free(&archive, &release)?;
            Ok((release, manifest))
        });
    let (release, manifest) = match staged {
        Ok(staged) => staged,
        Err(error) => {
            let _ = ctx.store.discard(&archive);
            return Err(error);
        }
    };
    let requires = if manifest.is_metapackage() { ExactVersion::all_of(&manifest) } else { Vec::new() };
    let notice = describe_omitted(&manifest.omitted_fields()).map(|reason| Notice {
        tag: release.tag.clone(),
        package: wanted.package(),
        reason,
    });
    Ok(Staged { archive, release, requires, notice })
}

/// The archive as it is staged, and where it came from; nothing for a metapackage without one.
fn fetch(
    ctx: &CycleContext<'_>,
    repository: &ComposerRepository<'_>,
    wanted: &WantedVersion,
) -> anyhow::Result<(StagedArchive, Option<Downloaded>)> {
    let listed = &wanted.listed;
    match &listed.dist {
        Some(dist) => {
            let (archive, downloaded) = download(ctx, repository, listed, dist)?;
            Ok((archive, Some(downloaded)))
        }
        None if listed.kind() == "metapackage" => {
            let manifest = Value::Object(own_keys(&listed.manifest));
            let mut writer = ZipWriter::new(Vec::new());
            writer.add("composer.json", EntryType::File, to_js_string(&manifest).as_bytes())?;
            Ok((ctx.store.stage_bytes(&writer.finish()?)?, None))
        }
        None => bail!("the repository has no archive of it"),
    }
}

/// Stages what the first URL sends that has the archive.
pub(in crate::cycle) fn download(
    ctx: &CycleContext<'_>,
    repository: &ComposerRepository<'_>,
    version: &RemoteVersion,
    dist: &Dist,
) -> anyhow::Result<(StagedArchive, Downloaded)> {
    ensure!(
        dist.kind == "zip",
        "its archive is of type `{}`, and only zip archives are published",
        dist.kind.escape_debug()
    );
    let mut last_error = anyhow!("the repository has no archive of it");
    for url in version.urls() {
        ctx.ensure_can_continue()?;
        match download_from(ctx, repository, &url, dist) {
            Ok(downloaded) => return Ok(downloaded),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

fn download_from(
    ctx: &CycleContext<'_>,
    repository: &ComposerRepository<'_>,
    url: &str,
    dist: &Dist,
) -> anyhow::Result<(StagedArchive, Downloaded)> {
    let mut downloaded = None;
    let archive = ctx.store.stage(|mut file| {
        downloaded = Some(repository.download(url, &mut file)?);
        Ok(file)
    })?;
    let downloaded = downloaded.context("nothing was downloaded")?;
    match dist.shasum.filter(|sha1| *sha1 != archive.digests.sha1) {
        None => Ok((archive, downloaded)),
        Some(expected) => {
            ctx.store.discard(&archive)?;
            bail!(
                "`{}` sent an archive with SHA-1 {}, and the repository lists {expected}",
                downloaded.url,
                archive.digests.sha1
            )
        }
    }
}

/// The release of a staged archive, and its manifest.
fn check(
    ctx: &CycleContext<'_>,
    source: &ComposerSource,
    wanted: &WantedVersion,
    archive: &StagedArchive,
    downloaded: Option<Downloaded>,
    one_in_memory: &Mutex<()>,
) -> anyhow::Result<(Release, Manifest)> {
    let in_archive = {
        let _one = one_in_memory.lock();
        let bytes = fs::read(archive.path());
        let bytes = bytes.with_context(|| format!("failed to read `{}`", archive.path().display()))?;
        prebuilt_archive::check_foreign(&bytes, ctx.limits, &wanted.name, &wanted.version)?
    };
    let mut release = release(source, wanted, archive, downloaded.as_ref());
    let listed = Manifest(own_keys(&wanted.listed.manifest));
    let mut upstream = Upstream {
        repository: source.url.clone(),
        dist: downloaded.map(|downloaded| downloaded.url).unwrap_or_default(),
        manifest: Map::new(),
    };
    upstream.manifest = differences(ctx, &release, &upstream, in_archive.as_ref(), listed)?;
    let manifest = upstream.manifest(in_archive, &release.name, &release.version);
    manifest.validate().context("its manifest would break Composer's clients")?;
    release.upstream = Some(Box::new(upstream));
    file_names::avoid_published(ctx, &mut release);
    Ok((release, manifest))
}

fn release(
    source: &ComposerSource,
    wanted: &WantedVersion,
    archive: &StagedArchive,
    downloaded: Option<&Downloaded>,
) -> Release {
    let WantedVersion { name, version, listed } = wanted;
    let time = listed.text("time").and_then(|time| time.parse::<Timestamp>().ok());
    let modified = || downloaded.and_then(|downloaded| downloaded.last_modified);
    Release {
        number: 0,
        kind: ReleaseKind::Package,
        previous: Sha256([0; 32]),
        name: name.to_string(),
        version: version.to_string(),
        file: None,
        bound: None,
        sha1: archive.digests.sha1,
        sha256: archive.digests.sha256,
        size: archive.digests.size,
        source: source.name.clone(),
        tag: version.to_string(),
        commit: listed.dist.as_ref().and_then(|dist| dist.reference.clone()).unwrap_or_default(),
        tree: String::new(),
        committed: time.or_else(modified).unwrap_or_else(now),
        time: now(),
        upstream: None,
    }
}

/// The keys that the repository lists otherwise than the manifest in the archive has them, as Composer reads both.
fn differences(
    ctx: &CycleContext<'_>,
    release: &Release,
    upstream: &Upstream,
    in_archive: Option<&Manifest>,
    listed: Manifest,
) -> anyhow::Result<Map<String, Value>> {
    let data = |manifest| {
        let manifest = upstream.manifest(Some(manifest), &release.name, &release.version);
        let version = release.version.parse()?;
        anyhow::Ok(read_manifests::package_version(release, version, manifest).data(ctx.base_url))
    };
    let (archive, listed) = (data(in_archive.cloned().unwrap_or(Manifest(Map::new())))?, data(listed)?);
    let is_compared = |key: &&String| {
        let key = key.as_str();
        !LISTED_ONLY.contains(&key) && !ROOT_ONLY.contains(&key) && key != "name" && key != "version"
    };
    let keys = archive.keys().chain(listed.keys()).filter(is_compared);
    let different = keys.filter(|key| archive.get(*key) != listed.get(*key));
    Ok(different.map(|key| (key.clone(), listed.get(key).cloned().unwrap_or(Value::Null))).collect())
}

/// What a manifest could have said.
fn own_keys(listed: &Map<String, Value>) -> Map<String, Value> {
    let own = listed.iter().filter(|(key, _)| !LISTED_ONLY.contains(&key.as_str()));
    own.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Takes a published archive from its repository again. The staged bytes may be others.
pub(in crate::cycle) fn redownload(
    ctx: &CycleContext<'_>,
    source: &ComposerSource,
    release: &Release,
) -> anyhow::Result<StagedArchive> {
    let repository = open(ctx, source)?;
    let listed = repository.versions(&release.name, false)?.versions;
    let listed = listed.into_iter().find(|listed| listed.version == release.version);
    let wanted = WantedVersion {
        name: release.name.parse()?,
        version: release.version.parse()?,
        listed: listed.context("the repository no longer lists it")?,
    };
    Ok(fetch(ctx, &repository, &wanted)?.0)
}
