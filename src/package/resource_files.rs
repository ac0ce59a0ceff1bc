//! Files that a package takes from a resource instead of its own source.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::bail;

use super::missing_files::MissingFile;
use super::plan::PlanContext;
use crate::composer::{PackageName, Version};
use crate::recipe::{Replacement, ResourceFile, Source};

impl PlanContext<'_> {
    /// The first of these files that exists in its resource.
    pub(super) fn first_existing<'f>(
        &self,
        files: &'f [ResourceFile],
        tag: &str,
    ) -> anyhow::Result<(&'f ResourceFile, Vec<u8>)> {
        for file in files {
            if let Some(contents) = (self.resource)(&file.resource, &file.path_for(tag))? {
                return Ok((file, contents));
            }
        }
        let tried: Vec<_> =
            files.iter().map(|f| format!("`{}` in resource `{}`", f.path_for(tag), f.resource)).collect();
        bail!(MissingFile(tried.join(" or ")))
    }

    /// The files that the recipe replaces in a version, by their paths in the package.
    pub(super) fn replacement_files(
        &self,
        source: &Source,
        tag: &str,
        name: &PackageName,
        version: &Version,
    ) -> anyhow::Result<BTreeMap<String, Arc<[u8]>>> {
        let mut files = BTreeMap::new();
        let applies = |r: &&Replacement| r.package == name.to_string() && r.version == version.to_string();
        for replacement in source.replacements.iter().filter(applies) {
            for (path, file) in &replacement.files {
                let (_, contents) = self.first_existing(std::slice::from_ref(file), tag)?;
                files.insert(path.clone(), contents.into());
            }
        }
        Ok(files)
    }
}
