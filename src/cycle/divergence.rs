//! Refs that point elsewhere than when they were published: what they would give now is built, compared and recorded.
//!
//! Only what the same source and ref published counts: that another tag has a version already is normal, and the first
//! one wins. Each commit of a ref is looked at once.

use std::collections::BTreeMap;

use super::build_packages::plan_with;
use super::resources::Resources;
use super::{CycleContext, Found, SourceReport, now};
use crate::ledger::{Release, ReleaseKind};
use crate::package::build;
use crate::package::plan::{self, VersionOwner};
use crate::recipe::Source;
use crate::store::durable_fs::HashingWriter;
use crate::store::{Divergence, VersionContent};

/// Records in the store and in `report` what the moved refs of a source would change; answers how many are new.
pub(super) fn examine(
    job: &CycleContext<'_>,
    source: &Source,
    found: &Found,
    resources: &Resources,
    known: Option<&SourceReport>,
    report: &mut SourceReport,
) -> anyhow::Result<()> {
    let mut candidates = Vec::new();
    for (release, published) in moved(job, source, found) {
        let commit = release.commit.to_string();
        let seen = known.is_some_and(|k| k.examined.get(&release.tag) == Some(&commit));
        if !seen {
            candidates.extend(compare(job, source, found, resources, release, &published));
        }
        report.examined.insert(release.tag.clone(), commit);
    }
    let mut recorded = job.store.divergences()?;
    candidates.retain(|new| !recorded.iter().any(|old| old.is_same(new)));
    for new in &candidates {
        tracing::warn!(
            source = new.source,
            tag = new.tag,
            package = new.name,
            version = new.version,
            published = new.published.commit,
            attempted = new.attempted.commit,
            "diverged: upstream's tag would give other bytes now; what is published stays"
        );
    }
    if !candidates.is_empty() {
        job.store.record_divergences(&candidates)?;
    }
    recorded.append(&mut candidates);
    recorded.retain(|divergence| divergence.source == source.name);
    report.diverged = recorded;
    Ok(())
}

/// The refs that are not at the commit that they were published from, each with what it published.
fn moved<'f>(
    job: &CycleContext<'_>,
    source: &Source,
    found: &'f Found,
) -> Vec<(&'f plan::ResolvedRef, Vec<Release>)> {
    let base_url = job.base_url.to_string();
    let releases = found.releases.iter().filter(|release| release.nightly.is_none());
    let mut by_tag: BTreeMap<_, _> = releases
        .map(|release| {
            (
                release.tag.as_str(),
                (release, release.commit.to_string(), Vec::new()),
            )
        })
        .collect();
    job.store.ledger(|ledger| {
        let of_this =
            |r: &&Release| r.source == source.name && r.kind == ReleaseKind::Package && r.is_for(&base_url);
        for published in ledger.releases().iter().filter(of_this) {
            if let Some((_, commit, others)) = by_tag.get_mut(published.tag.as_str())
                && *commit != published.commit
            {
                others.push(published.clone());
            }
        }
    });
    let by_tag = by_tag.into_values();
    by_tag
        .filter(|(_, _, others)| !others.is_empty())
        .map(|(release, _, others)| (release, others))
        .collect()
}

fn compare(
    job: &CycleContext<'_>,
    source: &Source,
    found: &Found,
    resources: &Resources,
    release: &plan::ResolvedRef,
    published: &[Release],
) -> Vec<Divergence> {
    let releases = std::slice::from_ref(release);
    let plan = plan_with(job, source, &found.clone, releases, resources, &|_, _| {
        VersionOwner::Nobody
    });
    let mut diverged = Vec::new();
    for build in &plan.builds {
        let (name, version) = (build.name.to_string(), build.version.to_string());
        let Some(published) = published.iter().find(|p| p.name == name && p.version == version) else {
            continue;
        };
        let digests = match build::archive(build, source, &found.clone, &job.limits, HashingWriter::sink()) {
            Ok(sink) => sink.digests(),
            Err(error) => {
                tracing::warn!(
                    source = source.name,
                    tag = release.tag,
                    package = name,
                    "upstream moved this tag, and it cannot be built any more: {error:#}"
                );
                continue;
            }
        };
        if digests.sha256 != published.sha256 {
            diverged.push(Divergence {
                source: source.name.clone(),
                tag: release.tag.clone(),
                name,
                version,
                published: VersionContent {
                    commit: published.commit.clone(),
                    sha1: published.sha1,
                    sha256: published.sha256,
                },
                attempted: VersionContent {
                    commit: release.commit.to_string(),
                    sha1: digests.sha1,
                    sha256: digests.sha256,
                },
                time: now(),
            });
        }
    }
    diverged
}
