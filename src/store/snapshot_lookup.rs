//! Finds the snapshots on the volume: the one to serve, and the one to build on.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::durable_fs;
use super::foreign_lines;
use super::repository::RepositoryStore;
use super::snapshot::{Snapshot, SnapshotCache, SnapshotManifest, Unread, is_read_error};
use crate::ledger::Ledger;

/// The pause before what could not be used is read again.
const RETRY: Duration = Duration::from_secs(5);

impl RepositoryStore {
    /// The snapshot to serve: the highest that is intact and follows from the ledger; if none is intact, the highest that
    /// can be read, without its damaged files. Snapshots that a rollback has withdrawn are skipped.
    pub fn newest_snapshot(&self) -> anyhow::Result<Option<Snapshot>> {
        let cache = self.search_snapshots()?;
        Ok(cache.intact.or(cache.readable))
    }

    /// The snapshot to build on: the highest whose manifest is valid, even if some of its files are damaged.
    ///
    /// # Errors
    /// A higher one could not be read: what is built on an older one would lack what it says.
    pub fn latest_snapshot(&self) -> anyhow::Result<Option<Snapshot>> {
        let found = self.search_snapshots()?;
        let lowest = found.readable.as_ref().map_or(0, |snapshot| snapshot.manifest.number);
        match found.unread.and_then(|unread| unread.manifest) {
            Some((number, reason)) if number > lowest => bail!("{reason}"),
            _ => Ok(found.readable),
        }
    }

    /// The snapshot, whose files are compared now if another process has said that they are intact: the next snapshot shares
    /// them.
    pub fn checked(&self, snapshot: &Snapshot) -> Snapshot {
        let trusted = self.snapshots.lock().trusted;
        let is_known = trusted != Some(snapshot.manifest.number);
        let is_intact = if is_known { snapshot.is_intact } else { snapshot.check_public().is_ok() };
        Snapshot { is_intact, ..snapshot.clone() }
    }

    /// Searches the snapshots, unless there is none with a higher number than in the last search.
    fn search_snapshots(&self) -> anyhow::Result<SnapshotCache> {
        let numbers = self.snapshot_numbers()?;
        let Some(highest) = numbers.last().copied() else {
            return Ok(SnapshotCache::default());
        };
        let mut known = self.snapshots.lock();
        if let Some((at, reason)) = &known.ledger_error
            && at.elapsed() < RETRY
        {
            bail!(UnusableLedger(reason.clone()));
        }
        let is_read = known.unread.as_ref().is_none_or(|unread| unread.at.elapsed() < RETRY);
        if known.ledger_error.is_none() && known.highest == highest && is_read {
            return Ok(known.clone());
        }
        let trusted = known.trusted;
        let mut found = SnapshotCache { trusted, highest, ..SnapshotCache::default() };
        for number in numbers.into_iter().rev() {
            let rolled_back_to = found.readable.as_ref().and_then(|s| s.manifest.rollback_to);
            if rolled_back_to.is_some_and(|to| number > to) {
                continue;
            }
            let read = self.load(number).and_then(|snapshot| {
                self.check_ledger(&snapshot)?;
                Ok(snapshot)
            });
            let is_unread = read.as_ref().is_err_and(is_read_error);
            let checked = read.and_then(|mut snapshot| {
                let checked = match trusted == Some(number) {
                    true => Ok(()),
                    false => snapshot.check_public(),
                };
                snapshot.is_intact = checked.is_ok();
                found.readable.get_or_insert_with(|| snapshot.clone());
                checked.map(|()| snapshot)
            });
            match checked {
                Ok(snapshot) => {
                    found.intact = Some(snapshot);
                    break;
                }
                Err(error) if error.is::<UnusableLedger>() => {
                    known.ledger_error = Some((Instant::now(), format!("{error:#}")));
                    return Err(error);
                }
                Err(error) if is_read_error(&error) => {
                    tracing::error!("skipping snapshot {number}, which cannot be read: {error:#}");
                    let unread = found.unread.get_or_insert(Unread { at: Instant::now(), manifest: None });
                    if is_unread {
                        unread.manifest.get_or_insert((number, format!("{error:#}")));
                    }
                }
                Err(error) => tracing::error!("skipping a damaged snapshot: {error:#}"),
            }
        }
        *known = found.clone();
        Ok(found)
    }

    /// The numbers of all snapshots on the volume, ascending.
    pub fn snapshot_numbers(&self) -> anyhow::Result<Vec<u64>> {
        let folder = self.root().join("snapshots");
        let names = match durable_fs::folders(&folder) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(error).with_context(|| format!("failed to list `{}`", folder.display()));
            }
        };
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(super) fn snapshot_folder(&self, number: u64) -> PathBuf {
        self.root().join("snapshots").join(number.to_string())
    }

    /// Reads the manifest of a snapshot, without checking its files.
    pub fn load(&self, number: u64) -> anyhow::Result<Snapshot> {
        let folder = self.snapshot_folder(number);
        let path = folder.join("manifest.json");
        let text = durable_fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let manifest: SnapshotManifest = serde_json::from_slice(&text)
            .with_context(|| format!("`{}` is not the manifest of a snapshot", path.display()))?;
        ensure!(manifest.number == number, "`{}` belongs to snapshot {}", path.display(), manifest.number);
        Ok(Snapshot { folder, manifest: Arc::new(manifest), is_intact: false })
    }

    /// Fails unless the ledger has the lines that a snapshot publishes. Reads the ledger again if it may have grown.
    fn check_ledger(&self, snapshot: &Snapshot) -> anyhow::Result<()> {
        let SnapshotManifest { number, releases, ledger_head, renditions, .. } = *snapshot.manifest;
        // One with other lines was replaced by what another builder has published first.
        let is_old = |ledger: &Ledger| {
            ledger.head_at(releases) != Some(ledger_head) || ledger.rendition_count() < renditions
        };
        if self.ledger(is_old) {
            self.reload_ledger().map_err(|error| UnusableLedger(format!("{error:#}")))?;
        }
        let rendered = self.ledger(Ledger::rendition_count);
        if rendered < renditions {
            bail!(UnusableLedger(format!(
                "`{}` has lost lines: it has {rendered}, and snapshot {number} needs {renditions}{RESTORE_HINT}",
                self.root().join(foreign_lines::RENDITIONS).display()
            )));
        }
        match self.ledger(|ledger| (ledger.len(), ledger.head_at(releases))) {
            (_, Some(head)) if head == ledger_head => Ok(()),
            (_, Some(_)) => bail!(UnusableLedger(format!(
                "line {releases} of `{}` differs from the line that snapshot {number} was built from{RESTORE_HINT}",
                self.root().join("ledger.jsonl").display()
            ))),
            (lines, None) => bail!(UnusableLedger(format!(
                "the ledger `{}` has lost lines: it has {lines}, and snapshot {number} needs {releases}{RESTORE_HINT}",
                self.root().join("ledger.jsonl").display()
            ))),
        }
    }
}

const RESTORE_HINT: &str = "\nhint: restore the ledger from a backup or another mirror; nothing was changed";

/// The ledger cannot be read, or contradicts a snapshot; no cycle may build on either.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UnusableLedger(String);
