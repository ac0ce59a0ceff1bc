//! Puts what is on the volume before the server: the newest snapshot of each repository, and the compressed variants
//! that there are.

use super::{self as app, App};
use crate::ledger::Release;
use crate::metadata::search_files;
use crate::server::{ContentKind, PublishedSite, RepositorySite, Resource, Site, Variant};
use crate::store::RepositoryStore;
use crate::store::variants::Variants;
use crate::util::heap;

/// Serves the newest snapshot of each repository; answers why one cannot be, of which stays what was served before.
///
/// # Errors
/// Nothing is served anew.
pub(crate) fn publish(
    app: &App,
    stores: &[RepositoryStore],
    published: &PublishedSite,
) -> anyhow::Result<Vec<Option<anyhow::Error>>> {
    let mut errors = Vec::new();
    let site = |(repository, store): (&app::Repository, &RepositoryStore)| {
        let (site, error) = match repository_site(repository, store) {
            Ok(site) => (site, None),
            Err(error) => {
                let as_before = RepositorySite {
                    name: repository.name.clone(),
                    base_path: repository.base_url.path().to_owned(),
                    resources: None,
                };
                (as_before, Some(error))
            }
        };
        errors.push(error);
        site
    };
    let sites: Vec<_> = app.repositories.iter().zip(stores).map(site).collect();
    published.replace(Site::new(sites)?);
    heap::trim();
    Ok(errors)
}

/// What a repository serves; nothing before its first snapshot.
pub(crate) fn repository_site(
    repository: &app::Repository,
    store: &RepositoryStore,
) -> anyhow::Result<RepositorySite> {
    let mut resources = Vec::new();
    if let Some(snapshot) = store.newest_snapshot()? {
        let variants = store.variants().unwrap_or_else(|error| {
            tracing::warn!("serving uncompressed: {error:#}");
            Variants::default()
        });
        resources.extend(snapshot.manifest.files.iter().map(|(path, file)| Resource {
            path: path.clone(),
            file: snapshot.folder.join(path),
            size: file.size,
            sha256: file.sha256,
            last_modified: file.last_modified,
            kind: kind(path),
            variants: variants.get(file.sha256).iter().map(variant).collect(),
        }));
        let lines = snapshot.manifest.releases;
        let (file, size, sha256) = store.ledger_file(lines)?;
        let last = || store.ledger(|ledger| ledger.time_at(lines).map(|time| time.as_second()));
        let last = snapshot.manifest.ledger_modified.or_else(last);
        resources.push(Resource {
            path: "ledger.jsonl".to_owned(),
            file,
            size,
            sha256,
            last_modified: last.unwrap_or_default(),
            kind: ContentKind::Ledger,
            variants: Vec::new(),
        });
        // All that were ever published, whatever this snapshot names.
        let stands = |release: &Release| !snapshot.manifest.withdraws(release.number);
        store.ledger(|ledger| {
            resources.extend(ledger.archives(stands).map(|(release, time)| Resource {
                path: release.path(),
                file: store.archive(release),
                size: release.size,
                sha256: release.sha256,
                last_modified: time.as_second(),
                kind: ContentKind::Archive,
                variants: variants.get(release.sha256).iter().map(variant).collect(),
            }))
        });
    }
    Ok(RepositorySite {
        name: repository.name.clone(),
        base_path: repository.base_url.path().to_owned(),
        resources: Some(resources),
    })
}

fn kind(path: &str) -> ContentKind {
    let extension = std::path::Path::new(path)
        .extension()
        .and_then(std::ffi::OsStr::to_str);
    match extension {
        _ if path == search_files::SEARCH => ContentKind::Search,
        _ if path == search_files::LIST => ContentKind::List,
        _ if path.starts_with("include/") => ContentKind::ArchivedMetadata,
        Some("html") => ContentKind::Page,
        Some("css") => ContentKind::Style,
        Some("js") => ContentKind::Script,
        _ => ContentKind::Metadata,
    }
}

fn variant(made: &crate::store::variants::Variant) -> Variant {
    Variant {
        coding: made.coding,
        file: made.file.clone(),
        size: made.size,
        sha256: made.sha256,
    }
}
