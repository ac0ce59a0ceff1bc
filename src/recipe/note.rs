//! Notes on the pages about versions that need a workaround.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::range::{Range, covers};

/// A note about a package, or about some of its versions.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Note {
    /// Name of the package as published.
    pub package: String,
    /// Versions that it applies to. Without `versions` and `range`, it applies to all.
    #[serde(default)]
    pub versions: Vec<String>,
    /// Or a range of versions, in Magento's order.
    #[serde(default)]
    pub range: Option<Range>,
    /// What is wrong and what to do.
    pub note: String,
    /// URL of upstream's statement.
    #[serde(default)]
    pub see: Option<String>,
}

impl Note {
    /// Whether it applies to a version of a package.
    pub fn applies_to(&self, package: &str, version: &str) -> bool {
        let every = self.versions.is_empty() && self.range.is_none();
        self.package == package && (every || covers(&self.versions, self.range.as_ref(), version))
    }

    /// The versions in words.
    pub fn versions_text(&self) -> String {
        match &self.range {
            Some(Range { line: Some(line), from }) => format!("{line} from {from} on"),
            Some(Range { line: None, from }) => format!("{from} and later"),
            None if self.versions.is_empty() => "every version".into(),
            None => self.versions.join(", "),
        }
    }
}
