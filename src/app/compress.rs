//! Makes the compressed variants of what is published, after publication and beside the cycles.

use super::site_builder::repository_site;
use super::{self as app, App};
use crate::config::Compression;
use crate::server::{ContentKind, RepositorySite};
use crate::store::RepositoryStore;
use crate::util::cancel::CancelFlag;
use crate::util::compression::{Coding, Effort};
use crate::util::heap;

/// In bytes; what is smaller fits into one packet as it is.
const SMALLEST: u64 = 512;

/// Makes the variants of one repository that are missing, metadata first. They are an extra: what cannot be made is
/// served uncompressed.
pub(crate) fn make_variants(
    app: &App,
    repository: &app::Repository,
    store: &RepositoryStore,
    stop: &CancelFlag,
) {
    let level = app.config.serve.compression;
    let made = repository_site(repository, store).and_then(|site| compress(&site, store, level, stop));
    heap::trim();
    match made {
        Ok(0) => {}
        Ok(variants) => tracing::info!(
            repository = repository.name,
            variants,
            "compressed what is published"
        ),
        Err(error) => tracing::warn!(repository = repository.name, "serving uncompressed: {error:#}"),
    }
}

fn compress(
    site: &RepositorySite,
    store: &RepositoryStore,
    level: Compression,
    stop: &CancelFlag,
) -> anyhow::Result<usize> {
    let variants = store.variants()?;
    let wanted: Vec<_> = site
        .resources
        .iter()
        .flatten()
        .filter(|resource| resource.size >= SMALLEST)
        .filter_map(|resource| Some((resource, effort_for(resource.kind, level)?)))
        .collect();
    store.prune_variants(&wanted.iter().map(|(resource, _)| resource.sha256).collect())?;
    let mut made = 0;
    for effort in [Effort::Thorough, Effort::Fast] {
        for (resource, _) in wanted.iter().filter(|(_, of)| *of == effort) {
            for &coding in Coding::for_effort(effort) {
                if stop.is_set() {
                    return Ok(made);
                }
                if !variants.is_known(resource.sha256, coding) {
                    store.make_variant(&resource.file, resource.sha256, coding, effort)?;
                    made += 1;
                }
            }
        }
    }
    Ok(made)
}

fn effort_for(kind: ContentKind, level: Compression) -> Option<Effort> {
    match kind {
        // It grows under its URL.
        ContentKind::Ledger => None,
        ContentKind::Archive => (level == Compression::All).then_some(Effort::Fast),
        _ => (level != Compression::None).then_some(Effort::Thorough),
    }
}
