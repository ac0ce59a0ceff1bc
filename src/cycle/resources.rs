//! The resources of a recipe: git repositories with historical manifests, replacement files and finished archives.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow};

use super::fetch_clones::Clones;
use crate::git::{BareClone, Commit, EntryKind, MissingRef};
use crate::recipe::{Recipe, Resource};

/// The resources as they stand now, each at its ref.
pub(super) struct Resources {
    by_name: BTreeMap<String, Result<(BareClone, Commit), String>>,
}

impl Resources {
    /// Opens all resources of the recipe. One that could not be fetched fails what needs it, and nothing else.
    pub fn open(recipe: &Recipe, clones: &Clones) -> Self {
        let opened = recipe.resources.iter().map(|(name, resource)| {
            let resource = open(resource, clones).with_context(|| format!("resource `{name}`"));
            (name.clone(), resource.map_err(|error| format!("{error:#}")))
        });
        Self {
            by_name: opened.collect(),
        }
    }

    /// The commit of a resource.
    pub fn commit(&self, name: &str) -> anyhow::Result<&Commit> {
        self.get(name).map(|(_, commit)| commit)
    }

    /// The commits of all resources that could be had, by name.
    pub fn commits(&self) -> Vec<String> {
        let had = |(name, resource): (&String, &Result<(_, Commit), _>)| {
            Some(format!("{name} {}", resource.as_ref().ok()?.1.id))
        };
        self.by_name.iter().filter_map(had).collect()
    }

    /// The contents of a file, if it exists.
    pub fn read(&self, name: &str, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let (clone, commit) = self.get(name)?;
        match clone.find(commit.tree, path)? {
            Some(entry) if matches!(entry.kind, EntryKind::File | EntryKind::Executable) => {
                Ok(Some(clone.blob(entry.id)?.to_vec()))
            }
            _ => Ok(None),
        }
    }

    /// The names of the files in a folder, in byte order.
    pub fn list(&self, name: &str, path: &str) -> anyhow::Result<Vec<String>> {
        let (clone, commit) = self.get(name)?;
        let folder = clone
            .find(commit.tree, path)?
            .with_context(|| format!("resource `{name}` has no `{path}`"))?;
        let files = clone
            .tree(folder.id)?
            .into_iter()
            .filter(|e| e.kind == EntryKind::File);
        let mut names: Vec<_> = files.map(|entry| entry.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn get(&self, name: &str) -> anyhow::Result<&(BareClone, Commit)> {
        let resource = self
            .by_name
            .get(name)
            .with_context(|| format!("the recipe has no resource `{name}`"))?;
        resource.as_ref().map_err(|error| anyhow!("{error}"))
    }
}

fn open(resource: &Resource, clones: &Clones) -> anyhow::Result<(BareClone, Commit)> {
    let up_to_date = clones.get(&resource.git)?;
    let is_it = |missing: &&MissingRef| missing.requested == resource.reference;
    if let Some(missing) = up_to_date.fetched.missing.iter().find(is_it) {
        return Err(missing.clone().into());
    }
    let clone = BareClone::open(&up_to_date.folder)?;
    let reference = clone
        .extra_ref(&resource.reference)?
        .context("its ref was not fetched")?;
    let commit = clone.commit(&reference)?;
    Ok((clone, commit))
}
