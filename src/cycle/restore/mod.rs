//! `mirror restore`: fills an empty repository from another mirror or a backup, or repairs its archives. What is restored is the
//! ledger of the other one, so a repository with a recipe goes on building after it.

mod composer;
mod provenance;
mod published;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use url::Url;

use self::composer::Taken;
pub use self::published::take_over_published;
use super::confirm_imports;
use super::context::CycleContext;
use super::follow::{ArchiveFetcher, Origin, Origins, Update, ask_for_update, bound, take_over};
use super::import::admit;
use super::pass::{Pass, publish_pass};
use super::report::Report;
use crate::ledger::{Ledger, Release};
use crate::metadata::MissingDependency;
use crate::net::is_not_found;
use crate::store::StagedArchive;
use crate::util::text::first_of;

/// Missing requirements that a line names; it counts the rest.
const MAX_LISTED: usize = 5;

/// What was restored.
#[derive(Debug, Default)]
pub struct Restored {
    /// New lines of the ledger.
    pub releases: usize,
    /// Archives that were damaged or missing.
    pub repaired: usize,
    /// Heads of branches, which are left out.
    pub branches: usize,
    /// Metapackages without an archive, which are left to the recipe.
    pub metapackages: usize,
    /// Restored releases that require what nobody provides, so that a recipe would have held them back.
    pub incomplete: Vec<String>,
    pub problems: Vec<String>,
}

/// Restores from the mirror at this URL, or the folder or bundle with a `file` URL. One without a ledger may be any Composer
/// repository.
///
/// A ledger here is continued if the other one has it as its beginning; otherwise only archives are repaired, by their digests.
pub fn restore(ctx: &CycleContext<'_>, from: &Url) -> anyhow::Result<Restored> {
    let began = Instant::now();
    let urls = [from.clone()];
    let ctx = &CycleContext { follow: &urls, ..ctx.clone() };
    let origins = Origins::new(ctx.follow);
    let mut restored = Restored::default();
    let (mut report, mut taken_versions) = (None, BTreeSet::new());
    let found = ask_for_update(ctx, &Origin::new(ctx, from), None);
    let is_without_ledger = found.as_ref().is_err_and(is_not_found);
    if !is_without_ledger {
        // Another archive may be damaged there, too: that says nothing about the rest.
        repair(ctx, &mut restored, &|release: &Release| {
            ArchiveFetcher::new(ctx, &Origins::new(ctx.follow), 0).fetch(release)
        })?;
    }
    match found {
        Ok(Some(mut update)) => {
            admit(ctx, &mut update)?;
            mark(ctx, &update)?;
            let before = ctx.store.absent_releases()?;
            restored.releases = take_over(ctx, &origins, &update)?;
            let has_changed = !is_ledger_published(ctx)? || ctx.store.absent_releases()? != before;
            report = has_changed.then(|| Report { followed: Some(update.followed), ..Report::default() });
        }
        Ok(None) => {}
        Err(error) if is_without_ledger => {
            let taken = composer::take(ctx, from, |fetch| repair(ctx, &mut restored, fetch));
            let Taken { releases, branches, metapackages, problems } = match taken {
                Ok(taken) => taken,
                Err(other) => {
                    return Err(other.context(format!("{error:#}, and it is no Composer repository")));
                }
            };
            (restored.releases, restored.branches) = (releases.len(), branches);
            restored.metapackages = metapackages;
            restored.problems.extend(problems);
            report = (!is_ledger_published(ctx)?).then(Report::default);
            taken_versions = releases;
        }
        Err(error) if ctx.store.ledger(Ledger::is_empty) => return Err(error),
        // Another ledger, or an older one: the archives that both have are the same.
        Err(error) => tracing::info!("only archives are restored: {error:#}"),
    }
    restored.problems.extend(origins.error(0));
    if let Some(report) = report {
        if let Err(error) = bound::render(ctx) {
            restored.problems.push(format!("{error:#}"));
        }
        let pass = Pass { report, published: 0, is_early: false, fetch_began: began, build_began: began };
        let published = publish_pass(ctx, pass)?;
        restored.incomplete = incomplete(&taken_versions, &published.report.gaps);
        if !published.report.is_complete() || !published.damaged.is_empty() {
            let problem = "archives could not be read, and what was not published before is left out: the log names them\nhint: repeat the command when they can be read";
            restored.problems.push(problem.to_owned());
        }
    }
    Ok(restored)
}

/// Whether the newest snapshot has all lines of the ledger: a restoration that was interrupted leaves lines that no snapshot has, and one
/// that could not read an archive leaves out its version.
fn is_ledger_published(ctx: &CycleContext<'_>) -> anyhow::Result<bool> {
    let Some(snapshot) = ctx.store.latest_snapshot()? else { return Ok(false) };
    let is_newest = snapshot.manifest.ledger_head == ctx.store.ledger(Ledger::head);
    Ok(is_newest && Report::to_continue(&snapshot)?.omitted.is_empty())
}

/// Those of the restored versions that have a gap, with what they lack.
fn incomplete(restored: &BTreeSet<(String, String)>, gaps: &[MissingDependency]) -> Vec<String> {
    let mut lacks = BTreeMap::<_, Vec<_>>::new();
    for MissingDependency { package, version, needs, constraint } in gaps {
        let of = (package.clone(), version.clone());
        if restored.contains(&of) {
            lacks.entry(of).or_default().push(format!("{needs} {constraint}"));
        }
    }
    let line = |((name, version), lacks): (_, Vec<String>)| {
        format!("{name} {version} requires what no source provides: {}", first_of(&lacks, MAX_LISTED))
    };
    lacks.into_iter().map(line).collect()
}

/// Marks what is about to be restored: by a recipe it can be built again.
fn mark(ctx: &CycleContext<'_>, update: &Update) -> anyhow::Result<()> {
    if ctx.recipe.source_names().next().is_none() {
        return Ok(());
    }
    let before = usize::try_from(ctx.store.ledger(Ledger::len))?;
    let new = update.ledger.releases().get(before..).unwrap_or_default();
    confirm_imports::mark(ctx, new, &update.followed.origin)
}

/// Replaces the archives that are damaged or missing by what `fetch` gets.
fn repair(
    ctx: &CycleContext<'_>,
    restored: &mut Restored,
    fetch: &dyn Fn(&Release) -> anyhow::Result<StagedArchive>,
) -> anyhow::Result<()> {
    let base_url = ctx.base_url.to_string();
    let mut unavailable = BTreeSet::new();
    for release in ctx.store.served_releases()? {
        ctx.ensure_can_continue()?;
        if ctx.store.check_archive(&release).is_ok() {
            continue;
        }
        let staged = match bound::original(ctx, &release) {
            Some(original) => bound::stage(ctx, &original, &base_url).map(|(staged, _)| staged),
            None => fetch(&release),
        };
        match staged.and_then(|staged| ctx.store.repair(&staged, &release)) {
            Ok(()) => restored.repaired += 1,
            Err(error) => {
                unavailable.insert(format!("{}: {error:#}", release.package()));
            }
        }
    }
    restored.problems.extend(unavailable);
    Ok(())
}
