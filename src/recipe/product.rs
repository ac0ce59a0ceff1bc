//! The products of a repository: what people install, and what the pages name first.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::Recipe;
use super::note::Note;

/// A product. Each version of its metapackage is a release and has a page of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Product {
    /// Name for people, such as `Magento Open Source`.
    pub name: String,
    /// The metapackage that requires exact versions of its packages.
    pub package: String,
    /// The package for `composer create-project`, with the same versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

impl Recipe {
    /// What the pages show of the recipe.
    pub fn page_content(&self) -> (&[Product], &[Note], Vec<(&str, &str)>) {
        let pages =
            self.sources.iter().filter_map(|source| Some((&*source.name, self.public_page(&source.name)?)));
        (&self.products, &self.notes, pages.collect())
    }
}
