//! From the text of a recipe to a [`Recipe`]: parsed, checked, and laid over the recipe that it extends.

use schemars::SchemaGenerator;
use serde_json::Value;

use super::document::{Document, Recipe};
use super::validate::Validator;
use crate::yaml::{self, Diagnostics, FromYaml, Issue, Path, Report};

/// The recipes that are part of the binary, by name.
const BUILT_IN: &[(&str, &str)] = &[
    ("magento", include_str!("magento.yaml")),
    ("mage-os", include_str!("mage-os.yaml")),
    ("demo", include_str!("demo.yaml")),
];

impl Recipe {
    /// The names of the built-in recipes.
    pub fn built_in_names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// Loads a built-in recipe; `None` if there is none of that name.
    pub fn built_in(name: &str) -> Option<Result<Self, Diagnostics>> {
        let (name, text) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
        Some(Self::parse(&format!("recipe {name}"), text))
    }

    /// Parses and checks the text of a recipe; `file` is its name in messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, Diagnostics> {
        Document::read(file, text)
    }

    /// The JSON Schema of a recipe document, in draft 2020-12.
    pub fn json_schema() -> Value {
        let mut schema = SchemaGenerator::default().into_root_schema_for::<Document>();
        schema.insert("title".into(), "recipe.yaml".into());
        schema.into()
    }
}

impl FromYaml for Document {
    const EXAMPLE: &'static str = "extends: magento";

    fn check_format(_format: &str, _value: &str, _written: &str) -> Result<(), Issue> {
        Ok(())
    }
}

impl Document {
    /// Reads the text of a recipe, checks it and lays it over the one that it extends.
    fn read(file: &str, text: &str) -> Result<Recipe, Diagnostics> {
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
        let is_empty = self.sources.is_empty() && self.archives.is_empty() && self.composer.is_empty();
        if base.is_none() && is_empty && !report.is_broken(&root) {
            report.add(&root, Issue::new("expected `sources`, `archives`, `composer` or `extends`"));
        }
        Validator::new(&self.resources, base.as_ref()).document(&self, report);
        match &base {
            Some(base) => {
                let names = || base.sources.iter().map(|source| source.name.as_str());
                for name in self.amend.keys().filter(|name| names().all(|known| known != **name)) {
                    report.add(&root.key("amend").key(name), unknown(name, names()));
                }
            }
            None if self.amend.is_empty() => {}
            None => {
                let issue = Issue::new("`amend` requires `extends`");
                let hint =
                    "it adds to sources of a built-in recipe; change this recipe's own sources in place";
                report.add(&root.key("amend"), issue.hint(hint));
            }
        }
        Ok(Some(self.over(base)))
    }
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Issue {
    let known: Vec<_> = known.collect();
    Issue::new("expected a name that the built-in recipes have")
        .found(format!("`{name}`"))
        .hint(format!("the names are {}", known.join(", ")))
        .hint_nearest(name, known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_recipes_are_valid_and_known_to_the_configuration() {
        for name in Recipe::built_in_names() {
            Recipe::built_in(name).unwrap().unwrap();
        }
        assert!(Recipe::built_in_names().eq(crate::config::BUILT_IN_RECIPES));
    }

    #[test]
    fn exclusions_by_tags_of_magento_do_not_reach_mage_os() {
        let excluded = |recipe: &str| {
            let recipe = Recipe::built_in(recipe).unwrap().unwrap();
            let base =
                recipe.sources[0].packages.iter().find(|rule| rule.one.as_deref() == Some("")).unwrap();
            base.excluded_prefixes("2.4.0")
        };
        for prefix in [".github/", ".gitignore"] {
            assert!(
                !excluded("magento").iter().any(|other| other == prefix),
                "{prefix} is released with 2.4.0"
            );
            assert!(excluded("mage-os").iter().any(|other| other == prefix), "{prefix}");
        }
    }
}
