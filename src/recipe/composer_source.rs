//! A Composer repository as a source.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::composer::{Constraint, NamePattern};
use crate::config::units::{DurationText, optional_duration};
use crate::yaml::{Issue, Path, Report};

/// The default of `minimum_age`. The reason is in the decisions.
const MINIMUM_AGE: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// A host whose packages belong to the keys that they are downloaded with.
const MARKETPLACE: &str = "repo.magento.com";

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
    #[serde(default)]
    pub packages: BTreeMap<String, String>,
    /// Instead of `packages`: names of other repositories of the configuration. What they publish can require packages of this
    /// one, which are taken, with all that these require.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closure_of: Vec<String>,
    /// For a closure: how old a version has to be before it is taken. Default: `3d`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration")]
    #[schemars(with = "Option<DurationText>")]
    pub minimum_age: Option<Duration>,
    /// For a closure: packages that are taken although their license is `proprietary` or missing, by name or as `vendor/*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_proprietary: Vec<String>,
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

    /// Whether it takes what other repositories can require.
    pub fn is_closure(&self) -> bool {
        !self.closure_of.is_empty()
    }

    /// How old a version of a closure has to be.
    pub fn minimum_age(&self) -> Duration {
        self.minimum_age.unwrap_or(MINIMUM_AGE)
    }

    /// Whether a package is taken whatever its license is.
    pub fn allows_proprietary(&self, name: &str) -> bool {
        let patterns = self.allow_proprietary.iter().filter_map(|text| text.parse::<NamePattern>().ok());
        patterns.into_iter().any(|pattern| pattern.matches(name))
    }

    /// Whether archives at a URL are bound to somebody's keys, so that no closure may have them.
    pub fn is_marketplace(url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| url.host_str() == Some(MARKETPLACE))
    }

    /// Whether it may publish packages that another source has published first.
    pub(super) fn takes_over(&self, source: &str) -> bool {
        self.stands_in_for.as_deref() == Some(source) || self.takes_over.iter().any(|name| name == source)
    }

    /// `git_sources` are the names of the git sources.
    pub(super) fn check_all(sources: &[Self], git_sources: &[&str], at: &Path, report: &mut Report) {
        let mut has_closure = false;
        for (i, source) in sources.iter().enumerate() {
            source.check(git_sources, &at.index(i), report);
            if has_closure && source.is_closure() {
                let issue = Issue::new("a recipe can have only one source with `closure_of`");
                report.add(&at.index(i).key("closure_of"), issue);
            }
            has_closure |= source.is_closure();
        }
    }

    /// `sources` are the names of the git sources.
    fn check(&self, sources: &[&str], at: &Path, report: &mut Report) {
        let url = Url::parse(&self.url);
        if !url.as_ref().is_ok_and(|url| matches!(url.scheme(), "http" | "https" | "file")) {
            let issue = Issue::new("expected the URL of a Composer repository, `https://…`");
            report.add(&at.key("url"), issue);
        }
        if url.is_ok_and(|url| url.password().is_some() || !url.username().is_empty()) {
            let issue = Issue::new("a URL must not contain a password or token");
            report.add(&at.key("url"), issue.hint("use `git.credentials`"));
        }
        self.check_closure(at, report);
        self.check_packages(at, report);
        if let Some(source) = self.stands_in_for.as_deref().filter(|name| !sources.contains(name)) {
            let issue = Issue::new("expected the name of a git source").found(format!("`{source}`"));
            report.add(&at.key("stands_in_for"), issue.hint_nearest(source, sources.to_vec()));
        }
    }

    fn check_packages(&self, at: &Path, report: &mut Report) {
        if self.packages.is_empty() && !self.is_closure() {
            let issue = Issue::new("expected the packages to take");
            report.add(
                &at.key("packages"),
                issue.hint("such as `{acme/shop: ^2.0}`, or `{\"acme/*\": \"*\"}`"),
            );
        }
        for (pattern, constraint) in &self.packages {
            let at = at.key("packages").key(pattern);
            check_pattern(pattern, &at, report);
            if constraint.parse::<Constraint>().is_err() {
                let issue = Issue::new("expected a version constraint that Composer can read");
                report.add(&at, issue.found(format!("`{constraint}`")).hint("all versions are `\"*\"`"));
            }
        }
    }

    fn check_closure(&self, at: &Path, report: &mut Report) {
        for (i, pattern) in self.allow_proprietary.iter().enumerate() {
            check_pattern(pattern, &at.key("allow_proprietary").index(i), report);
        }
        if !self.is_closure() {
            let without = [
                ("minimum_age", self.minimum_age.is_some()),
                ("allow_proprietary", !self.allow_proprietary.is_empty()),
            ];
            for (key, _) in without.into_iter().filter(|(_, is_set)| *is_set) {
                report.add(&at.key(key), Issue::new(format!("`{key}` requires `closure_of`")));
            }
            return;
        }
        let beside = [
            ("packages", !self.packages.is_empty(), "take them in a source of their own"),
            ("stands_in_for", self.stands_in_for.is_some(), "use one of them"),
        ];
        for (key, _, hint) in beside.into_iter().filter(|(_, is_set, _)| *is_set) {
            let issue = Issue::new(format!("`{key}` cannot be combined with `closure_of`"));
            report.add(&at.key(key), issue.hint(hint));
        }
        if Self::is_marketplace(&self.url) {
            let issue = Issue::new(format!("`closure_of` takes nothing from {MARKETPLACE}"));
            report.add(&at.key("url"), issue.hint("its packages are licensed to the owner of the keys"));
        }
    }
}

fn check_pattern(pattern: &str, at: &Path, report: &mut Report) {
    if pattern.parse::<NamePattern>().is_err() {
        let issue = Issue::new("expected a package name or a pattern such as `vendor/*`, in lower case");
        report.add(at, issue.found(format!("`{pattern}`")));
    }
}
