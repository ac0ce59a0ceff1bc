//! The resources of a recipe: git repositories with historical manifests, replacement files and finished archives.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow};

use super::Job;
use crate::source::{BareClone, Commit, EntryKind, Ref, Wanted};

/// The resources as they stand now, each at its ref.
pub(super) struct Resources {
    by_name: BTreeMap<String, Result<(BareClone, Commit), String>>,
}

impl Resources {
    /// Fetches all resources of the recipe. One that cannot be had fails what needs it, and nothing else.
    pub fn fetch(job: &Job<'_>) -> Self {
        let fetched = job.recipe.resources.keys().map(|name| {
            let resource = fetch(job, name).with_context(|| format!("resource `{name}`"));
            (name.clone(), resource.map_err(|error| format!("{error:#}")))
        });
        Self {
            by_name: fetched.collect(),
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

fn fetch(job: &Job<'_>, name: &str) -> anyhow::Result<(BareClone, Commit)> {
    let resource = &job.recipe.resources[name];
    let folder = job.clones.join("resources").join(format!("{name}.git"));
    let select = |_: &[Ref]| Wanted {
        refs: Vec::new(),
        extra: vec![resource.reference.clone()],
    };
    let fetched = job.fetcher.fetch(
        &folder,
        &(job.rewrite)(&resource.git),
        &select,
        job.cancel,
        &|_| {},
    )?;
    if let Some(missing) = fetched.missing.into_iter().next() {
        return Err(missing.into());
    }
    let clone = BareClone::open(&folder)?;
    let reference = clone
        .extra(&resource.reference)?
        .context("its ref was not fetched")?;
    let commit = clone.commit(&reference)?;
    Ok((clone, commit))
}
