//! The ways in which a tree becomes packages.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::tag_version::TagVersion;

/// One way in which a tree becomes packages: exactly one of `each`, `one`, `metapackage` and `derive`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackageRule {
    /// A directory of which each folder with a manifest is a package; empty for the root.
    #[serde(default)]
    pub each: Option<String>,
    /// A directory that is one package; empty for the root.
    #[serde(default)]
    pub one: Option<String>,
    /// A directory whose manifest alone is a package.
    #[serde(default)]
    pub metapackage: Option<String>,
    /// A package that is made from the manifest at the root.
    #[serde(default)]
    pub derive: Option<Derive>,
    /// The first tag to which this rule applies, in Magento's order.
    #[serde(default)]
    pub from: Option<String>,
    /// Prefixes of paths, from the root of the repository, that are left out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Prefixes that are left out of all tags but some.
    #[serde(default)]
    pub exclude_except: Vec<ExcludeExcept>,
    /// Empty folders to add, by their path in the package.
    #[serde(default)]
    pub empty_dirs: Vec<String>,
    /// The tag is the version of a package whose manifest has none.
    #[serde(default)]
    pub tag_is_version: bool,
    /// Where the manifest comes from instead of the tree; the first file that exists counts.
    #[serde(default)]
    pub manifest: Vec<ResourceFile>,
}

/// A prefix that is left out of all tags but some.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct ExcludeExcept {
    pub prefix: String,
    /// The tags whose packages have it.
    pub tags: Vec<String>,
}

/// A file in a resource.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct ResourceFile {
    /// The name of the resource.
    pub resource: String,
    /// The path in it; `{tag}` stands for the tag.
    pub path: String,
    /// A manifest that has this key is taken as it is, not as a part.
    #[serde(default)]
    pub whole_with: Option<String>,
}

/// A package that is made from the manifest at the root of the repository and a part from a resource.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Derive {
    /// The package's name.
    pub package: String,
    /// Keys of the root manifest that are dropped first.
    #[serde(default)]
    pub without: Vec<String>,
    /// The part that is laid over the root manifest; the first file that exists counts.
    pub part: Vec<ResourceFile>,
    /// Keys to set; `{tag}`, `{base_url}` and `{stability}` in texts are filled in.
    #[serde(default)]
    pub set: Map<String, Value>,
    /// What `require` is made of, later entries over earlier ones.
    pub require: Vec<RequireFrom>,
    /// Keys that are dropped last.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Another vendor for the names in links and plugins: `{magento: mage-os}`.
    #[serde(default)]
    pub rename_links: BTreeMap<String, String>,
    /// Packages that are released together, at the version of the tag.
    #[serde(default)]
    pub together: Option<Together>,
    /// Files beside the manifest, for some tags.
    #[serde(default)]
    pub files: Vec<DerivedFile>,
}

/// The packages of a vendor that are released together.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Together {
    pub vendor: String,
    /// Those that have versions of their own.
    #[serde(default)]
    pub except: Vec<String>,
}

/// A part of a derived package's `require`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum RequireFrom {
    /// What the root manifest requires.
    Root,
    /// What the root manifest replaces of these vendors.
    Replaced(Vec<String>),
    /// What the part requires.
    Part,
    /// These packages; `{tag}` stands for the tag.
    Packages(Map<String, Value>),
}

/// A file beside a derived manifest.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct DerivedFile {
    /// Its path in the package.
    pub path: String,
    /// The tags whose packages have it.
    pub tags: Vec<String>,
    pub from: ResourceFile,
}

/// A rule's kind; directories have no slash at the end and are empty for the root of the repository.
#[derive(Debug, Clone, Copy)]
pub enum RuleKind<'a> {
    Each(&'a str),
    One(&'a str),
    Metapackage(&'a str),
    Derive(&'a Derive),
}

impl PackageRule {
    /// The kind of this rule; `None` unless exactly one is named.
    pub fn kind(&self) -> Option<RuleKind<'_>> {
        match (&self.each, &self.one, &self.metapackage, &self.derive) {
            (Some(dir), None, None, None) => Some(RuleKind::Each(dir)),
            (None, Some(dir), None, None) => Some(RuleKind::One(dir)),
            (None, None, Some(dir), None) => Some(RuleKind::Metapackage(dir)),
            (None, None, None, Some(derive)) => Some(RuleKind::Derive(derive)),
            _ => None,
        }
    }

    /// The files of resources that it refers to.
    pub fn files(&self) -> impl Iterator<Item = &ResourceFile> {
        let derived = self.derive.iter().flat_map(|derive| {
            let beside = derive.files.iter().map(|file| &file.from);
            derive.part.iter().chain(beside)
        });
        self.manifest.iter().chain(derived)
    }

    /// Whether the rule applies to a tag.
    pub fn applies_to(&self, tag: &str) -> bool {
        self.from
            .as_deref()
            .and_then(TagVersion::parse)
            .is_none_or(|from| TagVersion::parse(tag).is_some_and(|t| t >= from))
    }

    /// The prefixes that are left out of a tag's packages.
    pub fn excluded_prefixes(&self, tag: &str) -> Vec<String> {
        let except = self
            .exclude_except
            .iter()
            .filter(|e| !e.tags.iter().any(|t| t == tag))
            .map(|e| &e.prefix);
        self.exclude.iter().chain(except).cloned().collect()
    }
}

impl ResourceFile {
    /// The path for a tag.
    pub fn path_for(&self, tag: &str) -> String {
        self.path.replace("{tag}", tag)
    }
}
