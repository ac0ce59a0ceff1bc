//! What a cycle found for each source: the refs it looked at, the counts, and every failure and exclusion.
//!
//! It holds no times, so that a cycle that finds the same again has the same report. It is kept with its snapshot, and the
//! next cycle passes over a source whose refs and rules are those of a complete entry.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::aliases;
use crate::metadata::MissingDependency;
use crate::package::plan::{Outcome, OutcomeRow};
use crate::recipe::Recipe;
use crate::store::snapshot::Snapshot;
use crate::store::{Divergence, RunHistory};
use crate::util::digest::Sha256;

/// The report of one cycle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub sources: BTreeMap<String, SourceReport>,
    /// The date of the nightly versions, `20261124`, in a recipe with branches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nightly: Option<String>,
    /// The digest of the recipe's notes for the pages, in a recipe with any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<Sha256>,
    /// What published metapackages pin that the repository does not have.
    #[serde(default)]
    pub gaps: Vec<MissingDependency>,
    /// The archives of what is published but not in the metadata, because they could not be read.
    #[serde(rename = "left_out", default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<String>,
}

/// The report of one source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Why nothing could be done; the rest is then of the last cycle that could.
    pub error: Option<String>,
    /// The fingerprint of the recipe's rules.
    pub rules: Option<Sha256>,
    /// The commit of each ref.
    pub refs: BTreeMap<String, String>,
    /// (ref, package) pairs that are published.
    pub published: usize,
    /// Pairs that a rule excludes.
    pub excluded: Vec<OutcomeRow>,
    pub failed: Vec<OutcomeRow>,
    /// What the recipe says about this source that matches nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unused: Vec<String>,
    /// The commits at which refs that have moved were compared with what they had published.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub examined: BTreeMap<String, String>,
    /// What was ever found to differ: published bytes that upstream would change. It is not a failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diverged: Vec<Divergence>,
}

impl SourceReport {
    /// Sorts a source's lines.
    pub fn new(rules: Sha256, refs: BTreeMap<String, String>, lines: Vec<OutcomeRow>) -> Self {
        let mut report = Self {
            rules: Some(rules),
            refs,
            ..Self::default()
        };
        for line in lines {
            match line.outcome {
                Outcome::Published | Outcome::AlreadyPublished => report.published += 1,
                Outcome::Excluded { .. } => report.excluded.push(line),
                Outcome::Failed { .. } => report.failed.push(line),
            }
        }
        report
    }

    /// Whether a source whose refs are `commits` has all of this as it was, and only new refs beside it: then only those are
    /// planned.
    pub fn is_part_of(&self, rules: Sha256, commits: &BTreeMap<String, String>) -> bool {
        let is_there = |(name, commit): (&String, &String)| commits.get(name) == Some(commit);
        self.is_complete()
            && self.rules == Some(rules)
            && self.unused.is_empty()
            && self.refs.iter().all(is_there)
    }

    /// Nothing failed.
    pub fn is_complete(&self) -> bool {
        self.error.is_none() && self.failed.is_empty()
    }
}

impl Report {
    /// Whether it is of a cycle over the sources of `recipe`, no more and no fewer.
    pub fn is_of(&self, recipe: &Recipe) -> bool {
        let aliases = recipe.aliases.as_ref().map(|_| aliases::NAME);
        let names: BTreeSet<_> = recipe.source_names().chain(aliases).collect();
        self.sources.keys().map(String::as_str).eq(names)
    }

    /// The report of the last cycle that ended by itself; an empty one where none did.
    pub fn last(snapshot: Option<&Snapshot>, cycles: &RunHistory) -> Self {
        let beside = cycles.report.clone();
        beside
            .and_then(|report| serde_json::from_value(report).ok())
            .or_else(|| snapshot.map(Self::from_snapshot))
            .unwrap_or_default()
    }

    /// The report of a snapshot's cycle; an empty one if it cannot be read, which only costs a new plan.
    pub fn from_snapshot(snapshot: &Snapshot) -> Self {
        let read = || anyhow::Ok(serde_json::from_slice(&snapshot.report()?)?);
        read().unwrap_or_else(|error| {
            let number = snapshot.manifest.number;
            tracing::error!("the report of snapshot {number} is of no use: {error:#}");
            Self::default()
        })
    }

    /// # Errors
    /// Of the serialisation.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec_pretty(self)
    }

    /// Nothing failed in any source.
    pub fn is_complete(&self) -> bool {
        self.sources.values().all(SourceReport::is_complete)
    }
}
