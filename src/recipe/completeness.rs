//! What a metapackage may require although the repository does not provide it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::Recipe;
use super::range::{Range, covers};

/// Versions of a metapackage that are published although nobody provides all that they require.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct IncompleteVersions {
    /// Name of the metapackage as published.
    pub package: String,
    /// Versions that it applies to, as written in the manifest.
    #[serde(default)]
    pub versions: Vec<String>,
    /// Or a range of versions, in Magento's order.
    #[serde(default)]
    pub range: Option<Range>,
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
        let applies = |released: &IncompleteVersions| {
            released.package == package && covers(&released.versions, released.range.as_ref(), version)
        };
        self.publish_incomplete.iter().any(applies)
    }
}
