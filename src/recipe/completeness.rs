//! What a metapackage may require although the repository does not provide it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::Recipe;
use super::range::AffectedVersions;

/// Versions of a metapackage that are published although nobody provides all that they require.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct IncompleteVersions {
    #[serde(flatten)]
    pub affects: AffectedVersions,
    /// Why it is published all the same.
    pub reason: String,
}

impl Recipe {
    /// Whether clients get the package from a repository that is not this one.
    pub fn is_external(&self, package: &str) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix("/*") {
            Some(vendor) => package.split('/').next() == Some(vendor),
            None => pattern == package,
        };
        self.external_packages.iter().any(matches)
    }

    /// Whether a version of a metapackage is published although nobody provides all that it requires.
    pub fn publishes_incomplete(&self, package: &str, version: &str) -> bool {
        self.publish_incomplete.iter().any(|released| released.affects.include(package, version))
    }
}
