//! Builds the site that the server answers from: the newest snapshot of each repository and its compressed variants.

use std::ffi::OsStr;
use std::path::Path;

use jiff::Timestamp;

use super::{App, Repository};
use crate::ledger::Release;
use crate::metadata::search_files;
use crate::server::{ContentKind, PublishedSite, RepositorySite, Resource, Site, Variant, check_resources};
use crate::store::RepositoryStore;
use crate::store::snapshot::Snapshot;
use crate::store::variants::{self, Variants};
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
            Err(error) => (site(repository, None), Some(error)),
        };
        sites.push(site);
        errors.push(error);
    }
    published.replace(Site::new(sites)?);
    heap::trim();
    Ok(errors)
}

/// Everything that a repository serves; nothing before its first snapshot.
pub(crate) fn repository_site(
    repository: &Repository,
    store: &RepositoryStore,
) -> anyhow::Result<RepositorySite> {
    let Some(snapshot) = store.newest_snapshot()? else {
        return Ok(site(repository, Some(Vec::new())));
    };
    let resources = resources(store, &snapshot)?;
    check_resources(&resources)?;
    Ok(RepositorySite { gone: gone(store, &snapshot), ..site(repository, Some(resources)) })
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
fn gone(store: &RepositoryStore, snapshot: &Snapshot) -> Vec<(String, String)> {
    store.ledger(|ledger| {
        let withdrawn = ledger.with_renditions().filter_map(|release| {
            let withdrawal = snapshot.manifest.withdrawal(&release.name, &release.version)?;
            let remedy = format!(
                "`composer update {}` takes another version, if the project allows one",
                release.name
            );
            Some((release.path(), format!("{withdrawal} ({remedy})")))
        });
        withdrawn.collect()
    })
}

fn resources(store: &RepositoryStore, snapshot: &Snapshot) -> anyhow::Result<Vec<Resource>> {
    let variants = store.variants().unwrap_or_else(|error| {
        tracing::warn!("failed to read the compressed files, serving uncompressed: {error:#}");
        Variants::default()
    });
    let metadata = snapshot.manifest.files.iter().map(|(path, file)| Resource {
        path: path.clone(),
        file: snapshot.folder.join(path),
        size: file.size,
        sha256: file.sha256,
        last_modified: file.last_modified,
        kind: content_kind(path),
        variants: variants.get(file.sha256).iter().map(variant).collect(),
    });
    let mut resources: Vec<_> = metadata.collect();
    resources.push(ledger(store, snapshot)?);
    // Every archive that was ever published, even if this snapshot does not name it.
    let is_served = |release: &Release| snapshot.manifest.serves(release);
    store.ledger(|ledger| {
        resources.extend(ledger.archives(is_served).map(|(release, time)| Resource {
            path: release.path(),
            file: store.archive(release),
            size: release.size,
            sha256: release.sha256,
            last_modified: time.as_second(),
            kind: ContentKind::Archive,
            variants: variants.get(release.sha256).iter().map(variant).collect(),
        }));
    });
    Ok(resources)
}

fn ledger(store: &RepositoryStore, snapshot: &Snapshot) -> anyhow::Result<Resource> {
    let lines = snapshot.manifest.releases;
    let (file, size, sha256) = store.ledger_file(lines)?;
    let last_line = || store.ledger(|ledger| ledger.time_at(lines).map(Timestamp::as_second));
    let last_modified = snapshot.manifest.ledger_modified.or_else(last_line);
    Ok(Resource {
        path: "ledger.jsonl".to_owned(),
        file,
        size,
        sha256,
        last_modified: last_modified.unwrap_or_default(),
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

fn variant(stored: &variants::Variant) -> Variant {
    Variant { coding: stored.coding, file: stored.file.clone(), size: stored.size, sha256: stored.sha256 }
}
