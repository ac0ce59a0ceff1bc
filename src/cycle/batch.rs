//! Collects what one source stages and reports, then publishes it in one step.

use anyhow::Context as _;

use super::context::CycleContext;
use super::file_names;
use super::metadata_budget::MetadataBudget;
use super::read_manifests;
use crate::ledger::Release;
use crate::package::plan::{Outcome, OutcomeRow};
use crate::store::StagedArchive;

/// The staged archives of one source, and a row for each (ref, package) that was looked at.
pub(super) struct Batch<'a> {
    source: &'a str,
    budget: &'a MetadataBudget<'a>,
    staged: Vec<(StagedArchive, Release)>,
    rows: Vec<OutcomeRow>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(source: &'a str, rows: Vec<OutcomeRow>, budget: &'a MetadataBudget<'a>) -> Self {
        Self { source, budget, staged: Vec::new(), rows }
    }

    pub(super) fn add_row(&mut self, tag: &str, package: String, outcome: Outcome) {
        self.rows.push(OutcomeRow { source: self.source.to_owned(), tag: tag.to_owned(), package, outcome });
    }

    /// Adds the result of building one version; `None` is one that is published with the same bytes.
    pub(super) fn add(
        &mut self,
        tag: &str,
        package: String,
        result: anyhow::Result<Option<(StagedArchive, Release)>>,
    ) {
        let outcome = match result {
            Ok(Some((archive, release))) => match self.claim_metadata(&archive, &release) {
                Ok(()) => {
                    self.staged.push((archive, release));
                    Outcome::Published
                }
                Err(error) => Outcome::failed(&error),
            },
            Ok(None) => Outcome::AlreadyPublished,
            Err(error) => Outcome::failed(&error),
        };
        self.add_row(tag, package, outcome);
    }

    fn claim_metadata(&self, archive: &StagedArchive, release: &Release) -> anyhow::Result<()> {
        let size = read_manifests::manifest_size(archive.path()).context("failed to read the new archive")?;
        self.budget.claim(&release.name, size)
    }

    /// Publishes the archives; returns all rows and the number of new versions.
    pub(super) fn publish(mut self, ctx: &CycleContext<'_>) -> anyhow::Result<(Vec<OutcomeRow>, usize)> {
        let published = self.staged.len();
        if published > 0 {
            file_names::separate(&mut self.staged);
            ctx.store.publish(self.staged)?;
        }
        Ok((self.rows, published))
    }
}
