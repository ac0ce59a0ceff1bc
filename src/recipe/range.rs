//! Versions of a package, listed or as a range in Magento's order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tag_version::TagVersion;

/// All versions from one on, optionally of one release line: `{line: 2.4.7, from: 2.4.7-p6}` is 2.4.7-p6, 2.4.7-p7, …
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct Range {
    /// Release line: a version without suffix.
    #[serde(default)]
    pub line: Option<String>,
    /// First version of the range.
    pub from: String,
}

/// The versions of a package that an entry of the recipe is about.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
#[schemars(!default)]
pub struct AffectedVersions {
    /// Name of the package as published.
    pub package: String,
    /// Versions that it applies to, as written in the manifest.
    #[serde(default)]
    pub versions: Vec<String>,
    /// Or a range of versions, in Magento's order.
    #[serde(default)]
    pub range: Option<Range>,
}

impl AffectedVersions {
    /// Whether it names neither versions nor a range.
    pub fn is_unrestricted(&self) -> bool {
        self.versions.is_empty() && self.range.is_none()
    }

    /// Whether a version of a package is listed or in the range.
    pub fn include(&self, package: &str, version: &str) -> bool {
        let is_listed = self.versions.iter().any(|listed| listed == version);
        let is_in_range = self.range.as_ref().is_some_and(|range| range.includes(version));
        self.package == package && (is_listed || is_in_range)
    }
}

impl Range {
    fn includes(&self, version: &str) -> bool {
        let of_line = |line: &String| version == line || version.starts_with(&format!("{line}-"));
        let from = TagVersion::parse(&self.from);
        self.line.as_ref().is_none_or(of_line)
            && from.is_some_and(|from| TagVersion::parse(version).is_some_and(|v| v >= from))
    }
}
