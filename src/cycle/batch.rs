//! Collects what one source stages and reports, then publishes it in one step.

use super::context::CycleContext;
use super::file_names;
use super::metadata_budget::MetadataBudget;
use crate::ledger::Release;
use crate::package::plan::{Notice, Outcome, OutcomeRow};
use crate::store::StagedArchive;

/// The staged archives of one source, and a row for each (ref, package) that was looked at.
pub(super) struct Batch<'a> {
    source: &'a str,
    budget: &'a MetadataBudget<'a>,
    staged: Vec<(StagedArchive, Release)>,
    rows: Vec<OutcomeRow>,
    notices: Vec<Notice>,
}

/// What became of a batch.
#[derive(Default)]
pub(super) struct Published {
    pub(super) rows: Vec<OutcomeRow>,
    pub(super) notices: Vec<Notice>,
    /// The number of new versions.
    pub(super) count: usize,
}

impl<'a> Batch<'a> {
    pub(super) fn new(source: &'a str, rows: Vec<OutcomeRow>, budget: &'a MetadataBudget<'a>) -> Self {
        Self { source, budget, staged: Vec::new(), rows, notices: Vec::new() }
    }

    pub(super) fn add_row(&mut self, tag: &str, package: String, outcome: Outcome) {
        self.rows.push(OutcomeRow { source: self.source.to_owned(), tag: tag.to_owned(), package, outcome });
    }

    pub(super) fn add_notices(&mut self, notices: impl IntoIterator<Item = Notice>) {
        self.notices.extend(notices);
    }

    /// Adds the result of building one version; `None` is one that is published with the same bytes.
    pub(super) fn add(
        &mut self,
        tag: &str,
        package: String,
        result: anyhow::Result<Option<(StagedArchive, Release)>>,
    ) {
        let outcome = match result {
            Ok(Some((archive, release))) => match self.check(&archive, &release) {
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

    fn check(&self, archive: &StagedArchive, release: &Release) -> anyhow::Result<()> {
        file_names::check(release)?;
        self.budget.claim(archive, release)
    }

    /// Publishes the archives.
    pub(super) fn publish(mut self, ctx: &CycleContext<'_>) -> anyhow::Result<Published> {
        let count = self.staged.len();
        if count > 0 {
            file_names::separate(&mut self.staged);
            ctx.store.publish(self.staged)?;
        }
        Ok(Published { rows: self.rows, notices: self.notices, count })
    }
}
