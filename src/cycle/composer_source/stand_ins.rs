//! Compares what a Composer repository stood in for with what can be built from git since.

use std::collections::BTreeMap;

use crate::cycle::context::CycleContext;
use crate::cycle::divergence;
use crate::cycle::inputs::SourceRefs;
use crate::cycle::report::SourceReport;
use crate::cycle::resources::Resources;
use crate::ledger::Release;
use crate::recipe::Source;
use crate::store::DivergenceCause;
use crate::util::digest::Sha256;

/// Adds the versions that differ to the report of the git source. Each is compared once for each commit and state of the rules
/// with their resources, of which `rules` is the digest; what cannot be built yet is compared when it can.
pub(in crate::cycle) fn compare(
    ctx: &CycleContext<'_>,
    source: &Source,
    source_refs: &SourceRefs,
    resources: &Resources,
    rules: Sha256,
    previous: Option<&SourceReport>,
    report: &mut SourceReport,
) -> anyhow::Result<()> {
    let stand_ins: Vec<_> =
        ctx.recipe.stand_ins(&source.name).map(|stand_in| stand_in.name.as_str()).collect();
    if stand_ins.is_empty() {
        return Ok(());
    }
    let mut by_tag = BTreeMap::<_, Vec<Release>>::new();
    ctx.store.ledger(|ledger| {
        for release in ledger.releases().iter().filter(|release| stand_ins.contains(&&*release.source)) {
            by_tag.entry(release.tag.clone()).or_default().push(release.clone());
        }
    });
    let (mut diverged, mut new) = (Vec::new(), Vec::new());
    let recorded = ctx.store.divergences()?;
    for git_ref in &source_refs.refs {
        let Some(releases) = by_tag.get(&git_ref.tag) else { continue };
        let commit = git_ref.commit.to_string();
        let state = format!("{commit} {rules}");
        let is_examined = |release: &&Release| {
            previous.is_some_and(|report| report.examined.get(&release.package()) == Some(&state))
        };
        let (known, unexamined): (Vec<_>, Vec<_>) = releases.iter().partition(is_examined);
        diverged.extend(
            recorded
                .iter()
                .filter(|divergence| {
                    divergence.cause == DivergenceCause::BuiltFromGit
                        && divergence.attempted.commit == commit
                        && known
                            .iter()
                            .any(|r| (&r.name, &r.version) == (&divergence.name, &divergence.version))
                })
                .cloned(),
        );
        if !unexamined.is_empty() {
            let unexamined: Vec<_> = unexamined.into_iter().cloned().collect();
            let cause = DivergenceCause::BuiltFromGit;
            let found =
                divergence::compare(ctx, source, source_refs, resources, git_ref, &unexamined, cause)?;
            new.extend(found);
        }
        report.examined.extend(releases.iter().map(|release| (release.package(), state.clone())));
    }
    diverged.extend(new.iter().cloned());
    new.retain(|divergence| !recorded.iter().any(|known| known.is_same(divergence)));
    divergence::record(ctx, &new)?;
    report.diverged.extend(diverged);
    Ok(())
}
