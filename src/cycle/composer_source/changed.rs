//! Finds published versions whose archive the repository has changed since. The published bytes stay; the difference is recorded.

use std::collections::BTreeMap;

use super::archive::download;
use super::listing::{Listing, WantedVersion};
use crate::composer_repository::{ComposerRepository, Dist, RemoteVersion};
use crate::cycle::context::CycleContext;
use crate::cycle::divergence;
use crate::cycle::report::SourceReport;
use crate::ledger::Release;
use crate::recipe::ComposerSource;
use crate::store::{Divergence, DivergenceCause};

/// What was compared, by package version.
type Examined = BTreeMap<String, String>;

/// The published versions that differ now, and what was compared. New ones are recorded and logged.
pub(super) fn find(
    ctx: &CycleContext<'_>,
    source: &ComposerSource,
    repository: &ComposerRepository<'_>,
    listing: &Listing,
    previous: Option<&SourceReport>,
) -> anyhow::Result<(Vec<Divergence>, Examined)> {
    let recorded = ctx.store.divergences()?;
    let (mut diverged, mut new, mut examined) = (Vec::new(), Vec::new(), Examined::new());
    for wanted in &listing.wanted {
        let Some((release, dist)) = changed(ctx, source, wanted) else { continue };
        let (package, content) = (wanted.package(), content(dist));
        let is_examined = previous.is_some_and(|report| report.examined.get(&package) == Some(&content));
        let found = match is_examined {
            true => recorded.iter().rfind(|known| is_of(known, source, &release, dist)).cloned(),
            false => match compare(ctx, source, repository, &release, (&wanted.listed, dist)) {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(
                        source = source.name,
                        package,
                        "the repository lists another archive, which was not compared: {error:#}"
                    );
                    continue;
                }
            },
        };
        examined.insert(package, content);
        if let Some(found) = found {
            if !recorded.iter().any(|known| known.is_same(&found)) {
                new.push(found.clone());
            }
            diverged.push(found);
        }
    }
    divergence::record(ctx, &new)?;
    Ok((diverged, examined))
}

/// The release of a version whose archive may be another one now. Without a checksum only the reference can tell.
fn changed<'w>(
    ctx: &CycleContext<'_>,
    source: &ComposerSource,
    wanted: &'w WantedVersion,
) -> Option<(Release, &'w Dist)> {
    let dist = wanted.listed.dist.as_ref()?;
    let find = |ledger: &crate::ledger::Ledger| {
        ledger.find(&wanted.name.to_string(), wanted.version.as_str()).cloned()
    };
    let release = ctx.store.ledger(find).filter(|release| release.source == source.name)?;
    let differs = match dist.shasum {
        Some(sha1) => sha1 != release.sha1,
        None => dist.reference.as_ref().is_some_and(|reference| *reference != release.commit),
    };
    differs.then_some((release, dist))
}

/// What a repository says of the content of an archive.
fn content(dist: &Dist) -> String {
    let shasum = dist.shasum.map(|sha1| sha1.to_string()).unwrap_or_default();
    format!("{} {shasum}", dist.reference.as_deref().unwrap_or_default())
}

fn is_of(known: &Divergence, source: &ComposerSource, release: &Release, dist: &Dist) -> bool {
    known.source == source.name
        && (&known.name, &known.version) == (&release.name, &release.version)
        && known.attempted.commit == dist.reference.as_deref().unwrap_or_default()
        && dist.shasum.is_none_or(|sha1| sha1 == known.attempted.sha1)
}

fn compare(
    ctx: &CycleContext<'_>,
    source: &ComposerSource,
    repository: &ComposerRepository<'_>,
    release: &Release,
    (version, dist): (&RemoteVersion, &Dist),
) -> anyhow::Result<Option<Divergence>> {
    let (archive, _) = download(ctx, repository, version, dist)?;
    ctx.store.discard(&archive)?;
    if archive.digests.sha256 == release.sha256 {
        return Ok(None);
    }
    let (commit, cause) = (dist.reference.clone().unwrap_or_default(), DivergenceCause::ChangedArchive);
    Ok(Some(Divergence::new(release, &source.name, commit, archive.digests, cause)))
}
