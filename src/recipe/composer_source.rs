//! A Composer repository as a source.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::composer::{Constraint, NamePattern};
use crate::yaml::{Issue, Path, Report};

/// A Composer repository whose archives are published as they are.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub struct ComposerSource {
    /// Name in `only`, in reports and in the ledger.
    pub name: String,
    /// URL of the repository, or of its packages.json; `git.rewrite` of the configuration applies to it.
    pub url: String,
    /// Constraints for versions, by name of the package or by pattern, such as `{acme/shop: ^2.0, acme/theme-*: "*"}`. A version
    /// is taken if it meets one of those whose pattern matches.
    pub packages: BTreeMap<String, String>,
    /// Name of a git source: only the versions are taken that its tags wait for because files of a resource are not there yet.
    /// When they can be built, they are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_in_for: Option<String>,
    /// Sources that have published some of its packages first, or may publish more of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub takes_over: Vec<String>,
}

impl ComposerSource {
    /// Which packages it takes.
    pub fn patterns(&self) -> Vec<NamePattern> {
        self.packages.keys().filter_map(|pattern| pattern.parse().ok()).collect()
    }

    /// The constraints for the versions of a package, of which one has to be met.
    pub fn constraints(&self, name: &str) -> Vec<Constraint> {
        let is_for =
            |pattern: &str| pattern.parse::<NamePattern>().is_ok_and(|pattern| pattern.matches(name));
        let constraints = self.packages.iter().filter(|(pattern, _)| is_for(pattern));
        constraints.filter_map(|(_, constraint)| constraint.parse().ok()).collect()
    }

    /// Whether it may publish packages that another source has published first.
    pub(super) fn takes_over(&self, source: &str) -> bool {
        self.stands_in_for.as_deref() == Some(source) || self.takes_over.iter().any(|name| name == source)
    }

    /// `sources` are the names of the git sources.
    pub(super) fn check(&self, sources: &[&str], at: &Path, report: &mut Report) {
        let url = Url::parse(&self.url);
        if !url.as_ref().is_ok_and(|url| matches!(url.scheme(), "http" | "https" | "file")) {
            let issue = Issue::new("expected the URL of a Composer repository, `https://…`");
            report.add(&at.key("url"), issue);
        }
        if url.is_ok_and(|url| url.password().is_some() || !url.username().is_empty()) {
            let issue = Issue::new("a URL must not contain a password or token");
            report.add(&at.key("url"), issue.hint("use `git.credentials`"));
        }
        if self.packages.is_empty() {
            let issue = Issue::new("expected the packages to take");
            report.add(
                &at.key("packages"),
                issue.hint("such as `{acme/shop: ^2.0}`, or `{\"acme/*\": \"*\"}`"),
            );
        }
        for (pattern, constraint) in &self.packages {
            let at = at.key("packages").key(pattern);
            if pattern.parse::<NamePattern>().is_err() {
                let issue =
                    Issue::new("expected a package name or a pattern such as `vendor/*`, in lower case");
                report.add(&at, issue.found(format!("`{pattern}`")));
            }
            if constraint.parse::<Constraint>().is_err() {
                let issue = Issue::new("expected a version constraint that Composer can read");
                report.add(&at, issue.found(format!("`{constraint}`")).hint("all versions are `\"*\"`"));
            }
        }
        if let Some(source) = self.stands_in_for.as_deref().filter(|name| !sources.contains(name)) {
            let issue = Issue::new("expected the name of a git source").found(format!("`{source}`"));
            report.add(&at.key("stands_in_for"), issue.hint_nearest(source, sources.to_vec()));
        }
    }
}
