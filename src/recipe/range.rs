//! Ranges of versions in Magento's order.

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

/// Whether a version is listed or in the range.
pub(super) fn covers(versions: &[String], range: Option<&Range>, version: &str) -> bool {
    let in_range = |range: &Range| {
        let of_line = |line: &String| version == line || version.starts_with(&format!("{line}-"));
        let line = range.line.as_ref().is_none_or(of_line);
        let from = TagVersion::parse(&range.from);
        line && from.is_some_and(|from| TagVersion::parse(version).is_some_and(|v| v >= from))
    };
    versions.iter().any(|v| v == version) || range.is_some_and(in_range)
}
