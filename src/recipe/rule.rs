//! The ways in which a tree becomes packages.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::tag_version::TagVersion;

/// One way in which a tree becomes packages: exactly one of `each`, `one`, `metapackage` and `derive`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PackageRule {
    /// Directory in which each folder with a manifest is a package; empty for the root.
    pub each: Option<String>,
    /// Directory that is one package; empty for the root.
    pub one: Option<String>,
    /// Directory whose manifest is a metapackage.
    pub metapackage: Option<String>,
    /// Package made from the manifest at the root.
    pub derive: Option<Derive>,
    /// First tag that the rule applies to, in Magento's order.
    pub from: Option<String>,
    /// Path prefixes to leave out, from the root of the repository.
    pub exclude: Vec<String>,
    /// Path prefixes to leave out, except for some tags.
    pub exclude_except: Vec<ExcludeExcept>,
    /// Empty folders to add, by path in the package.
    pub empty_dirs: Vec<String>,
    /// Use the tag as version of packages whose manifest has none.
    pub tag_is_version: bool,
    /// Where to take the manifest from instead of the tree; the first existing file counts.
    pub manifest: Vec<ResourceFile>,
}

/// A path prefix to leave out, except for some tags.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct ExcludeExcept {
    /// Path prefix, from the root of the repository.
    pub prefix: String,
    /// Tags whose packages include it.
    pub tags: Vec<String>,
}

/// A file in a resource.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct ResourceFile {
    /// Name of the resource.
    pub resource: String,
    /// Path in the resource; `{tag}` is replaced by the tag.
    pub path: String,
    /// A manifest with this key is used whole instead of as a part.
    #[serde(default)]
    pub whole_with: Option<String>,
}

/// A package made from the manifest at the root of the repository and a part from a resource.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Derive {
    /// Name of the package.
    pub package: String,
    /// Keys of the root manifest to remove first.
    #[serde(default)]
    pub without: Vec<String>,
    /// Part to merge over the root manifest; the first existing file counts.
    pub part: Vec<ResourceFile>,
    /// Keys to set; `{tag}`, `{base_url}` and `{stability}` in strings are replaced.
    #[serde(default)]
    pub set: Map<String, Value>,
    /// Parts of `require`; later ones override earlier ones.
    pub require: Vec<RequireFrom>,
    /// Keys to remove last.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Renames vendors in links and plugins, such as `{magento: mage-os}`.
    #[serde(default)]
    pub rename_links: BTreeMap<String, String>,
    /// Packages that are released together, with the version of the tag.
    #[serde(default)]
    pub together: Option<Together>,
    /// Files to add beside the manifest, for some tags.
    #[serde(default)]
    pub files: Vec<DerivedFile>,
}

/// The packages of a vendor that are released together. Those that the part names have the versions that it gives them.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Together {
    /// Vendor of the packages.
    pub vendor: String,
    /// Packages with versions of their own.
    #[serde(default)]
    pub except: Vec<String>,
}

/// A part of a derived package's `require`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum RequireFrom {
    /// What the root manifest requires.
    Root,
    /// What the root manifest replaces, of these vendors.
    Replaced(Vec<String>),
    /// What the part requires.
    Part,
    /// These packages; `{tag}` is replaced by the tag.
    Packages(Map<String, Value>),
}

/// A file beside a derived manifest.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct DerivedFile {
    /// Path in the package.
    pub path: String,
    /// Tags whose packages include it.
    pub tags: Vec<String>,
    pub from: ResourceFile,
}

/// A rule's kind. Directories have no trailing slash and are empty for the root of the repository.
#[derive(Debug, Clone, Copy)]
pub enum RuleKind<'a> {
    Each(&'a str),
    One(&'a str),
    Metapackage(&'a str),
    Derive(&'a Derive),
}

impl PackageRule {
    /// The kind of this rule; `None` unless exactly one is set.
    pub fn kind(&self) -> Option<RuleKind<'_>> {
        match (&self.each, &self.one, &self.metapackage, &self.derive) {
            (Some(dir), None, None, None) => Some(RuleKind::Each(dir)),
            (None, Some(dir), None, None) => Some(RuleKind::One(dir)),
            (None, None, Some(dir), None) => Some(RuleKind::Metapackage(dir)),
            (None, None, None, Some(derive)) => Some(RuleKind::Derive(derive)),
            _ => None,
        }
    }

    /// The directory that it names.
    pub fn folder(&self) -> Option<&str> {
        match self.kind()? {
            RuleKind::Each(dir) | RuleKind::One(dir) | RuleKind::Metapackage(dir) => Some(dir),
            RuleKind::Derive(_) => None,
        }
    }

    /// The directory or package that it is about.
    pub fn label(&self) -> &str {
        match self.kind() {
            Some(RuleKind::Each(dir) | RuleKind::One(dir) | RuleKind::Metapackage(dir)) => dir,
            Some(RuleKind::Derive(derive)) => &derive.package,
            None => "",
        }
    }

    /// The files of resources that the rule refers to.
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

    /// The path prefixes to leave out of a tag's packages.
    pub fn excluded_prefixes(&self, tag: &str) -> Vec<String> {
        let except =
            self.exclude_except.iter().filter(|e| !e.tags.iter().any(|t| t == tag)).map(|e| &e.prefix);
        self.exclude.iter().chain(except).cloned().collect()
    }
}

impl ResourceFile {
    /// The path for a tag.
    pub fn path_for(&self, tag: &str) -> String {
        self.path.replace("{tag}", tag)
    }
}
