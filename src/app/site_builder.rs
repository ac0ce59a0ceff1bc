//! Builds the site that the server answers from: what each repository publishes, wherever that is stored.

use std::ffi::OsStr;
use std::path::Path;

use jiff::Timestamp;

use super::published_contents::{PublishedContents, VolumeContents};
use super::{App, Repository};
use crate::metadata::search_files;
use crate::server::{ContentKind, PublishedSite, RepositorySite, Resource, Site, check_resources};
use crate::store::RepositoryStore;
use crate::util::heap;

/// Serves the newest snapshot of each repository. A repository whose snapshot cannot be served keeps what was served
/// before; its error is returned at its index.
pub(crate) fn publish(
    app: &App,
    stores: &[RepositoryStore],
    published: &PublishedSite,
) -> anyhow::Result<Vec<Option<anyhow::Error>>> {
    let (mut sites, mut errors) = (Vec::new(), Vec::new());
    for (repository, store) in app.repositories.iter().zip(stores) {
        let (site, error) = match repository_site(repository, store) {
            Ok(site) => (site, None),
            Err(error) => (unchanged(repository), Some(error)),
        };
        sites.push(site);
        errors.push(error);
    }
    published.replace(Site::new(sites)?);
    heap::trim();
    Ok(errors)
}

/// Everything that a repository on the volume serves; nothing before its first snapshot.
pub(crate) fn repository_site(
    repository: &Repository,
    store: &RepositoryStore,
) -> anyhow::Result<RepositorySite> {
    match VolumeContents::newest(store)? {
        Some(contents) => site_of(repository, &contents),
        None => Ok(site(repository, Some(Vec::new()))),
    }
}

/// Everything that these contents serve.
pub(crate) fn site_of(
    repository: &Repository,
    contents: &impl PublishedContents,
) -> anyhow::Result<RepositorySite> {
    let resources = resources(contents)?;
    check_resources(&resources)?;
    Ok(RepositorySite { gone: gone(contents), ..site(repository, Some(resources)) })
}

/// What was served before stays.
pub(crate) fn unchanged(repository: &Repository) -> RepositorySite {
    site(repository, None)
}

fn site(repository: &Repository, resources: Option<Vec<Resource>>) -> RepositorySite {
    RepositorySite {
        name: repository.name.clone(),
        base_path: repository.base_url.path().to_owned(),
        resources,
        gone: Vec::new(),
    }
}

/// The archives that a snapshot withdraws, each with its reason and a remedy.
fn gone(contents: &impl PublishedContents) -> Vec<(String, String)> {
    contents.ledger(|ledger| {
        let withdrawn = ledger.with_renditions().filter_map(|release| {
            let withdrawal = contents.manifest().withdrawal(&release.name, &release.version)?;
            let remedy = format!(
                "`composer update {}` takes another version, if the project allows one",
                release.name
            );
            Some((release.path(), format!("{withdrawal} ({remedy})")))
        });
        withdrawn.collect()
    })
}

fn resources(contents: &impl PublishedContents) -> anyhow::Result<Vec<Resource>> {
    let manifest = contents.manifest();
    let mut resources = Vec::new();
    for (path, file) in &manifest.files {
        resources.push(Resource {
            path: path.clone(),
            location: contents.metadata(path, file)?,
            size: file.size,
            sha256: file.sha256,
            last_modified: file.last_modified,
            kind: content_kind(path),
            variants: contents.metadata_variants(file.sha256),
        });
    }
    resources.push(ledger(contents)?);
    // Every archive that was ever published, even if this snapshot does not name it.
    contents.ledger(|ledger| {
        resources.extend(ledger.archives(|release| manifest.serves(release)).map(|(release, time)| {
            let (location, variants) = contents.archive(release);
            Resource {
                path: release.path(),
                location,
                size: release.size,
                sha256: release.sha256,
                last_modified: time.as_second(),
                kind: ContentKind::Archive,
                variants,
            }
        }));
    });
    Ok(resources)
}

fn ledger(contents: &impl PublishedContents) -> anyhow::Result<Resource> {
    let manifest = contents.manifest();
    let lines = manifest.releases;
    let (location, size, sha256) = contents.ledger_lines(lines)?;
    let last_line = || contents.ledger(|ledger| ledger.time_at(lines).map(Timestamp::as_second));
    Ok(Resource {
        path: "ledger.jsonl".to_owned(),
        location,
        size,
        sha256,
        last_modified: manifest.ledger_modified.or_else(last_line).unwrap_or_default(),
        kind: ContentKind::Ledger,
        variants: Vec::new(),
    })
}

fn content_kind(path: &str) -> ContentKind {
    match Path::new(path).extension().and_then(OsStr::to_str) {
        _ if path == search_files::SEARCH => ContentKind::Search,
        _ if path == search_files::LIST => ContentKind::List,
        _ if path.starts_with("include/") => ContentKind::ArchivedMetadata,
        Some("html") => ContentKind::Page,
        Some("css") => ContentKind::Style,
        Some("js") => ContentKind::Script,
        _ => ContentKind::Metadata,
    }
}
