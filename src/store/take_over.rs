//! What a builder takes over from another one of the same mirror, which was first to publish: lines of the ledger, records and
//! the snapshot. Lines of its own follow those.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;

use anyhow::{Context as _, ensure};
use bytes::Bytes;

use super::commit::SnapshotContents;
use super::durable_fs;
use super::repository::RepositoryStore;
use super::snapshot::{Snapshot, SnapshotCache, SnapshotManifest};
use super::staging;
use super::volume_marker::Entry;
use super::{divergences, import_marks, withdrawals};
use crate::ledger::{Ledger, Release};
use crate::util::digest::Sha256;

/// Gives the bytes with this digest.
type Contents<'a> = dyn Fn(Sha256) -> Option<Bytes> + 'a;

impl RepositoryStore {
    /// Replaces the ledger by the text of the `published` one, which has the first `common` lines of the own one, followed by
    /// lines of the own releases that it lacks.
    ///
    /// Snapshots of the lines that go are removed before: an interruption leaves a ledger that continues an older snapshot.
    pub fn rebase(&self, common: u64, published: &[u8], kept: Vec<Release>) -> anyhow::Result<()> {
        let (mut ledger, whole) = Ledger::parse(published)?;
        ensure!(
            whole == published.len() && ledger.head_at(common) == self.ledger(|own| own.head_at(common)),
            "the published ledger does not begin as the one in `{}`",
            self.root().display()
        );
        let entries = ledger.prepare(kept)?;
        let text = [published, &entries.lines].concat();
        ledger.append(entries);
        self.poison_on_error(self.remove_snapshots_of_more(common))?;
        self.poison_on_error(self.replace_ledger(&text))
    }

    fn remove_snapshots_of_more(&self, lines: u64) -> anyhow::Result<()> {
        for number in self.snapshot_numbers()?.into_iter().rev() {
            if self.load(number).is_ok_and(|snapshot| snapshot.manifest.releases <= lines) {
                continue;
            }
            let (folder, temporary) =
                (self.snapshot_folder(number), self.staging_path(&format!("overtaken-{number}"))?);
            fs::rename(&folder, &temporary)
                .with_context(|| format!("failed to move `{}`", folder.display()))?;
            durable_fs::sync_directory(&self.root().join("snapshots"))?;
            staging::remove(&temporary)?;
        }
        *self.snapshots.lock() = SnapshotCache::default();
        Ok(())
    }

    fn replace_ledger(&self, text: &[u8]) -> anyhow::Result<()> {
        let temporary = self.staging_path("ledger.jsonl")?;
        let _ = fs::remove_file(&temporary);
        let mut file = durable_fs::HashingFile::create(&temporary)?;
        file.write_all(text).with_context(|| format!("failed to write `{}`", temporary.display()))?;
        file.finish()?;
        durable_fs::replace(&temporary, &self.root().join("ledger.jsonl"))?;
        self.reload_ledger()
    }

    /// Takes over the records of another builder by their names: `published` gives their texts. Own lines that they lack follow.
    pub fn take_over_records(&self, published: &dyn Fn(&str) -> Option<Bytes>) -> anyhow::Result<()> {
        if let Some(text) = published(withdrawals::FILE) {
            self.replace_withdrawals(&self.merged(withdrawals::FILE, &text)?)?;
        }
        if let Some(text) = published(divergences::FILE) {
            self.replace_record(divergences::FILE, &self.merged(divergences::FILE, &text)?)?;
        }
        // Marks are removed, too, and have numbers of lines: they are those of the lines that are published.
        published(import_marks::FILE).map_or(Ok(()), |text| self.replace_record(import_marks::FILE, &text))
    }

    /// The lines of a record, followed by those that only the own one has.
    fn merged(&self, name: &str, published: &[u8]) -> anyhow::Result<Vec<u8>> {
        let own = durable_fs::read_existing(&self.root().join(name))?.unwrap_or_default();
        let known: BTreeSet<_> = published.split_inclusive(|byte| *byte == b'\n').collect();
        let lacking = own.split_inclusive(|byte| *byte == b'\n').filter(|line| !known.contains(line));
        Ok(std::iter::once(published).chain(lacking).collect::<Vec<_>>().concat())
    }

    fn replace_record(&self, name: &str, text: &[u8]) -> anyhow::Result<()> {
        match durable_fs::read_existing(&self.root().join(name))? {
            Some(known) if known == text => Ok(()),
            _ => self.replace_file(name, text),
        }
    }

    fn replace_withdrawals(&self, text: &[u8]) -> anyhow::Result<()> {
        if durable_fs::read_existing(&self.root().join(withdrawals::FILE))?.is_none() {
            self.replace_file(withdrawals::FILE, b"")?;
        }
        self.register(Entry::Withdrawals)?;
        self.replace_record(withdrawals::FILE, text)?;
        *self.withdrawals.lock() = withdrawals::read(self.root())?;
        Ok(())
    }

    /// Publishes the snapshot of another builder with its dates and, if all numbers here were lower, its number: a server knows a
    /// snapshot by that. `highest` is the highest one so far; `contents` has its files.
    pub fn adopt_snapshot(
        &self,
        mut manifest: SnapshotManifest,
        highest: u64,
        contents: &Contents<'_>,
    ) -> anyhow::Result<Snapshot> {
        let previous = self.latest_snapshot()?;
        manifest.number = manifest.number.max(highest + 1);
        let get = |sha256: Sha256| {
            contents(sha256).with_context(|| format!("the published state lacks its content {sha256}"))
        };
        let mut files = BTreeMap::new();
        for (path, file) in &manifest.files {
            files.insert(path.clone(), Some(get(file.sha256)?.to_vec()));
        }
        let report = manifest.report.map_or_else(|| Ok(Bytes::new()), get)?;
        let render_cache = manifest.render_cache.and_then(contents).map(|bytes| bytes.to_vec());
        if render_cache.is_none() {
            manifest.render_cache = None;
        }
        let base_url = manifest.base_url.clone();
        let contents = SnapshotContents {
            base_url: &base_url,
            files,
            report: &report,
            render_cache,
            releases: manifest.releases,
            rollback_to: manifest.rollback_to,
            rollback_ended: manifest.rollback_ended,
            expired: manifest.expired.clone(),
        };
        self.ensure_writable()?;
        self.poison_on_error(self.write_and_switch(previous.as_ref(), &contents, manifest))
    }
}
