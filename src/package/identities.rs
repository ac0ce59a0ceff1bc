//! Names and versions of manifests, each distinct one parsed once, and what metapackages require.

use std::collections::{HashMap, HashSet};

use super::build;
use super::limits;
use super::manifest::{Identity, identify, identify_manifest};
use super::plan::{Build, ExactVersion, ManifestSource};
use crate::composer::Manifest;
use crate::config::Limits;
use crate::git::{BareClone, ObjectId};
use crate::recipe::Source;

/// The manifests that planning has come across.
#[derive(Default)]
pub(super) struct Identities {
    known: HashMap<ObjectId, Identity>,
    /// Those of the type `metapackage`.
    metapackages: HashSet<ObjectId>,
}

impl Identities {
    pub(super) fn identify(
        &mut self,
        manifest: &ManifestSource,
        clone: &BareClone,
        limits: &Limits,
    ) -> Identity {
        let blob = match manifest {
            ManifestSource::Blob(blob) => *blob,
            ManifestSource::Resource(text) => return identify(text),
            ManifestSource::Derived(manifest) => return identify_manifest(manifest),
        };
        if let Some(known) = self.known.get(&blob) {
            return known.clone();
        }
        let text = limits::read_manifest(limits, clone, blob);
        let identity = match text.map(|text| Manifest::parse(&text)) {
            Ok(Ok(manifest)) => {
                if manifest.is_metapackage() {
                    self.metapackages.insert(blob);
                }
                identify_manifest(&manifest)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(format!("{error:#}")),
        };
        self.known.insert(blob, identity.clone());
        identity
    }

    /// Adds what a metapackage or a derived package requires to its build.
    pub(super) fn add_requirements(
        &self,
        build: &mut Build,
        source: &Source,
        clone: &BareClone,
        limits: &Limits,
    ) {
        let may_be_metapackage = match &build.manifest {
            ManifestSource::Blob(blob) => self.metapackages.contains(blob),
            ManifestSource::Resource(_) | ManifestSource::Derived(_) => true,
        };
        if build.folder.is_none() || may_be_metapackage {
            // If the manifest is invalid, building the package says so.
            let manifest = build::manifest(build, source, clone, limits).ok();
            build.is_metapackage = manifest.as_ref().is_some_and(Manifest::is_metapackage);
            let manifest = manifest.filter(|_| build.folder.is_none() || build.is_metapackage);
            build.requires = manifest.as_ref().map(ExactVersion::all_of).unwrap_or_default();
        }
    }
}
