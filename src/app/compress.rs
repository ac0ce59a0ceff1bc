//! Compresses published files: makes the variants of each file that a snapshot names, one for each content coding.

use super::Repository;
use super::site_builder::repository_site;
use crate::config::Compression;
use crate::server::{ContentKind, Location, RepositorySite};
use crate::store::RepositoryStore;
use crate::util::cancel::CancelFlag;
use crate::util::compression::{Coding, Effort};

/// In bytes. Smaller files fit into one packet uncompressed.
const MIN_SIZE: u64 = 512;

/// Makes the missing variants of one repository, metadata first. What could not be made is served uncompressed.
pub(crate) fn make_variants(
    repository: &Repository,
    store: &RepositoryStore,
    level: Compression,
    stop: &CancelFlag,
) -> anyhow::Result<()> {
    let site = repository_site(repository, store)?;
    let variants = compress(&site, store, level, stop)?;
    if variants > 0 {
        tracing::info!(repository = repository.name, variants, "compressed published files");
    }
    Ok(())
}

fn compress(
    site: &RepositorySite,
    store: &RepositoryStore,
    level: Compression,
    stop: &CancelFlag,
) -> anyhow::Result<usize> {
    let variants = store.variants()?;
    let resources = site.resources.iter().flatten();
    let wanted: Vec<_> = resources
        .filter(|resource| resource.size >= MIN_SIZE)
        .filter_map(|resource| match &resource.location {
            Location::File(file) => Some((file, resource.sha256, effort_for(resource.kind, level)?)),
            Location::Memory(_) | Location::Object(_) => None,
        })
        .collect();
    store.prune_variants(&wanted.iter().map(|(_, sha256, _)| *sha256).collect())?;
    let mut made = 0;
    for effort in [Effort::Thorough, Effort::Fast] {
        for (file, sha256, _) in wanted.iter().filter(|(.., wanted)| *wanted == effort) {
            for &coding in Coding::for_effort(effort) {
                if stop.is_set() {
                    return Ok(made);
                }
                if !variants.is_known(*sha256, coding) {
                    store.make_variant(file, *sha256, coding, effort)?;
                    made += 1;
                }
            }
        }
    }
    Ok(made)
}

fn effort_for(kind: ContentKind, level: Compression) -> Option<Effort> {
    match kind {
        // The ledger changes with every publication.
        ContentKind::Ledger => None,
        ContentKind::Archive => (level == Compression::All).then_some(Effort::Fast),
        _ => (level != Compression::None).then_some(Effort::Thorough),
    }
}
