//! Notes on the pages about versions that need a workaround.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::range::{AffectedVersions, Range};

/// A note about some versions of a package, or about all if it has neither `versions` nor `range`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Note {
    #[serde(flatten)]
    pub affects: AffectedVersions,
    /// What is wrong and what to do.
    pub note: String,
    /// URL of upstream's statement.
    #[serde(default)]
    pub see: Option<String>,
}

impl Note {
    /// Whether it applies to a version of a package.
    pub fn applies_to(&self, package: &str, version: &str) -> bool {
        let affects = &self.affects;
        affects.include(package, version) || affects.package == package && affects.is_unrestricted()
    }

    /// The versions in words.
    pub fn versions_text(&self) -> String {
        match &self.affects.range {
            Some(Range { line: Some(line), from }) => format!("{line} from {from} on"),
            Some(Range { line: None, from }) => format!("{from} and later"),
            None if self.affects.versions.is_empty() => "every version".into(),
            None => self.affects.versions.join(", "),
        }
    }
}
