//! Publishing a snapshot: it is written aside, with the files that did not change hard-linked from the one before, synced, and
//! renamed to its number, which fails when that number is taken.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::PoisonError;

use anyhow::{Context as _, bail};
use jiff::Timestamp;

use super::expire::Expiry;
use super::snapshot::{Manifest, PublishedFile, Snapshot};
use super::{Repository, files};
use crate::digest::Sha256;

/// The contents of the next snapshot.
pub struct Contents<'a> {
    pub base_url: &'a str,
    /// Public files by path; `None` where one is as in the snapshot before.
    pub files: BTreeMap<String, Option<Vec<u8>>>,
    /// The report of the cycle, kept beside the public files.
    pub report: &'a [u8],
    /// How they were made, kept likewise.
    pub made: Option<Vec<u8>>,
    /// How many lines of the ledger it publishes.
    pub releases: u64,
    pub rollback_to: Option<u64>,
    pub expired: Expiry,
}

impl Repository {
    /// Publishes a snapshot after `previous`; answers `None`, and writes nothing, if nothing would change.
    ///
    /// # Errors
    /// Another writer has taken the number, and errors of the file system: `previous` then stays published.
    pub fn commit_snapshot(
        &self,
        previous: Option<&Snapshot>,
        contents: &Contents<'_>,
    ) -> anyhow::Result<Option<Snapshot>> {
        let manifest = self.describe(previous, contents)?;
        if let Some(previous) = previous
            && previous.manifest.files == manifest.files
            && previous.manifest.releases == manifest.releases
            && previous.manifest.rollback_to == manifest.rollback_to
            && fs::read(previous.folder.join("report.json")).is_ok_and(|report| report == contents.report)
        {
            return Ok(None);
        }
        self.ensure_sound()?;
        self.watched(self.write_and_switch(previous, contents, manifest))
            .map(Some)
    }

    fn describe(&self, previous: Option<&Snapshot>, contents: &Contents<'_>) -> anyhow::Result<Manifest> {
        let now = Timestamp::now();
        let highest = self.snapshot_numbers()?.last().copied();
        // A damaged snapshot may have been served: its dates count too.
        let passed_over = highest
            .filter(|n| previous.is_none_or(|p| *n > p.manifest.number))
            .and_then(|number| self.load(number).ok());
        let mut manifest = Manifest {
            number: highest.unwrap_or_default() + 1,
            time: now,
            base_url: contents.base_url.to_owned(),
            releases: contents.releases,
            ledger_head: self
                .ledger(|ledger| ledger.head_at(contents.releases))
                .context("the ledger has no such line")?,
            files: BTreeMap::new(),
            report: Some(Sha256::of(contents.report)),
            made: contents.made.as_deref().map(Sha256::of),
            rollback_to: contents.rollback_to,
            expired: contents.expired.clone(),
        };
        for (path, bytes) in &contents.files {
            let of = |snapshot: Option<&Snapshot>| snapshot.and_then(|s| s.manifest.files.get(path).copied());
            let (before, other) = (of(previous), of(passed_over.as_ref()));
            let (sha256, size) = match bytes {
                Some(bytes) => (Sha256::of(bytes), bytes.len() as u64),
                None => before
                    .map(|file| (file.sha256, file.size))
                    .with_context(|| format!("the snapshot before has no `{path}`"))?,
            };
            let file = describe((sha256, size), before, other.map(|f| f.last_modified), now);
            manifest.files.insert(path.clone(), file);
        }
        Ok(manifest)
    }

    fn write_and_switch(
        &self,
        previous: Option<&Snapshot>,
        contents: &Contents<'_>,
        manifest: Manifest,
    ) -> anyhow::Result<Snapshot> {
        let folder = self.aside("snapshot")?;
        self.write_aside(&folder, previous, contents, &manifest)?;
        let target = self.snapshot_folder(manifest.number);
        files::rename_new(&folder, &target).with_context(|| {
            format!(
                "failed to publish `{}`: is another instance writing?",
                target.display()
            )
        })?;
        files::sync_directory(&self.root().join("snapshots"))?;
        let number = manifest.number;
        let snapshot = Snapshot {
            folder: target,
            manifest,
        };
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = Some((number, Some(snapshot.clone())));
        drop(newest);
        if let Err(error) = self.point_current(number) {
            tracing::warn!("{error:#}");
        }
        Ok(snapshot)
    }

    fn write_aside(
        &self,
        folder: &Path,
        previous: Option<&Snapshot>,
        contents: &Contents<'_>,
        manifest: &Manifest,
    ) -> anyhow::Result<()> {
        if folder.exists() {
            super::staging::remove(folder)?;
        }
        fs::create_dir(folder).with_context(|| format!("failed to create `{}`", folder.display()))?;
        let mut folders = std::collections::BTreeSet::from([folder.to_owned()]);
        for (path, bytes) in &contents.files {
            let target = folder.join(path);
            if let Some(above) = target.parent().filter(|above| !folders.contains(*above)) {
                fs::create_dir_all(above)
                    .with_context(|| format!("failed to create `{}`", above.display()))?;
                let new = above.ancestors().take_while(|above| *above != folder);
                folders.extend(new.map(Path::to_owned));
            }
            let same = |p: &&Snapshot| {
                let of = |manifest: &Manifest| manifest.files.get(path).map(|file| file.sha256);
                of(&p.manifest) == of(manifest)
            };
            let before = previous.filter(same);
            match (before, bytes) {
                (Some(before), _) => fs::hard_link(before.folder.join(path), &target)
                    .with_context(|| format!("failed to link `{}`", target.display()))?,
                (None, Some(bytes)) => {
                    files::write_new(&target, bytes)?;
                }
                (None, None) => bail!("the snapshot before has no `{path}`"),
            }
        }
        files::write_new(&folder.join("report.json"), contents.report)?;
        if let Some(made) = &contents.made {
            files::write_new(&folder.join("made.json"), made)?;
        }
        files::write_new(
            &folder.join("manifest.json"),
            &serde_json::to_vec_pretty(manifest)?,
        )?;
        // So that another web server can serve `current/` as it is.
        std::os::unix::fs::symlink("../../packages", folder.join("packages"))
            .with_context(|| format!("failed to link `packages` into `{}`", folder.display()))?;
        folders
            .iter()
            .rev()
            .try_for_each(|folder| files::sync_directory(folder))
    }

    /// Points `current` at a snapshot: a convenience, which nothing here reads.
    fn point_current(&self, number: u64) -> anyhow::Result<()> {
        let (link, aside) = (self.root().join("current"), self.aside("current")?);
        std::os::unix::fs::symlink(format!("snapshots/{number}"), &aside)
            .and_then(|()| fs::rename(&aside, &link))
            .with_context(|| format!("failed to point `{}` at snapshot {number}", link.display()))
    }
}

/// What is said of a file: its date stays for as long as its bytes do, and else goes forward, also past `other`.
fn describe(
    (sha256, size): (Sha256, u64),
    before: Option<PublishedFile>,
    other: Option<i64>,
    now: Timestamp,
) -> PublishedFile {
    match before {
        Some(before) if before.sha256 == sha256 && other.is_none_or(|date| date <= before.last_modified) => {
            before
        }
        before => {
            let last = before.map(|b| b.last_modified).max(other);
            PublishedFile {
                sha256,
                size,
                last_modified: last.map_or(0, |date| date + 1).max(now.as_second()),
            }
        }
    }
}
