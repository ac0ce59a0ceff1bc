//! Which tags a source releases.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tag_version::TagVersion;

/// A version with more bytes does not fit into the name of an archive.
const MAX_LENGTH: usize = 200;

/// Which tags of a source are released.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tags {
    /// First version to release, in Magento's order. Default: every tag that is a version.
    pub from: Option<String>,
    /// Tags to leave out, by full name.
    pub exclude: Vec<String>,
}

/// Why a tag is not released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excluded {
    NotAVersion,
    BeforeFirst,
    Listed,
}

impl Tags {
    /// Whether the tag is released; the error is the rule that excludes it.
    pub fn admits(&self, tag: &str) -> Result<(), Excluded> {
        let Some(version) = TagVersion::parse(tag).filter(|_| tag.len() <= MAX_LENGTH) else {
            return Err(Excluded::NotAVersion);
        };
        if self.exclude.iter().any(|excluded| excluded == tag) {
            return Err(Excluded::Listed);
        }
        match self.from.as_deref().and_then(TagVersion::parse) {
            Some(from) if version >= from => Ok(()),
            Some(_) => Err(Excluded::BeforeFirst),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_patches_are_in_the_order_of_the_reference() {
        let tags = Tags { from: Some("1.0.0-p1.5".into()), exclude: Vec::new() };
        for (tag, is_released) in [
            ("1.0.0-p1.5", true),
            ("1.0.0-p1.50", true),
            ("1.0.0-p2", true),
            ("1.0.1", true),
            ("1.0.0-p1.10", false),
            ("1.0.0-p1.6.1", false),
            ("1.0.0-p1", false),
            ("1.0.0", false),
        ] {
            assert_eq!(tags.admits(tag).is_ok(), is_released, "{tag}");
        }
    }

    #[test]
    fn tags_that_are_no_versions_are_excluded() {
        let tags = Tags { from: Some("1.1.0".into()), exclude: vec!["1.2.0".into()] };
        for (tag, verdict) in [
            ("1.1.0", Ok(())),
            ("v1.1.0-p1", Ok(())),
            ("1.1.0-beta1", Err(Excluded::BeforeFirst)),
            ("1.2.0", Err(Excluded::Listed)),
            ("latest", Err(Excluded::NotAVersion)),
            ("../../x", Err(Excluded::NotAVersion)),
            ("", Err(Excluded::NotAVersion)),
            ("1..2", Err(Excluded::NotAVersion)),
            (&format!("1.1.{}", "0".repeat(200)), Err(Excluded::NotAVersion)),
        ] {
            assert_eq!(tags.admits(tag), verdict, "{tag}");
        }
    }
}
