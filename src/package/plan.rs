//! What each ref of a source would give: a plain list of outcomes, without building anything.
//!
//! Refs are taken in byte order of their names, as `git tag` lists them, and the first ref that yields a name and version
//! wins: upstream sometimes changes a module without changing its version, and the earliest content is the published
//! one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Limits;
use crate::composer::{Manifest, PackageName, Version};
use crate::git::ObjectId;
use crate::recipe::Source;

/// A ref of a source that is released, resolved to its commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedRef {
    /// The tag's short name, or the version that an extra ref stands for.
    pub tag: String,
    pub commit: ObjectId,
    pub tree: ObjectId,
    /// Committer time, seconds since 1970.
    pub time: i64,
    /// Versions that are pinned for this ref: of the packages built from it, and where they are required or suggested.
    pub pins: Arc<Pins>,
    /// For the head of a branch, the version of what has no pin and no version in its manifest.
    pub nightly: Option<String>,
}

/// Versions by package name.
pub type Pins = BTreeMap<String, String>;

/// A package version that is to be built.
#[derive(Debug, Clone)]
pub struct Build {
    pub name: PackageName,
    pub version: Version,
    pub release: ResolvedRef,
    /// The package's directory and its tree; `None` where the manifest is all there is.
    pub folder: Option<Folder>,
    pub manifest: ManifestSource,
    /// Prefixes of paths, from the root of the repository, that are left out.
    pub exclude: Vec<String>,
    pub empty_dirs: Vec<String>,
    /// Files that stand for those of the tree, or beside a derived manifest.
    pub files: BTreeMap<String, Arc<[u8]>>,
    /// Whether the bytes depend on the public base URL.
    pub bound: bool,
}

/// A directory of a repository.
#[derive(Debug, Clone)]
pub struct Folder {
    /// Without a slash at the end; empty for the root.
    pub path: String,
    pub tree: ObjectId,
}

/// Where a package's manifest comes from.
#[derive(Debug, Clone)]
pub enum ManifestSource {
    /// A blob of the source.
    Blob(ObjectId),
    /// A file of a resource.
    Resource(Arc<[u8]>),
    /// Derived, with everything applied.
    Derived(Arc<Manifest>),
}

/// How one (ref, package) ended or will end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    Published,
    AlreadyPublished,
    Excluded {
        #[serde(rename = "because")]
        reason: String,
    },
    Failed {
        #[serde(rename = "because")]
        reason: String,
    },
}

/// One line of a report: the package is named as well as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRow {
    pub source: String,
    #[serde(rename = "ref")]
    pub tag: String,
    /// `vendor/name version`, or the directory where the name is not known.
    pub package: String,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The plan of one source.
#[derive(Debug, Default)]
pub struct Plan {
    pub builds: Vec<Build>,
    pub lines: Vec<OutcomeRow>,
    /// What the recipe says about this source that matches nothing, in words.
    pub unused: Vec<String>,
}

/// Who published a name and version already.
pub enum VersionOwner {
    Nobody,
    ThisSource,
    /// A folder of finished archives, which goes before what would be built.
    PrebuiltArchives(String),
    OtherSource(String),
}

/// Reads the file of a resource at a path; `None` where there is none.
pub type ReadResource<'a> = dyn Fn(&str, &str) -> anyhow::Result<Option<Vec<u8>>> + 'a;

/// What a plan asks of the rest of the mirror.
pub struct PlanContext<'a> {
    /// Who published a name and version.
    pub claimed: &'a dyn Fn(&PackageName, &Version) -> VersionOwner,
    /// The contents of a resource's file at a path, if it exists.
    pub resource: &'a ReadResource<'a>,
    /// The public base URL.
    pub base_url: &'a str,
    pub limits: &'a Limits,
}

impl Build {
    /// What the recipe changes in this package, in words.
    pub fn changes(&self, source: &Source) -> Vec<String> {
        let (name, version) = (self.name.to_string(), self.version.as_str());
        let pinned = self
            .release
            .pins
            .contains_key(&name)
            .then(|| "version pinned".to_owned());
        let corrected = source.corrections.iter().filter(|c| c.applies(&name, version));
        let replaced = source
            .replacements
            .iter()
            .filter(|r| r.package == name && r.version == version);
        pinned
            .into_iter()
            .chain(corrected.map(|c| format!("corrected: {}", c.reason)))
            .chain(replaced.map(|r| format!("files replaced: {}", r.reason)))
            .collect()
    }
}

/// `dir/name`, or `name` at the root.
pub fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
    }
}
