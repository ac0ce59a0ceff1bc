//! Renders the packages that are bound to another base URL for the own one: their archives with the URL in the manifest replaced.

use std::fs;

use anyhow::{Context as _, bail};

use crate::cycle::context::CycleContext;
use crate::ledger::{Release, ReleaseKind};
use crate::package::rebound;
use crate::store::StagedArchive;
use crate::util::digest::Sha256;

/// Renders all that is not rendered yet.
pub(in crate::cycle) fn render(ctx: &CycleContext<'_>) -> anyhow::Result<()> {
    let base_url = ctx.base_url.to_string();
    let wanted: Vec<_> = ctx.store.ledger(|ledger| ledger.unrendered(&base_url).cloned().collect());
    let mut batch = Vec::new();
    for release in wanted.iter().filter(|release| ctx.store.archive(release).exists()) {
        let failed = || format!("failed to render {} for {base_url}", release.package());
        batch.push(stage(ctx, release, &base_url).with_context(failed)?);
    }
    if batch.is_empty() { Ok(()) } else { ctx.store.publish_renditions(batch) }
}

/// Stages the rendition of a release. It has the name and the bytes that a build for `base_url` would give.
pub(in crate::cycle) fn stage(
    ctx: &CycleContext<'_>,
    release: &Release,
    base_url: &str,
) -> anyhow::Result<(StagedArchive, Release)> {
    let Some(bound) = &release.bound else {
        bail!("it is not bound to a base URL");
    };
    let path = ctx.store.archive(release);
    let archive = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let rendered = rebound::rebind(&archive, bound, base_url)?;
    let staged = ctx.store.stage_bytes(&rendered)?;
    let Release { name, version, .. } = release;
    let suffix = match release.kind {
        ReleaseKind::Package => Sha256::digest(base_url.as_bytes()),
        _ => staged.digests.sha256,
    };
    let rendition = Release {
        file: Some(format!("packages/{name}-{version}-{}.zip", &suffix.to_string()[..8])),
        bound: Some(base_url.to_owned()),
        sha1: staged.digests.sha1,
        sha256: staged.digests.sha256,
        size: staged.digests.size,
        ..release.clone()
    };
    Ok((staged, rendition))
}

/// The release that a rendition was rendered from; `None` if it is no rendition.
pub(in crate::cycle) fn original(ctx: &CycleContext<'_>, rendition: &Release) -> Option<Release> {
    ctx.store.ledger(|ledger| {
        let original = ledger.release(rendition.number)?;
        (original.bound != rendition.bound).then(|| original.clone())
    })
}
