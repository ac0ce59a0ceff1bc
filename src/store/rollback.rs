//! Bringing back what an earlier snapshot published: a new snapshot with the older content.
//!
//! Only metadata goes back. Archives, ledger and what clients may still ask for stay, and cycles build on, but publish
//! no metadata until the rollback is ended; else the next one would undo it.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};

use super::RepositoryStore;
use super::commit::SnapshotContents;
use super::snapshot::Snapshot;

impl RepositoryStore {
    /// Publishes the content of snapshot `to`, or of the one before the current content, and holds it.
    ///
    /// # Errors
    /// No such snapshot, one that is damaged or of another URL, and errors of the file system.
    pub fn roll_back(&self, to: Option<u64>) -> anyhow::Result<Snapshot> {
        let current = self.current()?;
        let content = current.manifest.rollback_to.unwrap_or(current.manifest.number);
        let numbers = self.snapshot_numbers()?;
        let to = match to {
            Some(number) if numbers.contains(&number) => number,
            Some(number) => bail!("there is no snapshot {number}\nhint: there are {numbers:?}"),
            None => numbers
                .iter()
                .rev()
                .copied()
                .find(|number| *number < content)
                .with_context(|| {
                    format!("there is no snapshot before {content}\nhint: there are {numbers:?}")
                })?,
        };
        let target = self.load(to)?;
        target.check_files()?;
        ensure!(
            target.manifest.base_url == current.manifest.base_url,
            "snapshot {to} was made for `{}`, and the mirror is at `{}`",
            target.manifest.base_url,
            current.manifest.base_url
        );
        self.publish_again(&current, &target, Some(to))
    }

    /// Ends a rollback: the next cycle publishes what there is. Answers `None` if there was none.
    ///
    /// # Errors
    /// Of the file system.
    pub fn end_rollback(&self) -> anyhow::Result<Option<Snapshot>> {
        let current = self.current()?;
        match current.manifest.rollback_to {
            None => Ok(None),
            Some(_) => self.publish_again(&current, &current, None).map(Some),
        }
    }

    fn current(&self) -> anyhow::Result<Snapshot> {
        self.latest_snapshot()?
            .with_context(|| format!("nothing is published in `{}`", self.root().display()))
    }

    fn publish_again(
        &self,
        current: &Snapshot,
        target: &Snapshot,
        rollback_to: Option<u64>,
    ) -> anyhow::Result<Snapshot> {
        let mut files = BTreeMap::new();
        for path in target.manifest.files.keys() {
            let bytes = match target.read(path) {
                Ok(bytes) => Some(bytes),
                // What is damaged there stays so until a cycle makes it anew, which a rollback would keep from being.
                Err(error) if rollback_to.is_none() => {
                    tracing::warn!("{error:#}");
                    None
                }
                Err(error) => return Err(error),
            };
            files.insert(path.clone(), bytes);
        }
        // What a packages.json that is out there names keeps answering.
        let includes = current.manifest.files.keys();
        for path in includes.filter(|path| path.starts_with("include/")) {
            if !files.contains_key(path) && current.read(path).is_ok() {
                files.insert(path.clone(), None);
            }
        }
        let contents = SnapshotContents {
            base_url: &current.manifest.base_url,
            files,
            report: &target.report().unwrap_or_default(),
            render_cache: None,
            releases: current.manifest.releases,
            rollback_to,
            expired: target.manifest.expired.clone(),
        };
        self.commit_snapshot(Some(current), &contents)?
            .context("the content is published already")
    }
}
