//! Recipes: how git repositories become packages, as data.
//!
//! A recipe is a YAML document with a list of [`Source`]s in the order in which they are built. What one upstream
//! got wrong stands there as a pinned version or a [`Correction`] with its reason, never in code. The built-in
//! recipes live beside this file; an operator's own recipe has the same language and the same checks.
//! [`rule`] has the ways in which a tree becomes packages, [`tag`] says which tags a source releases. Applying a
//! recipe to trees is `package`'s work.

mod extend;
mod note;
pub mod rule;
pub mod tag_version;
mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU32, NonZeroUsize};

use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use extend::Document;
pub use note::Note;
pub use rule::{Derive, PackageRule, ResourceFile, RuleKind};

use crate::util::digest::Sha256;
use crate::yaml::Diagnostics;

/// The recipes that are part of the binary, by name.
const BUILT_IN: &[(&str, &str)] = &[
    ("magento", include_str!("magento.yaml")),
    ("mage-os", include_str!("mage-os.yaml")),
];

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
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Aliases {
    /// The vendor of the packages that are required.
    pub of: String,
    /// The vendor of the names that they replace.
    pub names: String,
    /// The description of an alias; `{package}` and `{alias}` are filled in.
    pub description: String,
}

/// A git repository with files that rules refer to.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
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
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveFolder {
    /// The name by which `only`, reports and the ledger know it.
    pub name: String,
    /// The resource that has it.
    pub resource: String,
    /// Its path in the resource.
    pub path: String,
}

/// One git repository and the packages in it.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
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

/// Which tags of a source are released.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tags {
    /// The first version, in Magento's order; every tag that is a version when left out.
    #[serde(default)]
    pub from: Option<String>,
    /// Tags that are left out, spelled whole.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// A commit or branch that is released as if it bore a tag.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
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
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
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

/// The versions from one on, perhaps of one release line: `{line: 2.4.7, from: 2.4.7-p6}` is 2.4.7-p6, 2.4.7-p7, …
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The version without its suffix.
    #[serde(default)]
    pub line: Option<String>,
    /// The first version that it applies to.
    pub from: String,
}

/// Files of one package version that come from a resource.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    pub package: String,
    pub version: String,
    /// Why upstream's release differs from its tag.
    pub reason: String,
    /// The files, by their path in the package.
    pub files: BTreeMap<String, ResourceFile>,
}

impl Recipe {
    /// The names of the built-in recipes.
    pub fn built_in_names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// Loads a built-in recipe; `None` if there is none of that name.
    ///
    /// # Errors
    /// The problems of the recipe's text.
    pub fn built_in(name: &str) -> Option<Result<Self, Diagnostics>> {
        let (name, text) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
        Some(Self::parse(&format!("recipe {name}"), text))
    }

    /// Parses and checks the text of a recipe; `file` is only named in problems.
    ///
    /// # Errors
    /// All problems of the text, each with line and column.
    pub fn parse(file: &str, text: &str) -> Result<Self, Diagnostics> {
        Document::read(file, text)
    }

    /// The JSON Schema of a recipe document, in draft 2020-12.
    pub fn json_schema() -> Value {
        let mut schema = SchemaGenerator::default().into_root_schema_for::<Document>();
        schema.insert("title".into(), "recipe.yaml".into());
        schema.into()
    }

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

/// Whether a version is one of these, or in the range.
fn covers(versions: &[String], range: Option<&Range>, version: &str) -> bool {
    let in_range = |range: &Range| {
        let of_line = |line: &String| version == line || version.starts_with(&format!("{line}-"));
        let line = range.line.as_ref().is_none_or(of_line);
        let from = tag_version::TagVersion::parse(&range.from);
        line && from.is_some_and(|from| tag_version::TagVersion::parse(version).is_some_and(|v| v >= from))
    };
    versions.iter().any(|v| v == version) || range.is_some_and(in_range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_recipes_are_valid_and_known_to_the_configuration() {
        for name in Recipe::built_in_names() {
            Recipe::built_in(name).unwrap().unwrap();
        }
        assert!(Recipe::built_in_names().eq(crate::config::BUILT_IN_RECIPES));
    }

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
