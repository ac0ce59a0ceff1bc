//! Takes over what another builder has published to the bucket, or this one before its volume was lost: archives, lines of the
//! ledger, records, compressed copies, and the newest snapshot with its number and its dates.
//!
//! Archives are fetched at once, in the order and with the checks of `mirror restore`, so an interrupted restoration goes on where
//! it was, and the volume is complete at any time.

use std::fs;

use anyhow::{Context as _, bail, ensure};
use url::Url;

use crate::bucket::difference::Difference;
use crate::bucket::root::StoredVariant;
use crate::cycle::context::{CycleContext, ProgressEvent, PublishedBucket};
use crate::cycle::follow::{self, Origins, Update, bound, missing_archives, take_over};
use crate::cycle::republish::republish;
use crate::ledger::Ledger;
use crate::store::{ImportMark, ImportMarks};
use crate::util::digest::Sha256;
use crate::util::parallel;

/// A compressed copy, with the digest of what it is a copy of.
type Copy = (Sha256, StoredVariant);

/// Takes over what is published, so that this builder may publish after it.
pub fn take_over_published(
    ctx: &CycleContext<'_>,
    published: PublishedBucket<'_>,
    difference: &Difference,
) -> anyhow::Result<()> {
    let url = published.bucket.object(&format!("{}/", published.loaded.state.repository));
    let urls = [Url::parse(&url).with_context(|| format!("`{url}` is no URL"))?];
    let from = &CycleContext { follow: &urls, bucket: Some(published), ..ctx.clone() };
    let marks = ctx.store.import_marks()?;
    let highest = ctx.store.snapshot_numbers()?.last().copied().unwrap_or_default();
    take_over_ledger(from, published, difference)?;
    ctx.store.take_over_records(&|name| published.loaded.record(name))?;
    move_marks(ctx, difference, &marks)?;
    bound::render(from)?;
    take_over_snapshot(ctx, published, difference, highest)?;
    // Last: when own lines are put behind, the volume has only an older snapshot until this one is there.
    take_over_copies(from, published)
}

/// Publishes the snapshot as it was published.
fn take_over_snapshot(
    ctx: &CycleContext<'_>,
    PublishedBucket { loaded, .. }: PublishedBucket<'_>,
    difference: &Difference,
    highest: u64,
) -> anyhow::Result<()> {
    let manifest = &loaded.state.snapshot;
    // Renditions of other base URLs were not rendered here: then the next publication makes the metadata.
    let is_whole = ctx.store.ledger(Ledger::rendition_count) >= manifest.renditions;
    let known = ctx.store.latest_snapshot()?.map(|snapshot| snapshot.manifest);
    if !is_whole || known.as_deref() == Some(manifest) {
        return Ok(());
    }
    if let Some(number) = known.and_then(|known| known.rollback_to).filter(|_| manifest.rollback_to.is_none())
    {
        tracing::warn!(
            "the rollback to snapshot {number} ends, because another builder has published after it\nhint: roll back again if it is still needed"
        );
    }
    let adopted = ctx.store.adopt_snapshot(manifest.clone(), highest, &|sha256| loaded.content(sha256))?;
    // What only this builder has published stays published.
    if !difference.kept.is_empty() {
        republish(ctx, &adopted)?;
    }
    Ok(())
}

/// Takes over the lines of the ledger with their archives.
fn take_over_ledger(
    ctx: &CycleContext<'_>,
    published: PublishedBucket<'_>,
    difference: &Difference,
) -> anyhow::Result<()> {
    let origins = Origins::new(ctx.follow);
    let update = Update::in_bucket(published, difference.common)?;
    if !difference.is_fork() && difference.own == difference.common {
        take_over(ctx, &origins, &update)?;
        let error = origins.error(0);
        return error.map_or(Ok(()), |error| bail!("not everything could be restored: {error}"));
    }
    let wanted = missing_archives(ctx, &update);
    let (source, packages) = (&*update.followed.origin, wanted.len() as u64);
    (ctx.progress)(ProgressEvent::Building { source, packages });
    follow::fetch(ctx, &origins, &wanted, |fetched, release| ctx.store.repair(&fetched?, release))?;
    ctx.ensure_can_continue()?;
    match difference.is_fork() {
        true => {
            let text = published.loaded.ledger_text();
            ctx.store.rebase(difference.common, text, difference.kept.clone())
        }
        false => Ok(()),
    }
}

/// Marks are of lines, which have other numbers now. Those of the published lines came with them.
fn move_marks(ctx: &CycleContext<'_>, difference: &Difference, before: &ImportMarks) -> anyhow::Result<()> {
    let now = ctx.store.import_marks()?;
    let mut marks = now.clone();
    marks.retain(|line, mark| *line <= difference.common || before.get(line) != Some(mark));
    let kept = (difference.published + 1..).zip(&difference.kept);
    marks.extend(kept.filter_map(|(line, release)| {
        let mark = before.get(&release.number)?.clone();
        Some((line, ImportMark { line, ..mark }))
    }));
    if marks == now { Ok(()) } else { ctx.store.write_import_marks(&marks) }
}

/// Fetches the compressed copies that are not here. One that cannot be had is made again.
fn take_over_copies(ctx: &CycleContext<'_>, published: PublishedBucket<'_>) -> anyhow::Result<()> {
    let variants = published.loaded.state.variants.iter();
    let copies = variants.flat_map(|(original, copies)| copies.iter().map(|copy| (*original, *copy)));
    let is_missing = |(original, copy): &Copy| {
        let file = ctx.store.variant_file(*original, copy.sha256, copy.coding);
        !fs::metadata(file).is_ok_and(|file| file.len() == copy.size)
    };
    let missing: Vec<_> = copies.filter(is_missing).collect();
    let source = published.bucket.object(&published.loaded.state.repository);
    (ctx.progress)(ProgressEvent::Building { source: &source, packages: missing.len() as u64 });
    let fetched = parallel::map(
        &missing,
        ctx.fetches,
        || Ok(()),
        |(), copy| {
            ctx.ensure_can_continue()?;
            let taken = take_over_copy(ctx, published, copy);
            (ctx.progress)(ProgressEvent::Built);
            taken
        },
    );
    ctx.ensure_can_continue()?;
    if let Some(error) = fetched.into_iter().find_map(Result::err) {
        tracing::warn!("compressed copies that were not restored are made again: {error:#}");
    }
    Ok(())
}

fn take_over_copy(
    ctx: &CycleContext<'_>,
    PublishedBucket { bucket, loaded }: PublishedBucket<'_>,
    (original, copy): &Copy,
) -> anyhow::Result<()> {
    let bytes = match loaded.content(copy.sha256) {
        Some(bytes) => bytes,
        None => bucket.get(&copy.key(&loaded.state.repository, *original))?.bytes,
    };
    ensure!(Sha256::digest(&bytes) == copy.sha256, "a compressed copy in the bucket is damaged");
    ctx.store.add_variant(*original, copy.sha256, copy.coding, &bytes)
}
