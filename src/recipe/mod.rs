//! Recipes: how git repositories become packages, as data.
//!
//! A recipe is a YAML document with a list of [`Source`]s in the order in which they are built. What one upstream got
//! wrong is a pinned version or a [`Correction`] with its reason, never code. The built-in recipes are beside this file;
//! an operator's own recipe has the same language and the same checks. [`rule`] has the ways in which a tree becomes
//! packages, `tags` says which tags a source releases. Applying a recipe to trees is `package`'s work.

mod completeness;
mod composer_source;
mod document;
mod extend;
mod load;
mod note;
mod product;
mod public_urls;
mod range;
pub mod rule;
pub mod tag_version;
mod tags;
mod validate;

pub use completeness::IncompleteVersions;
pub use composer_source::ComposerSource;
pub use document::{
    Aliases, Amendment, ArchiveFolder, Correction, Document, ExtraRef, Recipe, Replacement, Resource,
    Retention, Source,
};
pub use note::Note;
pub use product::Product;
pub use rule::{Derive, PackageRule, ResourceFile, RuleKind};
pub use tags::{Excluded, Tags};
