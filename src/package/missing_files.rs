//! Releases whose files a resource does not have yet, such as the manifests that upstream adds after the tag.

use std::collections::BTreeMap;

use super::plan::{Outcome, OutcomeRow, ResolvedRef};
use crate::recipe::{PackageRule, Source};

/// A file that no resource has yet.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct MissingFile(pub String);

/// The packages that wait by tag, each with the file that it waits for.
#[derive(Debug, Default)]
pub(super) struct MissingFiles(BTreeMap<String, Vec<(String, MissingFile)>>);

impl MissingFiles {
    pub(super) fn add(&mut self, rule: &PackageRule, git_ref: &ResolvedRef, missing: MissingFile) {
        let label = Some(rule.label()).filter(|label| !label.is_empty()).unwrap_or("the root package");
        self.0.entry(git_ref.tag.clone()).or_default().push((label.to_owned(), missing));
    }

    /// One row for each tag, whatever the number of packages that wait.
    pub(super) fn rows(self, source: &Source) -> impl Iterator<Item = OutcomeRow> {
        self.0.into_iter().map(|(tag, waiting)| {
            let (packages, files): (Vec<_>, Vec<_>) =
                waiting.into_iter().map(|(package, missing)| (package, missing.to_string())).unzip();
            let reason = format!("waits for {}", files.join(", "));
            OutcomeRow {
                source: source.name.clone(),
                tag,
                package: packages.join(", "),
                outcome: Outcome::HeldBack { reason, waits_for: Vec::new() },
            }
        })
    }
}
