//! Releases that were imported and that git has not confirmed yet: `imported.jsonl`, one line for each.
//!
//! A line goes when the release was built again with the same bytes. Nothing that is published depends on the file: without
//! it, the releases count as confirmed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::divergences::Divergence;
use super::json_lines;
use super::repository::RepositoryStore;

/// The name of the file in a repository's folder.
pub(super) const FILE: &str = "imported.jsonl";

const HINT: &str =
    "restore it from a backup, or remove it: then `mirror verify --rebuild` compares all releases with git";

/// The mark of an imported release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportMark {
    /// The number of the release's line in the ledger.
    pub line: u64,
    /// For people, as in that line.
    pub name: String,
    pub version: String,
    /// The mirror, folder or file that it came from.
    pub from: String,
    pub time: Timestamp,
    /// What building it again gave; `None` if that was not tried yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<ImportOutcome>,
}

/// Why an imported release is not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportOutcome {
    /// git gives other bytes.
    Different(Box<Divergence>),
    /// git does not give it, with the reason.
    Impossible(String),
}

/// By the line of the ledger.
pub type ImportMarks = BTreeMap<u64, ImportMark>;

impl RepositoryStore {
    /// The releases that are not confirmed.
    pub fn import_marks(&self) -> anyhow::Result<ImportMarks> {
        let marks = json_lines::read::<ImportMark>(&self.root().join(FILE), HINT)?.into_iter();
        Ok(marks.map(|mark| (mark.line, mark)).collect())
    }

    /// Replaces the file.
    pub fn write_import_marks(&self, marks: &ImportMarks) -> anyhow::Result<()> {
        self.replace_file(FILE, &json_lines::text(marks.values())?)
    }
}
