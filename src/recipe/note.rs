//! What people should know about versions that need a work-around, for the pages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Range, covers};
use crate::composer::PackageName;
use crate::yaml::{Issue, Path, Report};

/// A note about a package, or about some of its versions.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
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

    pub(super) fn check(&self, at: &Path, report: &mut Report) {
        if self.package.parse::<PackageName>().is_err() {
            let issue = Issue::new("expected a package name").found(format!("`{}`", self.package));
            report.add(&at.key("package"), issue);
        }
        if !self.versions.is_empty() && self.range.is_some() {
            report.add(at, Issue::new("`versions` and `range` exclude each other"));
        }
        // It becomes a link.
        let is_page =
            |url: &String| Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if self.see.as_ref().is_some_and(|url| !is_page(url)) {
            report.add(
                &at.key("see"),
                Issue::new("expected the address of a page, `https://…`"),
            );
        }
    }
}
