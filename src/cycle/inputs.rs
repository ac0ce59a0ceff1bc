//! Everything that a cycle reads from upstream: the clones, the resources and the nightly build of one recipe.

use std::path::PathBuf;

use super::context::CycleContext;
use super::fetch_clones::{Clones, FetchedClone, Fetches};
use super::nightly::NightlyBuild;
use super::report::Report;
use super::resources::Resources;
use super::select_refs;
use crate::git::BareClone;
use crate::package::plan::{OutcomeRow, ResolvedRef};
use crate::recipe::Source;
use crate::util::digest::Sha256;

/// Changes with what a report says, so that an update of the program plans all sources again.
const REPORT_FORMAT: &str = "report 3";

/// The inputs of a cycle, as of its fetch.
pub(super) struct FetchedInputs {
    clones: Clones,
    pub resources: Resources,
    pub nightly: NightlyBuild,
}

/// The refs that a source releases, and a row for each ref that could not be resolved.
pub(super) struct SourceRefs {
    pub folder: PathBuf,
    pub clone: BareClone,
    pub refs: Vec<ResolvedRef>,
    pub rows: Vec<OutcomeRow>,
    /// A row for each tag that the recipe does not release.
    pub passed_over: Vec<OutcomeRow>,
}

impl FetchedInputs {
    /// Fetches all that the recipe names. What cannot be fetched fails the sources that need it, and nothing else.
    pub(super) fn fetch(ctx: &CycleContext<'_>, previous: &Report) -> Self {
        let fetches = Fetches::new(ctx);
        fetches.run();
        Self::new(ctx, fetches.clones(), previous)
    }

    /// The inputs from these clones.
    pub(super) fn new(ctx: &CycleContext<'_>, clones: Clones, previous: &Report) -> Self {
        let resources = Resources::open(ctx, &clones);
        let nightly = NightlyBuild::new(ctx, &clones, &resources, previous);
        Self { clones, resources, nightly }
    }

    pub(super) fn source_refs(&self, ctx: &CycleContext<'_>, source: &Source) -> anyhow::Result<SourceRefs> {
        self.ensure_ended(ctx, source)?;
        let FetchedClone { folder, fetched, tags } = self.clones.get(&source.git)?;
        let clone = BareClone::open(folder, ctx.limits.tree)?;
        let ((refs, rows), passed_over) = match source.nightly {
            Some(_) => ((vec![self.nightly.head_of(ctx, source, &self.clones)?], Vec::new()), Vec::new()),
            None => (select_refs::select(source, &clone, fetched)?, select_refs::passed_over(source, tags)),
        };
        Ok(SourceRefs { folder: folder.clone(), clone, refs, rows, passed_over })
    }

    /// Whether all fetches have ended. Otherwise this cycle builds again when they have.
    pub(super) fn is_complete(&self) -> bool {
        self.clones.is_complete()
    }

    /// Fails if something that the source is built from is still being fetched.
    fn ensure_ended(&self, ctx: &CycleContext<'_>, source: &Source) -> anyhow::Result<()> {
        // The fingerprint of a source with resources names them all.
        let resources = ctx.recipe.resources.values().filter(|_| source.resources().next().is_some());
        let beside =
            ctx.recipe.sources.iter().filter(|other| other.nightly.is_some() && source.nightly.is_some());
        let mut urls = resources.map(|resource| &resource.git).chain(beside.map(|other| &other.git));
        urls.try_for_each(|url| self.clones.ensure_ended(url))
    }

    /// The digest of everything but the refs that decides a source's packages.
    pub(super) fn fingerprint(&self, ctx: &CycleContext<'_>, source: &Source) -> anyhow::Result<Sha256> {
        let mut depends = vec![REPORT_FORMAT.to_owned(), ctx.base_url.to_string()];
        if source.resources().next().is_some() {
            depends.extend(self.resources.commits());
        }
        if source.nightly.is_some() {
            depends.extend(self.nightly.date.clone());
            depends.push(serde_json::to_string(&*self.nightly.pins)?);
        }
        Ok(source.fingerprint(&depends))
    }
}
