//! The settings of a repository that its metadata and pages depend on.

use serde_json::json;

use super::base_url::BaseUrl;
use crate::config::{Hints, Metadata};
use crate::recipe::Note;
use crate::util::digest::Sha256;

/// The settings that packages.json and the pages depend on.
#[derive(Clone, Copy)]
pub struct RepositoryInfo<'a> {
    pub base: &'a BaseUrl,
    pub metadata: Metadata,
    pub hints: &'a Hints,
    /// Notes on some versions, for the pages.
    pub notes: &'a [Note],
    /// Whether only configured users may read the repository.
    pub is_private: bool,
    /// Whether it runs without a configuration, which the main page says.
    pub is_trial: bool,
}

impl RepositoryInfo<'_> {
    pub fn digest(&self) -> serde_json::Result<Sha256> {
        let Self { base, metadata, hints, notes, is_private, is_trial } = self;
        // A trial is never private.
        let kind = if *is_trial { json!("trial") } else { json!(is_private) };
        let all = json!([base.to_string(), metadata, hints, notes, kind]);
        Ok(Sha256::digest(&serde_json::to_vec(&all)?))
    }
}
