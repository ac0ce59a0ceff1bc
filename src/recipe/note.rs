//! What people should know about versions that need a work-around, for the pages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::range::{Range, covers};

/// A note about a package, or about some of its versions.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Note {
    /// The package's name, as it is published.
    pub package: String,
    /// The versions that it is about; every one when `range` is left out, too.
    #[serde(default)]
    pub versions: Vec<String>,
    /// Or a range of versions in Magento's order.
    #[serde(default)]
    pub range: Option<Range>,
    /// What is wrong, and what to do.
    pub note: String,
    /// Where upstream says so.
    #[serde(default)]
    pub see: Option<String>,
}

impl Note {
    /// Whether it is about a version of a package.
    pub fn applies_to(&self, package: &str, version: &str) -> bool {
        let every = self.versions.is_empty() && self.range.is_none();
        self.package == package && (every || covers(&self.versions, self.range.as_ref(), version))
    }

    /// Which versions it is about, in words.
    pub fn versions_text(&self) -> String {
        match &self.range {
            Some(Range {
                line: Some(line),
                from,
            }) => format!("{line} from {from} on"),
            Some(Range { line: None, from }) => format!("{from} and later"),
            None if self.versions.is_empty() => "every version".into(),
            None => self.versions.join(", "),
        }
    }
}
