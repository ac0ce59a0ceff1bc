//! The settings of a repository that its metadata and pages depend on.

use serde_json::json;

use super::base_url::BaseUrl;
use crate::config::{Hints, Metadata, Site};
use crate::recipe::Recipe;
use crate::util::digest::Sha256;

/// The settings that packages.json and the pages depend on.
#[derive(Clone, Copy)]
pub struct RepositoryInfo<'a> {
    pub base: &'a BaseUrl,
    pub metadata: Metadata,
    pub hints: &'a Hints,
    /// Who runs the mirror.
    pub site: &'a Site,
    /// Its products, its notes and the public pages of its sources.
    pub recipe: &'a Recipe,
    /// Whether only configured users may read the repository.
    pub is_private: bool,
    /// Whether it runs without a configuration, which the main page says.
    pub is_trial: bool,
}

impl RepositoryInfo<'_> {
    pub fn digest(&self) -> serde_json::Result<Sha256> {
        let Self { base, metadata, hints, site, recipe, is_private, is_trial } = self;
        // A trial is never private.
        let kind = if *is_trial { json!("trial") } else { json!(is_private) };
        let all = json!([base.to_string(), metadata, hints, site, recipe.page_content(), kind]);
        Ok(Sha256::digest(&serde_json::to_vec(&all)?))
    }
}
