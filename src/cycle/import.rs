//! `mirror import`: publishes what a bundle has, in one snapshot.
//!
//! Nothing is published before all of the bundle is checked: the chain of its ledger, which has to continue the own one, and the
//! digests of its archives. An import that was interrupted is repeated, and goes on where it was.

use std::io::Read;
use std::time::Instant;

use anyhow::{bail, ensure};
use url::Url;

use super::CycleResult;
use super::context::{CycleContext, ProgressEvent};
use super::follow::{
    ArchiveRequest, Origin, Origins, Update, ask_for_update, bound, missing_archives, take_over,
};
use super::pass::{Pass, publish_pass};
use super::report::Report;
use crate::ledger::{Ledger, Release};
use crate::net::is_not_found;
use crate::store::durable_fs::HashingWriter;
use crate::util::digest::Sha256;
use crate::util::text::first_of;

/// How many wrong archives an error names.
const NAMED: usize = 5;

/// What was imported.
#[derive(Debug)]
pub struct Imported {
    /// Archives that were not here.
    pub archives: usize,
    /// New lines of the ledger.
    pub lines: u64,
    /// The lines of the ledger now, and its head.
    pub ledger: u64,
    pub head: Sha256,
    /// Releases of the ledger that are not here.
    pub absent: usize,
    pub result: CycleResult,
}

/// Imports the bundle with this `file` URL.
///
/// # Errors
/// It is no bundle, ends early, contradicts what is published here, or an archive is missing or has other bytes: then nothing
/// is published.
pub fn import(ctx: &CycleContext<'_>, from: &Url) -> anyhow::Result<Imported> {
    let began = Instant::now();
    let urls = [from.clone()];
    let ctx = &CycleContext { follow: &urls, ..ctx.clone() };
    let (origins, origin) = (Origins::new(ctx.follow), Origin::new(ctx, from));
    let Some(mut update) = ask_for_update(ctx, &origin, None)? else {
        bail!("{} says nothing", origin.name());
    };
    admit(ctx, &mut update)?;
    let before = ctx.store.ledger(Ledger::len);
    let missing = missing_archives(ctx, &update);
    check_archives(ctx, &origin, &missing)?;
    let archives = missing.len();
    drop(missing);
    take_over(ctx, &origins, &update)?;
    if let Some(error) = origins.error(0) {
        bail!("{error}");
    }
    bound::render(ctx)?;
    let absent = update.followed.state.absent().len();
    let report = Report { followed: Some(update.followed), ..Report::default() };
    let pass = Pass { report, published: archives, is_early: false, fetch_began: began, build_began: began };
    let result = publish_pass(ctx, pass)?;
    let (ledger, head) = ctx.store.ledger(|ledger| (ledger.len(), ledger.head()));
    Ok(Imported { archives, lines: ledger - before, ledger, head, absent, result })
}

/// What is published here stays, whatever the other one leaves out; the rest of that is absent from now on.
///
/// # Errors
/// A recipe would take the releases that were left out for published, and never build them.
pub(super) fn admit(ctx: &CycleContext<'_>, update: &mut Update) -> anyhow::Result<()> {
    let (own, known) = (ctx.store.ledger(Ledger::len), ctx.store.absent_releases()?);
    let mut absent = update.followed.state.absent();
    absent.retain(|number| *number > own || known.contains(number));
    ensure!(
        absent.is_empty() || ctx.recipe.source_names().next().is_none(),
        "{} has only a part of the releases, and this repository is built by a recipe, which would never build the others: \
         nothing was copied\nhint: set `import: true` instead of the recipe, or export without `--for`",
        update.followed.origin
    );
    update.followed.state.keep_absent(&absent);
    Ok(())
}

/// Compares archives with the ledger before anything is published.
fn check_archives(ctx: &CycleContext<'_>, origin: &Origin<'_>, releases: &[&Release]) -> anyhow::Result<()> {
    let name = origin.name();
    (ctx.progress)(ProgressEvent::Building { source: &name, packages: releases.len() as u64 });
    let mut wrong = Vec::new();
    for release in releases {
        ctx.ensure_can_continue()?;
        match digest(origin, release) {
            Ok(digest) if digest == release.sha256 => {}
            Ok(_) => wrong.push(format!("{} has other bytes", release.package())),
            Err(error) if is_not_found(&error) => {
                wrong.push(format!("{} is not in it", release.package()));
            }
            Err(error) => wrong.push(format!("{}: {error:#}", release.package())),
        }
    }
    ensure!(
        wrong.is_empty(),
        "{name} is refused: of {} archives that are not here, {} cannot be taken from it: {}\nhint: if it was exported with \
         `--since`, import the earlier one first; else export it again",
        releases.len(),
        wrong.len(),
        first_of(&wrong, NAMED)
    );
    Ok(())
}

fn digest(origin: &Origin<'_>, release: &Release) -> anyhow::Result<Sha256> {
    let mut sink = HashingWriter::sink();
    // What is longer is wrong.
    let mut body = origin.archive(release, ArchiveRequest::From(0))?.bytes.take(release.size + 1);
    std::io::copy(&mut body, &mut sink)?;
    Ok(sink.digests().sha256)
}
