//! The types of a recipe document, and what can be asked of them.
//!
//! Every key has a default for serde, see [`crate::yaml::FromYaml`]; `!default` keeps it required in the schema.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU32, NonZeroUsize};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::note::Note;
use super::range::{Range, covers};
use super::rule::{PackageRule, ResourceFile};
use super::tags::Tags;
use crate::util::digest::Sha256;

/// A recipe: how git repositories become packages.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The name of a built-in recipe to which this one adds.
    #[serde(default)]
    pub(super) extends: Option<String>,
    /// Additions to sources of the recipe that is extended, by their names.
    #[serde(default)]
    pub(super) amend: BTreeMap<String, Amendment>,
    /// Git repositories with files that rules refer to, by name.
    #[serde(default)]
    pub(super) resources: BTreeMap<String, Resource>,
    /// Folders of finished archives, which are published as they are.
    #[serde(default)]
    pub(super) archives: Vec<ArchiveFolder>,
    /// The sources, in the order in which they are built.
    #[serde(default)]
    pub(super) sources: Vec<Source>,
    /// Metapackages under another vendor's names, for extensions that require those.
    #[serde(default)]
    pub(super) aliases: Option<Aliases>,
    /// How many nightly versions stay in the metadata; all of them when left out.
    #[serde(default)]
    pub(super) retention: Option<Retention>,
    /// What the pages say about versions that need a work-around.
    #[serde(default)]
    pub(super) notes: Vec<Note>,
}

/// What is added to a source of the recipe that is extended.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Amendment {
    /// Another URL of the git repository.
    #[serde(default)]
    pub(super) git: Option<String>,
    /// Tags that are left out, spelled whole.
    #[serde(default)]
    pub(super) exclude_tags: Vec<String>,
    /// Commits that upstream forgot to tag, released as if they were tagged.
    #[serde(default)]
    pub(super) extra_refs: Vec<ExtraRef>,
    /// More packages in its trees.
    #[serde(default)]
    pub(super) packages: Vec<PackageRule>,
    /// Versions that are pinned for a tag.
    #[serde(default)]
    pub(super) versions: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) corrections: Vec<Correction>,
    #[serde(default)]
    pub(super) replacements: Vec<Replacement>,
}

/// A whole recipe, with what it extends.
#[derive(Debug, Clone, Default)]
pub struct Recipe {
    /// Git repositories with files that rules refer to, by name.
    pub resources: BTreeMap<String, Resource>,
    /// Folders of finished archives, which are published as they are.
    pub archives: Vec<ArchiveFolder>,
    /// The sources, in the order in which they are built.
    pub sources: Vec<Source>,
    /// Metapackages under another vendor's names, for extensions that require those.
    pub aliases: Option<Aliases>,
    /// How many nightly versions stay in the metadata.
    pub retention: Option<Retention>,
    /// What the pages say about versions that need a work-around.
    pub notes: Vec<Note>,
}

/// Which nightly versions stay in the metadata; with both limits, those that neither excludes.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The newest ones of each package, by number.
    #[serde(default)]
    pub versions: Option<NonZeroUsize>,
    /// Those that were published in the last days.
    #[serde(default)]
    pub days: Option<NonZeroU32>,
}

/// Metapackages that require what stands for their name and version (`replace`).
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Aliases {
    /// The vendor of the packages that are required.
    pub of: String,
    /// The vendor of the names that they replace.
    pub names: String,
    /// The description of an alias; `{package}` and `{alias}` are filled in.
    pub description: String,
}

/// A git repository with files that rules refer to.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Resource {
    /// The URL of the git repository; `git.rewrite` of the configuration applies to it.
    pub git: String,
    /// A branch, a tag or the id of a commit.
    #[serde(rename = "ref", default = "main_branch")]
    pub reference: String,
}

fn main_branch() -> String {
    "main".into()
}

/// A folder of finished archives in a resource.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct ArchiveFolder {
    /// The name by which `only`, reports and the ledger know it.
    pub name: String,
    /// The resource that has it.
    pub resource: String,
    /// Its path in the resource.
    pub path: String,
}

/// One git repository and the packages in it.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Source {
    /// The name by which `only`, reports and the ledger know this source.
    pub name: String,
    /// The URL of the git repository; `git.rewrite` of the configuration applies to it.
    pub git: String,
    /// Another vendor for the packages' names: `{magento: mage-os}`.
    #[serde(default)]
    pub rename_vendor: BTreeMap<String, String>,
    /// Which tags are released.
    #[serde(default)]
    pub tags: Tags,
    /// Commits that upstream forgot to tag, released as if they were tagged.
    #[serde(default)]
    pub extra_refs: Vec<ExtraRef>,
    /// A branch whose head is released, instead of tags, as dated alpha versions that follow the newest tag.
    #[serde(default)]
    pub nightly: Option<String>,
    /// How a tree becomes packages; the rules are applied in this order.
    pub packages: Vec<PackageRule>,
    /// Versions that are pinned for a tag: of the packages built from it, and where they are required or suggested.
    #[serde(default)]
    pub versions: BTreeMap<String, BTreeMap<String, String>>,
    /// What upstream changed in a manifest between the tag and its own release.
    #[serde(default)]
    pub corrections: Vec<Correction>,
    /// Files that upstream changed between the tag and its own release.
    #[serde(default)]
    pub replacements: Vec<Replacement>,
}

/// A commit or branch that is released as if it bore a tag.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct ExtraRef {
    /// The commit's id, or the full name of a ref such as `refs/heads/1.2-develop`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The tag that it stands for.
    pub version: String,
    /// Why it is needed.
    pub reason: String,
}

/// A change of the manifest of one package in some of its versions.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Correction {
    /// The package's name.
    pub package: String,
    /// The versions to which it applies, spelled as in the manifest.
    #[serde(default)]
    pub versions: Vec<String>,
    /// Or a range of versions in Magento's order.
    #[serde(default)]
    pub range: Option<Range>,
    /// Why upstream's release differs from its tag.
    pub reason: String,
    /// Values to set; the entries of a map are set one by one, as in `require: {php: ~7.4.0}`.
    #[serde(default)]
    pub set: Map<String, Value>,
    /// Entries to remove from the manifest's maps, such as `require-dev: [a/b]`.
    #[serde(default)]
    pub remove: BTreeMap<String, Vec<String>>,
    /// Maps whose entries are sorted by name.
    #[serde(default)]
    pub sort: Vec<String>,
}

/// Files of one package version that come from a resource.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Replacement {
    pub package: String,
    pub version: String,
    /// Why upstream's release differs from its tag.
    pub reason: String,
    /// The files, by their path in the package.
    pub files: BTreeMap<String, ResourceFile>,
}

impl Recipe {
    /// The URLs of the git repositories that it names, as it names them.
    pub fn git_urls(&self) -> impl Iterator<Item = &str> {
        let resources = self.resources.values().map(|resource| resource.git.as_str());
        self.sources
            .iter()
            .map(|source| source.git.as_str())
            .chain(resources)
    }

    /// Leaves these sources and archive folders, and the resources that they refer to.
    pub fn retain_sources(&mut self, only: &[String]) {
        self.sources.retain(|source| only.contains(&source.name));
        self.archives.retain(|folder| only.contains(&folder.name));
        let of_sources = self.sources.iter().flat_map(Source::resources);
        let used: BTreeSet<_> = of_sources
            .chain(self.archives.iter().map(|folder| folder.resource.as_str()))
            .collect();
        self.resources.retain(|name, _| used.contains(name.as_str()));
    }

    /// The names of all sources and archive folders.
    pub fn source_names(&self) -> impl Iterator<Item = &str> {
        self.archives
            .iter()
            .map(|a| a.name.as_str())
            .chain(self.sources.iter().map(|s| s.name.as_str()))
    }
}

impl Source {
    /// The names of the resources that its rules refer to.
    pub fn resources(&self) -> impl Iterator<Item = &str> {
        let replaced = self
            .replacements
            .iter()
            .flat_map(|replacement| replacement.files.values());
        let files = self.packages.iter().flat_map(PackageRule::files).chain(replaced);
        files.map(|file| file.resource.as_str())
    }

    /// A digest of the rules, and of what they refer to: a cycle plans anew when it changes.
    pub fn fingerprint(&self, depends: &[String]) -> Sha256 {
        Sha256::digest(&serde_json::to_vec(&(self, depends)).unwrap_or_default())
    }
}

impl Source {
    /// A package's name, with its vendor renamed.
    pub fn rename_package(&self, name: &str) -> String {
        match name.split_once('/') {
            Some((vendor, rest)) => {
                format!(
                    "{}/{rest}",
                    self.rename_vendor.get(vendor).map_or(vendor, String::as_str)
                )
            }
            None => name.to_owned(),
        }
    }
}

impl Correction {
    /// Whether it applies to a version of a package.
    pub fn applies(&self, package: &str, version: &str) -> bool {
        self.package == package && covers(&self.versions, self.range.as_ref(), version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_that_nothing_refers_to_are_left_out_with_the_sources() {
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
    fn a_correction_applies_to_its_versions_and_its_range() {
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
            assert_eq!(correction.applies("a/b", version), applies, "{version}");
        }
        assert!(!correction.applies("a/c", "1.0"));
    }
}
