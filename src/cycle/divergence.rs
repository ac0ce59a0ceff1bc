//! Finds tags that upstream moved after they were published: their packages are built, compared and recorded.
//!
//! Only what the same source and tag published is compared. That an earlier tag published the same version is normal:
//! the first ref wins. Each commit of a tag is examined once.

use std::collections::BTreeMap;

use super::context::CycleContext;
use super::inputs::SourceRefs;
use super::planning::plan_unpublished;
use super::report::SourceReport;
use super::resources::Resources;
use crate::ledger::{Release, ReleaseKind};
use crate::package::build;
use crate::package::checkout_differences::CheckoutDifferences;
use crate::package::plan::ResolvedRef;
use crate::recipe::Source;
use crate::store::durable_fs::HashingWriter;
use crate::store::{Divergence, DivergenceCause};

/// The published versions that the moved tags of a source would change.
pub(super) struct Diverged {
    /// Those that are recorded, as long as the tag is at the commit that was compared.
    known: Vec<Divergence>,
    new: Vec<Divergence>,
    /// The commits of the moved tags.
    examined: BTreeMap<String, String>,
}

impl Diverged {
    /// Compares the moved tags whose commits were not examined before.
    pub(super) fn find(
        ctx: &CycleContext<'_>,
        source: &Source,
        source_refs: &SourceRefs,
        resources: &Resources,
        previous: Option<&SourceReport>,
    ) -> anyhow::Result<Self> {
        let (mut new, mut examined) = (Vec::new(), BTreeMap::new());
        for (git_ref, published) in moved_refs(ctx, source, source_refs) {
            let commit = git_ref.commit.to_string();
            let before = previous.and_then(|report| report.examined.get(&git_ref.tag));
            if before != Some(&commit) {
                let cause = DivergenceCause::MovedTag;
                new.extend(compare(ctx, source, source_refs, resources, git_ref, &published, cause)?);
            }
            examined.insert(git_ref.tag.clone(), commit);
        }
        let mut known = ctx.store.divergences()?;
        new.retain(|divergence| !known.iter().any(|known| known.is_same(divergence)));
        known.retain(|divergence| {
            divergence.source == source.name
                && examined.get(&divergence.tag) == Some(&divergence.attempted.commit)
        });
        Ok(Self { known, new, examined })
    }

    pub(super) fn all(self) -> Vec<Divergence> {
        [self.known, self.new].concat()
    }

    /// Records them in `report`, and the new ones as [`record`] does.
    pub(super) fn record(self, ctx: &CycleContext<'_>, report: &mut SourceReport) -> anyhow::Result<()> {
        record(ctx, &self.new)?;
        report.examined.clone_from(&self.examined);
        report.diverged = self.all();
        Ok(())
    }
}

/// The refs that are no longer at the commit that they were published from, each with its published versions.
fn moved_refs<'r>(
    ctx: &CycleContext<'_>,
    source: &Source,
    source_refs: &'r SourceRefs,
) -> Vec<(&'r ResolvedRef, Vec<Release>)> {
    let base_url = ctx.base_url.to_string();
    let tags = source_refs.refs.iter().filter(|git_ref| git_ref.nightly.is_none());
    let mut by_tag: BTreeMap<_, _> = tags
        .map(|git_ref| {
            let commit = git_ref.commit.to_string();
            (git_ref.tag.as_str(), (git_ref, commit, Vec::new()))
        })
        .collect();
    ctx.store.ledger(|ledger| {
        let of_source =
            |release: &&Release| release.source == source.name && release.kind == ReleaseKind::Package;
        for published in ledger.for_url(&base_url).filter(of_source) {
            if let Some((_, commit, others)) = by_tag.get_mut(published.tag.as_str())
                && *commit != published.commit
            {
                others.push(published.clone());
            }
        }
    });
    by_tag
        .into_values()
        .filter(|(_, _, others)| !others.is_empty())
        .map(|(git_ref, _, others)| (git_ref, others))
        .collect()
}

/// Records new divergences in the store, and logs them.
pub(super) fn record(ctx: &CycleContext<'_>, new: &[Divergence]) -> anyhow::Result<()> {
    if new.is_empty() {
        return Ok(());
    }
    for divergence in new {
        let Divergence { source, tag, name, version, published, attempted, .. } = divergence;
        let (published, attempted) = (&published.commit, &attempted.commit);
        tracing::warn!(source, tag, package = name, version, published, attempted, "diverged: {divergence}");
    }
    ctx.store.record_divergences(new)
}

/// Builds the published versions of a ref again, and returns those that differ.
pub(super) fn compare(
    ctx: &CycleContext<'_>,
    source: &Source,
    source_refs: &SourceRefs,
    resources: &Resources,
    git_ref: &ResolvedRef,
    published: &[Release],
    cause: DivergenceCause,
) -> anyhow::Result<Vec<Divergence>> {
    let clone = &source_refs.clone;
    let plan = plan_unpublished(ctx, source, clone, std::slice::from_ref(git_ref), resources)?;
    let mut diverged = Vec::new();
    for build in &plan.builds {
        let (name, version) = (build.name.to_string(), build.version.to_string());
        let Some(published) = published.iter().find(|p| p.name == name && p.version == version) else {
            continue;
        };
        let differences = &mut CheckoutDifferences::default();
        let digests = match build::archive(
            build,
            source,
            clone,
            ctx.limits,
            differences,
            HashingWriter::sink(),
        ) {
            Ok(sink) => sink.digests(),
            Err(error) => {
                tracing::warn!(
                    source = source.name,
                    tag = git_ref.tag,
                    package = name,
                    "a published version is not compared, because it cannot be built from this tag now: {error:#}"
                );
                continue;
            }
        };
        if digests.sha256 != published.sha256 {
            let commit = git_ref.commit.to_string();
            diverged.push(Divergence::new(published, &source.name, commit, digests, cause));
        }
    }
    Ok(diverged)
}
