//! The types of a recipe document, and what can be asked of them.
//!
//! Every key has a default for serde, see [`crate::yaml::FromYaml`]; `!default` keeps it required in the schema.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU32, NonZeroUsize};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::completeness::IncompleteVersions;
use super::composer_source::ComposerSource;
use super::note::Note;
use super::product::Product;
use super::range::AffectedVersions;
use super::rule::{PackageRule, ResourceFile};
use super::tags::Tags;
use crate::util::digest::Sha256;

/// A recipe: how git repositories become packages.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Document {
    /// Name of a built-in recipe that this one adds to.
    pub(super) extends: Option<String>,
    /// Additions to sources of the extended recipe, by name of the source.
    pub(super) amend: BTreeMap<String, Amendment>,
    /// Git repositories with files that rules refer to, by name.
    pub(super) resources: BTreeMap<String, Resource>,
    /// Folders of prebuilt archives, which are published unchanged.
    pub(super) archives: Vec<ArchiveFolder>,
    /// Sources, in the order in which they are built.
    pub(super) sources: Vec<Source>,
    /// Composer repositories whose archives are published as they are.
    pub(super) composer: Vec<ComposerSource>,
    /// Metapackages under another vendor's names, for packages that require these names.
    pub(super) aliases: Option<Aliases>,
    /// How many nightly versions stay in the metadata. Default: all.
    pub(super) retention: Option<Retention>,
    /// Products, which the pages show first, each release with a page of its own.
    pub(super) products: Vec<Product>,
    /// Beginnings of git URLs that the pages may show and link to, such as `https://github.com/acme/`.
    pub(super) public_urls: Vec<String>,
    /// Notes on the pages about versions that need a workaround.
    pub(super) notes: Vec<Note>,
    /// Packages that clients get from other repositories, by name or as `vendor/*`: no metapackage waits for them.
    pub(super) external_packages: Vec<String>,
    /// Versions of metapackages to publish although nobody provides all that they require.
    pub(super) publish_incomplete: Vec<IncompleteVersions>,
}

/// Additions to a source of the extended recipe.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Amendment {
    /// URL of the git repository instead of the original one.
    pub(super) git: Option<String>,
    /// Tags to leave out, by full name.
    pub(super) exclude_tags: Vec<String>,
    /// Commits that upstream forgot to tag; they are released like tags.
    pub(super) extra_refs: Vec<ExtraRef>,
    /// More folders with test data.
    pub(super) fixtures: Vec<String>,
    /// More rules for packages.
    pub(super) packages: Vec<PackageRule>,
    /// Versions to pin, by tag and package.
    pub(super) versions: BTreeMap<String, BTreeMap<String, String>>,
    /// More corrections of manifests.
    pub(super) corrections: Vec<Correction>,
    /// More replacements of files.
    pub(super) replacements: Vec<Replacement>,
}

/// A whole recipe, laid over the one that it extends.
#[derive(Debug, Clone, Default)]
pub struct Recipe {
    /// Git repositories with files that rules refer to, by name.
    pub resources: BTreeMap<String, Resource>,
    /// Folders of prebuilt archives, which are published unchanged.
    pub archives: Vec<ArchiveFolder>,
    /// Sources, in the order in which they are built.
    pub sources: Vec<Source>,
    /// Composer repositories whose archives are published as they are.
    pub composer: Vec<ComposerSource>,
    /// Metapackages under another vendor's names, for packages that require these names.
    pub aliases: Option<Aliases>,
    /// How many nightly versions stay in the metadata.
    pub retention: Option<Retention>,
    /// What the pages show first.
    pub products: Vec<Product>,
    /// Beginnings of git URLs that the pages may show and link to.
    pub public_urls: Vec<String>,
    /// Notes on the pages about versions that need a workaround.
    pub notes: Vec<Note>,
    /// Packages that clients get from other repositories, by name or as `vendor/*`.
    pub external_packages: Vec<String>,
    /// Versions of metapackages to publish although nobody provides all that they require.
    pub publish_incomplete: Vec<IncompleteVersions>,
}

/// Which nightly versions stay in the metadata. With both limits, a version has to meet both.
#[derive(Debug, Clone, Default, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Number of newest versions to keep for each package.
    pub versions: Option<NonZeroUsize>,
    /// Maximum age in days.
    pub days: Option<NonZeroU32>,
}

/// Metapackages that require the package which replaces their name and version.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Aliases {
    /// Vendor of the required packages.
    pub of: String,
    /// Vendor of the replaced names.
    pub names: String,
    /// Description of an alias; `{package}` and `{alias}` are replaced.
    pub description: String,
}

/// A git repository with files that rules refer to.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Resource {
    /// URL of the git repository; `git.rewrite` of the configuration applies to it.
    pub git: String,
    /// Branch, tag or commit id.
    #[serde(rename = "ref", default = "main_branch")]
    pub reference: String,
}

fn main_branch() -> String {
    "main".into()
}

/// A folder of prebuilt archives in a resource.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct ArchiveFolder {
    /// Name in `only`, in reports and in the ledger.
    pub name: String,
    /// Name of the resource.
    pub resource: String,
    /// Path in the resource.
    pub path: String,
}

/// One git repository and the packages in it.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Source {
    /// Name in `only`, in reports and in the ledger.
    pub name: String,
    /// URL of the git repository; `git.rewrite` of the configuration applies to it.
    pub git: String,
    /// Renames the vendor of the packages, such as `{magento: mage-os}`.
    #[serde(default)]
    pub rename_vendor: BTreeMap<String, String>,
    /// Sources and folders of archives that have published some of its packages first, or may publish more of them. Without it, a
    /// package belongs to the source that published it first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub takes_over: Vec<String>,
    /// Which tags are released.
    #[serde(default)]
    pub tags: Tags,
    /// Commits that upstream forgot to tag; they are released like tags.
    #[serde(default)]
    pub extra_refs: Vec<ExtraRef>,
    /// Branch whose head is released instead of tags, as dated alpha versions after the newest tag.
    #[serde(default)]
    pub nightly: Option<String>,
    /// Rules that turn a tree into packages, applied in this order.
    pub packages: Vec<PackageRule>,
    /// Folders with test data, by name or path at any depth: a composer.json in them is no package.
    #[serde(default)]
    pub fixtures: Vec<String>,
    /// Versions to pin, by tag and package: of packages built from the tag, and where they are required or suggested.
    #[serde(default)]
    pub versions: BTreeMap<String, BTreeMap<String, String>>,
    /// Changes of manifests, where upstream's release differs from its tag.
    #[serde(default)]
    pub corrections: Vec<Correction>,
    /// Changes of files, where upstream's release differs from its tag.
    #[serde(default)]
    pub replacements: Vec<Replacement>,
}

/// A commit or branch that is released like a tag.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct ExtraRef {
    /// Commit id, or full name of a ref such as `refs/heads/1.2-develop`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Name of the missing tag.
    pub version: String,
    /// Why it is needed.
    pub reason: String,
}

/// A change of the manifest in some versions of a package.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Correction {
    #[serde(flatten)]
    pub affects: AffectedVersions,
    /// Why upstream's release differs from its tag.
    pub reason: String,
    /// Values to set. Maps are merged entry by entry, as in `require: {php: ~7.4.0}`.
    #[serde(default)]
    pub set: Map<String, Value>,
    /// Entries to remove from maps of the manifest, such as `require-dev: [a/b]`.
    #[serde(default)]
    pub remove: BTreeMap<String, Vec<String>>,
    /// Maps to sort by name.
    #[serde(default)]
    pub sort: Vec<String>,
}

/// Files of one package version that are taken from a resource.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Replacement {
    /// Name of the package.
    pub package: String,
    /// Version of the package.
    pub version: String,
    /// Why upstream's release differs from its tag.
    pub reason: String,
    /// Files, by path in the package.
    pub files: BTreeMap<String, ResourceFile>,
}

impl Recipe {
    /// The URLs of all git repositories, before `git.rewrite`.
    pub fn git_urls(&self) -> impl Iterator<Item = &str> {
        let resources = self.resources.values().map(|resource| resource.git.as_str());
        self.sources.iter().map(|source| source.git.as_str()).chain(resources)
    }

    /// The URLs of all git and Composer repositories, before `git.rewrite`.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.git_urls().chain(self.composer.iter().map(|source| source.url.as_str()))
    }

    /// Keeps only these sources and archive folders, and the resources that they refer to.
    pub fn retain_sources(&mut self, only: &[String]) {
        self.sources.retain(|source| only.contains(&source.name));
        self.archives.retain(|folder| only.contains(&folder.name));
        self.composer.retain(|source| only.contains(&source.name));
        let of_sources = self.sources.iter().flat_map(Source::resources);
        let used: BTreeSet<_> =
            of_sources.chain(self.archives.iter().map(|folder| folder.resource.as_str())).collect();
        self.resources.retain(|name, _| used.contains(name.as_str()));
    }

    /// Whether two sources or archive folders may publish the same packages: one takes over from the other, or both read one
    /// git repository.
    pub fn may_share(&self, one: &str, other: &str) -> bool {
        let git =
            |name: &str| self.sources.iter().find(|source| source.name == name).map(|source| &source.git);
        let takes_over = |name: &str, from: &str| {
            let sources = self.sources.iter().filter(|source| source.name == name);
            let mut allowed = sources.flat_map(|source| &source.takes_over);
            let composer = self.composer.iter().filter(|source| source.name == name);
            allowed.any(|allowed| allowed == from)
                || composer.into_iter().any(|source| source.takes_over(from))
        };
        one == other
            || takes_over(one, other)
            || takes_over(other, one)
            || git(one).is_some_and(|url| git(other) == Some(url))
    }

    /// The names of all sources and archive folders.
    pub fn source_names(&self) -> impl Iterator<Item = &str> {
        let archives = self.archives.iter().map(|folder| folder.name.as_str());
        let sources = self.sources.iter().map(|source| source.name.as_str());
        archives.chain(sources).chain(self.composer.iter().map(|source| source.name.as_str()))
    }

    /// The Composer repositories that are asked for releases of a source while its tags wait.
    pub fn stand_ins<'r>(&'r self, source: &'r str) -> impl Iterator<Item = &'r ComposerSource> {
        self.composer.iter().filter(move |composer| composer.stands_in_for.as_deref() == Some(source))
    }
}

impl Source {
    /// The names of the resources that its rules refer to.
    pub fn resources(&self) -> impl Iterator<Item = &str> {
        let replaced = self.replacements.iter().flat_map(|replacement| replacement.files.values());
        let files = self.packages.iter().flat_map(PackageRule::files).chain(replaced);
        files.map(|file| file.resource.as_str())
    }

    /// A digest of the rules and of the resources they refer to; a cycle plans again when it changes.
    pub fn fingerprint(&self, depends: &[String]) -> Sha256 {
        Sha256::digest(&serde_json::to_vec(&(self, depends)).unwrap_or_default())
    }

    /// Whether a file is test data.
    pub fn is_fixture(&self, path: &str) -> bool {
        let path = format!("/{path}");
        self.fixtures.iter().any(|folder| path.contains(&format!("/{}/", folder.trim_matches('/'))))
    }

    /// A package's name with its vendor renamed.
    pub fn rename_package(&self, name: &str) -> String {
        match name.split_once('/') {
            Some((vendor, rest)) => {
                format!("{}/{rest}", self.rename_vendor.get(vendor).map_or(vendor, String::as_str))
            }
            None => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_resources_are_removed_with_their_sources() {
        let resource = "{ git: 'https://git.example/r.git' }";
        let names = ["folder", "manifest", "part", "beside", "replaced", "other"];
        let resources = names.map(|name| format!("  {name}: {resource}\n")).concat();
        let text = format!(
            "resources:
{resources}archives: [{{ name: old, resource: folder, path: x }}]
sources:
  - name: a
    git: https://git.example/a.git
    packages:
      - {{ one: '', manifest: [{{ resource: manifest, path: x }}] }}
      - derive:
          package: a/b
          part: [{{ resource: part, path: x }}]
          require: [root]
          files: [{{ path: x, tags: ['1.0'], from: {{ resource: beside, path: x }} }}]
    replacements:
      - {{ package: a/c, version: '1.0', reason: r, files: {{ x: {{ resource: replaced, path: x }} }} }}
  - name: b
    git: https://git.example/b.git
    packages: [{{ one: '', manifest: [{{ resource: other, path: x }}] }}]
"
        );
        let left = |only: &[&str]| {
            let mut recipe = Recipe::parse("r.yaml", &text).unwrap();
            recipe.retain_sources(&only.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
            recipe.resources.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(left(&["old"]), ["folder"]);
        assert_eq!(left(&["a"]), ["beside", "manifest", "part", "replaced"]);
        assert_eq!(left(&["b"]), ["other"]);
    }

    #[test]
    fn correction_applies_to_its_versions_and_range() {
        let correction: Correction = serde_json::from_str(
            r#"{"package": "a/b", "versions": ["1.0"], "range": {"line": "2.4.7", "from": "2.4.7-p6"}, "reason": "-"}"#,
        )
        .unwrap();
        for (version, applies) in [
            ("1.0", true),
            ("1.0.0", false),
            ("2.4.7", false),
            ("2.4.7-p5", false),
            ("2.4.7-p10", true),
            ("2.4.8-p6", false),
        ] {
            assert_eq!(correction.affects.include("a/b", version), applies, "{version}");
        }
        assert!(!correction.affects.include("a/c", "1.0"));
    }
}
