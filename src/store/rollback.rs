//! Rollback: a new snapshot with the content of an earlier one.
//!
//! Only metadata is rolled back. Archives, the ledger and files that clients may still request stay. Cycles continue to
//! build, but publish no metadata until the rollback is ended; otherwise the next one would undo it. A version that was
//! withdrawn since stays withdrawn.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};

use super::commit::SnapshotContents;
use super::repository::RepositoryStore;
use super::snapshot::Snapshot;
use super::withdrawals::Withdrawal;

const UNCHANGED: &str = "this content is already published";

impl RepositoryStore {
    /// Publishes the content of snapshot `to`, by default the one before the current content, and holds it.
    /// `render` renders the content of the second snapshot, to follow the first, without the versions that were withdrawn since.
    /// `tell` returns path and bytes of what followers are told of it.
    pub fn roll_back(
        &self,
        to: Option<u64>,
        render: impl FnOnce(&Snapshot, &Snapshot) -> anyhow::Result<Option<Snapshot>>,
        tell: impl FnOnce(&Snapshot, &Snapshot) -> anyhow::Result<(&'static str, Vec<u8>)>,
    ) -> anyhow::Result<Snapshot> {
        let current = self.current()?;
        let content = current.manifest.rollback_to.unwrap_or(current.manifest.number);
        let numbers = self.snapshot_numbers()?;
        let to = match to {
            Some(number) if numbers.contains(&number) => number,
            Some(number) => bail!("there is no snapshot {number}\nhint: existing snapshots: {numbers:?}; `mirror rollback --list` describes them"),
            None => numbers.iter().rev().copied().find(|number| *number < content).with_context(|| {
                format!("there is no snapshot before {content}\nhint: existing snapshots: {numbers:?}; `mirror rollback --list` describes them")
            })?,
        };
        let target = self.load(to)?;
        target.check_files()?;
        ensure!(
            target.manifest.base_url == current.manifest.base_url,
            "snapshot {to} was published at `{}`, but the mirror is at `{}`",
            target.manifest.base_url,
            current.manifest.base_url
        );
        let knows = |withdrawal: &Withdrawal| target.manifest.withdrawals.contains(withdrawal);
        match self.withdrawals().iter().all(knows) {
            true => self.publish_again(&current, &target, Some(to), Some(tell(&current, &target)?)),
            false => render(&current, &target)?.context(UNCHANGED),
        }
    }

    /// Ends a rollback: the next cycle publishes current metadata again. Returns `None` if there was none.
    pub fn end_rollback(&self) -> anyhow::Result<Option<Snapshot>> {
        let current = self.current()?;
        match current.manifest.rollback_to {
            None => Ok(None),
            Some(_) => self.publish_again(&current, &current, None, None).map(Some),
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
        told: Option<(&str, Vec<u8>)>,
    ) -> anyhow::Result<Snapshot> {
        let mut files = BTreeMap::new();
        for path in target.manifest.files.keys() {
            let bytes = match target.read(path) {
                Ok(bytes) => Some(bytes),
                // A damaged file is repaired by the next cycle, but not during a rollback.
                Err(error) if rollback_to.is_none() => {
                    tracing::warn!("{error:#}");
                    None
                }
                Err(error) => return Err(error),
            };
            files.insert(path.clone(), bytes);
        }
        // Clients may still request the files that a recent packages.json names.
        let includes = current.manifest.files.keys();
        for path in includes.filter(|path| path.starts_with("include/")) {
            if !files.contains_key(path) && current.read_intact(path)?.is_some() {
                files.insert(path.clone(), None);
            }
        }
        files.extend(told.map(|(path, bytes)| (path.to_owned(), Some(bytes))));
        let contents = SnapshotContents {
            base_url: &current.manifest.base_url,
            files,
            report: &target.report().unwrap_or_default(),
            render_cache: None,
            releases: current.manifest.releases,
            rollback_to,
            rollback_ended: rollback_to.is_none(),
            expired: target.manifest.expired.clone(),
        };
        self.commit_snapshot(Some(current), &contents)?.context(UNCHANGED)
    }
}
