//! Recipes: how git repositories become packages, as data.
//!
//! A recipe is a YAML document with a list of [`Source`]s in the order in which they are built. What one upstream
//! got wrong stands there as a pinned version or a [`Correction`] with its reason, never in code. The built-in
//! recipes live beside this file; an operator's own recipe has the same language and the same checks.
//! [`tag`] says which tags a source releases. Applying a recipe to trees is `package`'s work.

pub mod tag;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::composer::PackageName;
use crate::digest::Sha256;
use crate::yaml::{self, Complaint, Path, Problems, Report};

/// The recipes that are part of the binary, by name.
const BUILT_IN: &[(&str, &str)] = &[("magento", include_str!("magento.yaml"))];

/// A whole recipe document.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The sources, in the order in which they are built.
    pub sources: Vec<Source>,
}

/// One git repository and the packages in it.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The name by which `only`, reports and the ledger know this source.
    pub name: String,
    /// The URL of the git repository; `git.rewrite` of the configuration applies to it.
    pub git: String,
    /// Which tags are released.
    #[serde(default)]
    pub tags: Tags,
    /// Commits that upstream forgot to tag, released as if they were tagged.
    #[serde(default)]
    pub extra_refs: Vec<ExtraRef>,
    /// How a tree becomes packages; the rules are applied in this order.
    pub packages: Vec<PackageRule>,
    /// Versions that are pinned for a tag: of the packages built from it, and where they are required or suggested.
    #[serde(default)]
    pub versions: BTreeMap<String, BTreeMap<String, String>>,
    /// What upstream changed in a manifest between the tag and its own release.
    #[serde(default)]
    pub corrections: Vec<Correction>,
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

/// One way in which a tree becomes packages: exactly one of `each`, `one` and `metapackage`.
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
    /// Prefixes of paths, from the root of the repository, that are left out.
    #[serde(default)]
    pub exclude: Vec<String>,
}

/// A rule's kind, with its directory (no slash at the end, empty for the root of the repository).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleKind<'a> {
    Each(&'a str),
    One(&'a str),
    Metapackage(&'a str),
}

impl PackageRule {
    /// The kind of this rule; `None` unless exactly one is named.
    pub fn kind(&self) -> Option<RuleKind<'_>> {
        match (&self.each, &self.one, &self.metapackage) {
            (Some(dir), None, None) => Some(RuleKind::Each(dir)),
            (None, Some(dir), None) => Some(RuleKind::One(dir)),
            (None, None, Some(dir)) => Some(RuleKind::Metapackage(dir)),
            _ => None,
        }
    }
}

/// A change of the manifest of one package in some of its versions.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// The package's name.
    pub package: String,
    /// The versions to which it applies, spelled as in the manifest.
    pub versions: Vec<String>,
    /// Why upstream's release differs from its tag.
    pub reason: String,
    /// Entries to set in the manifest's maps, such as `require: {php: ~7.4.0}`.
    pub set: Map<String, Value>,
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
    pub fn built_in(name: &str) -> Option<Result<Self, Problems>> {
        let (name, text) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
        Some(Self::parse(&format!("recipe {name}"), text))
    }

    /// Parses and checks the text of a recipe; `file` is only named in problems.
    ///
    /// # Errors
    /// All problems of the text, each with line and column.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let (recipe, mut report) = yaml::read::<Self>(file, text, None);
        if let Some(recipe) = &recipe {
            recipe.check(&mut report);
        }
        report.finish(recipe)
    }

    /// What the types cannot say: unique names, well-formed tags and package names, one kind a rule.
    fn check(&self, report: &mut Report) {
        let mut seen = BTreeMap::new();
        for (i, source) in self.sources.iter().enumerate() {
            let at = Path::default().key("sources").index(i);
            if let Some(first) = seen.insert(&source.name, i) {
                let complaint = Complaint::new(format!(
                    "a source's name is its own, sources[{first}] has it already"
                ));
                report.add(&at.key("name"), complaint.found(format!("`{}`", source.name)));
            }
            source.check(&at, report);
        }
    }

    /// A digest of the sources' rules: a cycle plans anew when it changes.
    pub fn fingerprint(source: &Source) -> Sha256 {
        Sha256::of(&serde_json::to_vec(source).unwrap_or_default())
    }
}

impl Source {
    fn check(&self, at: &Path, report: &mut Report) {
        let safe = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.name.is_empty() || self.name.starts_with('.') || !self.name.chars().all(safe) {
            let complaint = Complaint::new("expected a name of letters, digits, `.`, `_` and `-`");
            report.add(&at.key("name"), complaint.found(format!("`{}`", self.name)));
        }
        if let Some(from) = &self.tags.from
            && tag::TagVersion::parse(from).is_none()
        {
            let complaint = Complaint::new("expected a version such as 2.4.4-p1").found(format!("`{from}`"));
            report.add(&at.key("tags").key("from"), complaint);
        }
        for (i, rule) in self.packages.iter().enumerate() {
            if rule.kind().is_none() {
                let complaint = Complaint::new("a rule has exactly one of `each`, `one` and `metapackage`");
                report.add(&at.key("packages").index(i), complaint);
            }
        }
        for (i, correction) in self.corrections.iter().enumerate() {
            let at = at.key("corrections").index(i);
            if correction.package.parse::<PackageName>().is_err() {
                let complaint = Complaint::new("expected a package name, `vendor/name` in lower case");
                report.add(
                    &at.key("package"),
                    complaint.found(format!("`{}`", correction.package)),
                );
            }
            for (key, value) in &correction.set {
                if !value.is_object() {
                    report.add(
                        &at.key("set").key(key),
                        Complaint::new("expected a map of entries to set"),
                    );
                }
            }
        }
    }
}
