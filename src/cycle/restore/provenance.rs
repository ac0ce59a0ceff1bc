//! Which source of the recipe gives a version, by which tag and commit, as a build from nothing would find.

use std::collections::{BTreeSet, HashMap};

use anyhow::Context as _;
use jiff::Timestamp;

use crate::composer::normalize_version;
use crate::cycle::context::CycleContext;
use crate::cycle::inputs::FetchedInputs;
use crate::cycle::planning::plan_unpublished;
use crate::cycle::prebuilt_archives;
use crate::cycle::report::Report;
use crate::recipe::{ArchiveFolder, Source};

/// Where a release comes from, as its line of the ledger has it.
#[derive(Debug, Clone)]
pub(super) struct Provenance {
    pub(super) source: String,
    pub(super) tag: String,
    pub(super) commit: String,
    pub(super) tree: String,
    pub(super) committed: Timestamp,
    /// Whether the bytes have a base URL in them.
    pub(super) is_bound: bool,
    /// Where a prebuilt archive is published.
    pub(super) file: Option<String>,
}

/// What the sources of the recipe give.
#[derive(Default)]
pub(super) struct Provenances {
    /// By name and normalized version.
    by_version: HashMap<(String, String), Provenance>,
    /// Why sources could not be read.
    pub(super) problems: Vec<String>,
}

impl Provenances {
    /// Fetches and plans all sources. Those that cannot be read are problems.
    pub(super) fn find(ctx: &CycleContext<'_>) -> Self {
        let inputs = FetchedInputs::fetch(ctx, &Report::default());
        let mut found = Self::default();
        // Prebuilt archives have precedence over what would be built.
        for folder in &ctx.recipe.archives {
            let added = found.add_archives(ctx, &inputs, folder);
            found.note(&folder.name, added);
        }
        // The next cycle rebuilds a nightly version.
        for source in ctx.recipe.sources.iter().filter(|source| source.nightly.is_none()) {
            let added = found.add_source(ctx, &inputs, source);
            found.note(&source.name, added);
        }
        found
    }

    fn note(&mut self, source: &str, added: anyhow::Result<()>) {
        if let Err(error) = added {
            self.problems.push(format!("source `{source}` cannot confirm what it gives: {error:#}"));
        }
    }

    fn add_archives(
        &mut self,
        ctx: &CycleContext<'_>,
        inputs: &FetchedInputs,
        folder: &ArchiveFolder,
    ) -> anyhow::Result<()> {
        let commit = inputs.resources.commit(&folder.resource)?;
        let files: BTreeSet<_> = inputs.resources.list(&folder.resource, &folder.path)?.into_iter().collect();
        let added = inputs.resources.added_times(&folder.resource, &folder.path, files.clone())?;
        for file in files.into_iter().filter(|file| file.ends_with(".zip")) {
            // One that cannot be read is not published, and a cycle says so.
            let Ok((_, archive)) = prebuilt_archives::read(ctx, folder, &inputs.resources, &file) else {
                continue;
            };
            let time = added.get(&file).copied().unwrap_or(commit.time);
            let provenance = Provenance {
                source: folder.name.clone(),
                tag: ctx.recipe.resources[&folder.resource].reference.clone(),
                commit: commit.id.to_string(),
                tree: commit.tree.to_string(),
                committed: Timestamp::from_second(time).context("a commit has an impossible date")?,
                is_bound: false,
                file: Some(prebuilt_archives::public_path(&file)),
            };
            let key = (archive.name.to_string(), archive.version.normalized().to_owned());
            self.by_version.entry(key).or_insert(provenance);
        }
        Ok(())
    }

    fn add_source(
        &mut self,
        ctx: &CycleContext<'_>,
        inputs: &FetchedInputs,
        source: &Source,
    ) -> anyhow::Result<()> {
        let refs = inputs.source_refs(ctx, source)?;
        for build in plan_unpublished(ctx, source, &refs.clone, &refs.refs, &inputs.resources)?.builds {
            let tree = build.folder.as_ref().map_or(build.git_ref.tree, |folder| folder.tree);
            let provenance = Provenance {
                source: source.name.clone(),
                tag: build.git_ref.tag.clone(),
                commit: build.git_ref.commit.to_string(),
                tree: tree.to_string(),
                committed: Timestamp::from_second(build.git_ref.time)
                    .context("a commit has an impossible date")?,
                is_bound: build.bound,
                file: None,
            };
            let key = (build.name.to_string(), build.version.normalized().to_owned());
            // As in a build, the first source has it.
            self.by_version.entry(key).or_insert(provenance);
        }
        Ok(())
    }

    pub(super) fn of(&self, name: &str, version: &str) -> Option<&Provenance> {
        self.by_version.get(&(name.to_owned(), normalize_version(version)?))
    }
}
