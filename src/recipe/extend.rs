//! Recipe documents: a whole recipe, or additions to a built-in one (`extends`).
//!
//! Additions come after what is built in: own sources are built last, and of two corrections of one entry the own
//! one wins. What is built in can be added to (`amend`), never taken away; `only` of the configuration leaves out.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::validate::Validator;
use super::{
    Aliases, ArchiveFolder, Correction, ExtraRef, Note, PackageRule, Recipe, Replacement, Resource,
    Retention, Source,
};
use crate::yaml::{self, Diagnostics, Issue, Path, Report, nearest};

/// A recipe: how git repositories become packages.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The name of a built-in recipe to which this one adds.
    #[serde(default)]
    extends: Option<String>,
    /// Additions to sources of the recipe that is extended, by their names.
    #[serde(default)]
    amend: BTreeMap<String, Amendment>,
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
    aliases: Option<Aliases>,
    /// How many nightly versions stay in the metadata; all of them when left out.
    #[serde(default)]
    retention: Option<Retention>,
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
    git: Option<String>,
    /// Tags that are left out, spelled whole.
    #[serde(default)]
    exclude_tags: Vec<String>,
    /// Commits that upstream forgot to tag, released as if they were tagged.
    #[serde(default)]
    extra_refs: Vec<ExtraRef>,
    /// More packages in its trees.
    #[serde(default)]
    pub(super) packages: Vec<PackageRule>,
    /// Versions that are pinned for a tag.
    #[serde(default)]
    versions: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) corrections: Vec<Correction>,
    #[serde(default)]
    pub(super) replacements: Vec<Replacement>,
}

impl Document {
    /// Reads the text of a recipe, checks it and lays it over the one that it extends.
    pub(super) fn read(file: &str, text: &str) -> Result<Recipe, Diagnostics> {
        let (document, mut report) = yaml::read::<Self>(file, text, None);
        let recipe = match document {
            Some(document) => document.resolve(&mut report)?,
            None => None,
        };
        report.finish(recipe)
    }

    fn resolve(self, report: &mut Report) -> Result<Option<Recipe>, Diagnostics> {
        let root = Path::default();
        let base = match &self.extends {
            None => None,
            Some(name) => match Recipe::built_in(name) {
                Some(recipe) => Some(recipe?),
                None => {
                    report.add(&root.key("extends"), unknown(name, Recipe::built_in_names()));
                    return Ok(None);
                }
            },
        };
        if base.is_none() && self.sources.is_empty() && self.archives.is_empty() {
            report.add(&root, Issue::new("expected `sources`, `archives` or `extends`"));
        }
        Validator::new(&self.resources, base.as_ref()).document(&self, &self.amend, report);
        match &base {
            Some(base) => {
                let names = || base.sources.iter().map(|source| source.name.as_str());
                for name in self
                    .amend
                    .keys()
                    .filter(|name| names().all(|known| known != **name))
                {
                    report.add(&root.key("amend").key(name), unknown(name, names()));
                }
            }
            None if self.amend.is_empty() => {}
            None => {
                let issue = Issue::new("`amend` needs `extends`");
                let hint =
                    "it adds to sources of a built-in recipe; change those of this one where they stand";
                report.add(&root.key("amend"), issue.hint(hint));
            }
        }
        Ok(Some(self.over(base)))
    }

    fn over(self, base: Option<Recipe>) -> Recipe {
        let mut recipe = base.unwrap_or_default();
        for source in &mut recipe.sources {
            if let Some(amendment) = self.amend.get(&source.name) {
                amendment.clone().apply(source);
            }
        }
        recipe.resources.extend(self.resources);
        recipe.archives.extend(self.archives);
        recipe.sources.extend(self.sources);
        recipe.aliases = self.aliases.or(recipe.aliases);
        recipe.retention = self.retention.or(recipe.retention);
        recipe.notes.extend(self.notes);
        recipe
    }
}

impl Amendment {
    fn apply(self, source: &mut Source) {
        if let Some(git) = self.git {
            source.git = git;
        }
        source.tags.exclude.extend(self.exclude_tags);
        source.extra_refs.extend(self.extra_refs);
        source.packages.extend(self.packages);
        for (tag, versions) in self.versions {
            source.versions.entry(tag).or_default().extend(versions);
        }
        source.corrections.extend(self.corrections);
        source.replacements.extend(self.replacements);
    }
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Issue {
    let known: Vec<_> = known.collect();
    let issue = Issue::new("expected a name that the built-in recipes have").found(format!("`{name}`"));
    match nearest(name, known.iter().copied()) {
        Some(near) => issue.hint(format!("did you mean `{near}`?")),
        None => issue.hint(format!("the names are {}", known.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_come_after_what_is_built_in() {
        let text = "
extends: magento
sources:
  - { name: shop, git: https://git.example/shop.git, packages: [{ one: '' }] }
amend:
  inventory:
    exclude_tags: [1.2.0]
    versions: { 1.2.1: { magento/module-inventory: 1.2.1 } }
    corrections:
      - { package: magento/module-inventory, versions: [1.2.1], reason: ours, set: { require: { php: '*' } } }
";
        let base = Recipe::built_in("magento").unwrap().unwrap();
        let recipe = Document::read("shop.yaml", text).unwrap();
        assert_eq!(recipe.sources.len(), base.sources.len() + 1);
        assert_eq!(recipe.sources.last().unwrap().name, "shop");
        assert_eq!(recipe.resources.len(), base.resources.len());
        let inventory = recipe.sources.iter().find(|s| s.name == "inventory").unwrap();
        assert_eq!(inventory.tags.exclude, ["1.2.0"]);
        assert_eq!(inventory.corrections.last().unwrap().reason, "ours");
        assert!(inventory.versions.contains_key("1.2.1"));
    }

    #[test]
    fn what_is_wrong_in_an_extension_has_its_place() {
        for (text, expected) in [
            (
                "extends: magneto\n",
                "r.yaml:1:10: extends: expected a name that the built-in recipes have, found `magneto`\n  hint: did you mean `magento`?",
            ),
            (
                "extends: magento\namend:\n  inventry: {}\n",
                "r.yaml:3:13: amend.inventry: expected a name that the built-in recipes have, found `inventry`\n  hint: did you mean `inventory`?",
            ),
            (
                "extends: magento\nsources:\n- {name: inventory, git: 'https://git.example/x.git', packages: [{one: ''}]}\n",
                "r.yaml:3:10: sources[0].name: a source's name is its own, another one has it already, found `inventory`\n  hint: `amend` adds to a source of the recipe that is extended",
            ),
            (
                "extends: magento\namend:\n  inventory:\n    corrections: [{package: a/b, reason: r}]\n",
                "r.yaml:4:19: amend.inventory.corrections[0]: a correction has either `versions` or a `range`",
            ),
            (
                "extends: magento\nnotes: [{package: a/b, note: n, see: 'javascript:alert(1)'}]\n",
                "r.yaml:2:38: notes[0].see: expected the address of a page, `https://…`",
            ),
            (
                "sources: [{name: a, git: 'https://git.example/x.git', packages: []}]\n",
                "r.yaml:1:65: sources[0].packages: a source makes at least one package",
            ),
            (
                "sources: [{name: a, git: 'https://git.example/x.git', packages: [{one: ''}]}]\namend: {a: {}, b: {}}\n",
                "r.yaml:2:8: amend: `amend` needs `extends`\n  hint: it adds to sources of a built-in recipe; change those of this one where they stand",
            ),
            (
                "resources: {}\n",
                "r.yaml:1:1: expected `sources`, `archives` or `extends`",
            ),
        ] {
            assert_eq!(
                Document::read("r.yaml", text).unwrap_err().to_string(),
                expected,
                "{text}"
            );
        }
    }
}
