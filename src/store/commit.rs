//! Publishes a snapshot: it is written to the staging folder, with unchanged files hard-linked from the previous one,
//! synced, and renamed to its number, which fails if that number is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;

use super::repository::RepositoryStore;
use super::snapshot::{ExpiredReleases, PublishedFile, Snapshot, SnapshotCache, SnapshotManifest};
use super::{durable_fs, staging};
use crate::ledger::Ledger;
use crate::util::digest::Sha256;

/// The contents of the next snapshot.
pub struct SnapshotContents<'a> {
    pub base_url: &'a str,
    /// Public files by path; `None` for one that is unchanged from the previous snapshot.
    pub files: BTreeMap<String, Option<Vec<u8>>>,
    /// The report of the cycle, stored beside the public files.
    pub report: &'a [u8],
    /// What the next rendering can reuse, stored likewise.
    pub render_cache: Option<Vec<u8>>,
    /// The number of ledger lines that it publishes.
    pub releases: u64,
    pub rollback_to: Option<u64>,
    /// Whether it ends a rollback and keeps its content.
    pub rollback_ended: bool,
    pub expired: ExpiredReleases,
}

impl RepositoryStore {
    /// Publishes a snapshot after `previous`. Returns `None` and writes nothing if nothing would change; on an error
    /// `previous` stays published.
    pub fn commit_snapshot(
        &self,
        previous: Option<&Snapshot>,
        contents: &SnapshotContents<'_>,
    ) -> anyhow::Result<Option<Snapshot>> {
        let manifest = self.manifest(previous, contents)?;
        if let Some(previous) = previous
            && previous.is_intact
            && previous.manifest.files == manifest.files
            && previous.manifest.releases == manifest.releases
            && previous.manifest.rollback_to == manifest.rollback_to
            && previous.manifest.withdrawals == manifest.withdrawals
            && previous.manifest.rollback_ended == manifest.rollback_ended
            && previous.report().is_ok_and(|report| report == contents.report)
        {
            return Ok(None);
        }
        self.ensure_writable()?;
        self.poison_on_error(self.write_and_switch(previous, contents, manifest)).map(Some)
    }

    fn manifest(
        &self,
        previous: Option<&Snapshot>,
        contents: &SnapshotContents<'_>,
    ) -> anyhow::Result<SnapshotManifest> {
        let now = Timestamp::now();
        let highest = self.snapshot_numbers()?.last().copied();
        let mut manifest = SnapshotManifest {
            number: highest.unwrap_or_default() + 1,
            time: now,
            base_url: contents.base_url.to_owned(),
            releases: contents.releases,
            ledger_head: self
                .ledger(|ledger| ledger.head_at(contents.releases))
                .context("the ledger has no such line")?,
            renditions: self.ledger(Ledger::rendition_count),
            ledger_modified: Some(self.ledger_modified(previous, contents.releases)),
            files: BTreeMap::new(),
            report: Some(Sha256::digest(contents.report)),
            render_cache: contents.render_cache.as_deref().map(Sha256::digest),
            rollback_to: contents.rollback_to,
            rollback_ended: contents.rollback_ended,
            expired: contents.expired.clone(),
            withdrawals: self.withdrawals(),
        };
        for (path, bytes) in &contents.files {
            ensure!(is_below(path), "a snapshot cannot have the file `{}`", path.escape_debug());
            let before = previous.and_then(|p| p.manifest.files.get(path).copied());
            let (sha256, size) = match bytes {
                Some(bytes) => (Sha256::digest(bytes), bytes.len() as u64),
                None => before
                    .map(|file| (file.sha256, file.size))
                    .with_context(|| format!("the previous snapshot has no `{path}`"))?,
            };
            let file = published_file((sha256, size), before, now);
            manifest.files.insert(path.clone(), file);
        }
        Ok(manifest)
    }

    /// The date of the ledger's file with `releases` lines: that of the last line, but later whenever the lines differ.
    fn ledger_modified(&self, previous: Option<&Snapshot>, releases: u64) -> i64 {
        let time_at = |releases: u64| self.ledger(|ledger| ledger.time_at(releases));
        let last = time_at(releases).map_or(0, Timestamp::as_second);
        let Some(previous) = previous.map(|p| &p.manifest) else {
            return last;
        };
        let before = previous.ledger_modified;
        let before = before.or_else(|| time_at(previous.releases).map(Timestamp::as_second));
        match before {
            Some(before) if previous.releases == releases => before,
            before => last.max(before.map_or(0, |before| before + 1)),
        }
    }

    pub(super) fn write_and_switch(
        &self,
        previous: Option<&Snapshot>,
        contents: &SnapshotContents<'_>,
        manifest: SnapshotManifest,
    ) -> anyhow::Result<Snapshot> {
        let folder = self.staging_path("snapshot")?;
        self.write_snapshot(&folder, previous, contents, &manifest)?;
        let target = self.snapshot_folder(manifest.number);
        durable_fs::rename_new(&folder, &target).with_context(|| {
            format!("failed to publish `{}`: is another instance writing?", target.display())
        })?;
        durable_fs::sync_directory(&self.root().join("snapshots"))?;
        let number = manifest.number;
        let snapshot = Snapshot { folder: target, manifest: Arc::new(manifest), is_intact: true };
        let mut cache = self.snapshots.lock();
        *cache = SnapshotCache {
            trusted: None,
            highest: number,
            intact: Some(snapshot.clone()),
            readable: Some(snapshot.clone()),
            unread: None,
            ledger_error: None,
        };
        drop(cache);
        // The next cycle retries.
        if let Err(error) = self.point_current(number) {
            tracing::warn!("{error:#}");
        }
        Ok(snapshot)
    }

    fn write_snapshot(
        &self,
        folder: &Path,
        previous: Option<&Snapshot>,
        contents: &SnapshotContents<'_>,
        manifest: &SnapshotManifest,
    ) -> anyhow::Result<()> {
        if folder.exists() {
            staging::remove(folder)?;
        }
        fs::create_dir(folder).with_context(|| format!("failed to create `{}`", folder.display()))?;
        let mut folders = BTreeSet::from([folder.to_owned()]);
        for (path, bytes) in &contents.files {
            let target = folder.join(path);
            if let Some(above) = target.parent().filter(|above| !folders.contains(*above)) {
                fs::create_dir_all(above)
                    .with_context(|| format!("failed to create `{}`", above.display()))?;
                let new = above.ancestors().take_while(|above| *above != folder);
                folders.extend(new.map(Path::to_owned));
            }
            let same = |p: &&Snapshot| {
                let digest = |manifest: &SnapshotManifest| manifest.files.get(path).map(|file| file.sha256);
                digest(&p.manifest) == digest(manifest)
            };
            // A file without bytes is linked even from a damaged snapshot.
            let before = previous.filter(|p| p.is_intact || bytes.is_none()).filter(same);
            match (before, bytes) {
                (Some(before), _) => {
                    // The kernel may refuse links to another user's files (`fs.protected_hardlinks`).
                    if let Err(error) = fs::hard_link(before.folder.join(path), &target) {
                        tracing::debug!(%error, path, "copying a file that cannot be linked");
                        durable_fs::write_new(&target, &before.read(path)?)?;
                    }
                }
                (None, Some(bytes)) => {
                    durable_fs::write_new(&target, bytes)?;
                }
                (None, None) => bail!("the previous snapshot has no `{path}`"),
            }
        }
        durable_fs::write_new(&folder.join("report.json"), contents.report)?;
        if let Some(render_cache) = &contents.render_cache {
            durable_fs::write_new(&folder.join("made.json"), render_cache)?;
        }
        durable_fs::write_new(&folder.join("manifest.json"), &serde_json::to_vec_pretty(manifest)?)?;
        // Lets another web server serve `current/` directly.
        std::os::unix::fs::symlink("../../packages", folder.join("packages"))
            .with_context(|| format!("failed to link `packages` into `{}`", folder.display()))?;
        folders.iter().rev().try_for_each(|folder| durable_fs::sync_directory(folder))
    }

    /// Points `current` at a snapshot, for other web servers; this program does not read it.
    pub(super) fn point_current(&self, number: u64) -> anyhow::Result<()> {
        let (link, target) = (self.root().join("current"), format!("snapshots/{number}"));
        if fs::read_link(&link).is_ok_and(|existing| existing == Path::new(&target)) {
            return Ok(());
        }
        let temporary = self.staging_path("current")?;
        std::os::unix::fs::symlink(target, &temporary)
            .and_then(|()| fs::rename(&temporary, &link))
            .with_context(|| format!("failed to point `{}` at snapshot {number}", link.display()))
    }
}

/// Whether a path stays in the folder that it is relative to.
fn is_below(path: &str) -> bool {
    path.split('/').all(|name| !matches!(name, "" | "." | ".."))
}

/// The manifest's entry for a file: its date stays while its bytes do, and otherwise moves forward.
fn published_file(
    (sha256, size): (Sha256, u64),
    before: Option<PublishedFile>,
    now: Timestamp,
) -> PublishedFile {
    match before {
        Some(before) if before.sha256 == sha256 => before,
        before => PublishedFile {
            sha256,
            size,
            last_modified: before.map_or(0, |b| b.last_modified + 1).max(now.as_second()),
        },
    }
}
