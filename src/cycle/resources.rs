//! The resources of a recipe: git repositories with historical manifests, replacement files and prebuilt archives.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, anyhow};

use super::context::CycleContext;
use super::fetch_clones::Clones;
use crate::config::Limits;
use crate::git::{AddedTimes, BareClone, Commit, EntryKind, MissingRef};
use crate::package::limits;
use crate::recipe::Resource;

/// The resources, each at its ref's current commit, or with the reason why it is unavailable.
pub(super) struct Resources {
    by_name: BTreeMap<String, Result<(BareClone, Commit), String>>,
    limits: Limits,
}

impl Resources {
    /// Opens all resources of the recipe. A resource that could not be fetched fails what needs it, and nothing else.
    pub(super) fn open(ctx: &CycleContext<'_>, clones: &Clones) -> Self {
        let opened = ctx.recipe.resources.iter().map(|(name, resource)| {
            let resource = open(ctx, resource, clones).with_context(|| format!("resource `{name}`"));
            (name.clone(), resource.map_err(|error| format!("{error:#}")))
        });
        Self { by_name: opened.collect(), limits: ctx.limits.clone() }
    }

    pub(super) fn commit(&self, name: &str) -> anyhow::Result<&Commit> {
        self.get(name).map(|(_, commit)| commit)
    }

    /// Name and commit of each available resource.
    pub(super) fn commits(&self) -> Vec<String> {
        self.by_name
            .iter()
            .filter_map(|(name, resource)| {
                let (_, commit) = resource.as_ref().ok()?;
                Some(format!("{name} {}", commit.id))
            })
            .collect()
    }

    /// The contents of a manifest or another file that becomes part of a package, if it exists.
    pub(super) fn read(&self, name: &str, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        self.read_within(name, path, |size| limits::check_file_size(&self.limits, path, size))
    }

    /// The contents of a prebuilt archive, if it exists.
    pub(super) fn read_archive(&self, name: &str, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        self.read_within(name, path, |size| limits::check_archive_size(&self.limits, path, size))
    }

    fn read_within(
        &self,
        name: &str,
        path: &str,
        allow: impl FnOnce(u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        let (clone, commit) = self.get(name)?;
        match clone.find(commit.tree, path)? {
            Some(entry) if matches!(entry.kind, EntryKind::File | EntryKind::Executable) => {
                allow(clone.blob_size(entry.id)?)?;
                Ok(Some(clone.blob(entry.id)?.to_vec()))
            }
            _ => Ok(None),
        }
    }

    /// When files of a folder were added. The walk is as long as the history since the oldest of them.
    pub(super) fn added_times(
        &self,
        name: &str,
        path: &str,
        files: BTreeSet<String>,
    ) -> anyhow::Result<AddedTimes> {
        let (clone, commit) = self.get(name)?;
        Ok(clone.added_times(commit.id, path, files)?)
    }

    /// The names of the files in a folder, in byte order.
    pub(super) fn list(&self, name: &str, path: &str) -> anyhow::Result<Vec<String>> {
        let (clone, commit) = self.get(name)?;
        let folder =
            clone.find(commit.tree, path)?.with_context(|| format!("resource `{name}` has no `{path}`"))?;
        let files = clone.tree(folder.id)?.into_iter().filter(|e| e.kind == EntryKind::File);
        let mut names: Vec<_> = files.map(|entry| entry.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn get(&self, name: &str) -> anyhow::Result<&(BareClone, Commit)> {
        let resource =
            self.by_name.get(name).with_context(|| format!("the recipe has no resource `{name}`"))?;
        resource.as_ref().map_err(|error| anyhow!("{error}"))
    }
}

fn open(ctx: &CycleContext<'_>, resource: &Resource, clones: &Clones) -> anyhow::Result<(BareClone, Commit)> {
    let clone = clones.get(&resource.git)?;
    let is_wanted = |missing: &&MissingRef| missing.requested == resource.reference;
    if let Some(missing) = clone.fetched.missing.iter().find(is_wanted) {
        return Err(missing.clone().into());
    }
    let clone = BareClone::open(&clone.folder, ctx.limits.tree)?;
    let reference = clone.extra_ref(&resource.reference)?.context("its ref was not fetched")?;
    let commit = clone.commit(&reference)?;
    Ok((clone, commit))
}
