//! What a repository copies from another mirror: the lines of its ledger as they are, and beside them `bound.jsonl`, the
//! renditions of bound packages for the own base URL (see `ledger::renditions`).
//!
//! Both are written as the ledger is: copied with the new lines, synced, renamed. A program that does not know `bound.jsonl`
//! would not serve what the metadata names, so the first rendition raises the format of the volume (`volume_marker`).

use std::path::Path;

use anyhow::{anyhow, ensure};

use super::durable_fs;
use super::repository::{RepositoryStore, StagedArchive};
use super::volume_marker::Entry;
use crate::ledger::{Ledger, Release};

/// The name of the file in a repository's folder.
pub(super) const RENDITIONS: &str = "bound.jsonl";

/// Adds the renditions in a repository's folder to its ledger; there may be none.
pub(super) fn read_renditions(root: &Path, ledger: &mut Ledger) -> anyhow::Result<()> {
    let path = root.join(RENDITIONS);
    let text = durable_fs::read_existing(&path)?.unwrap_or_default();
    ledger.add_renditions(&text).map(drop).map_err(|error| {
        anyhow!(
            "`{}` is damaged: {error}\nhint: restore the file from a backup; nothing was changed",
            path.display()
        )
    })
}

impl RepositoryStore {
    /// Publishes archives with the next lines of the followed ledger, as they are: links the archives into place, then appends
    /// the lines. A line may have no archive here, if the version was withdrawn or has expired.
    pub fn publish_lines(&self, archives: &[(StagedArchive, Release)], lines: &[u8]) -> anyhow::Result<()> {
        self.ensure_writable()?;
        self.poison_on_error(self.link(archives))?;
        self.poison_on_error(self.append_lines(lines))?;
        for (staged, _) in archives {
            self.discard(staged)?;
        }
        self.register(Entry::Ledger)
    }

    fn append_lines(&self, lines: &[u8]) -> anyhow::Result<()> {
        let temporary = self.staging_path("ledger.jsonl")?;
        let mut known = self.ledger.lock();
        let mut next = known.ledger.clone();
        next.add_lines(lines)?;
        self.write_ledger(&mut known, &temporary, lines)?;
        known.ledger = next;
        Ok(())
    }

    /// Publishes renditions, each with the number of the release that it was rendered from.
    pub fn publish_renditions(&self, batch: Vec<(StagedArchive, Release)>) -> anyhow::Result<()> {
        self.ensure_writable()?;
        self.poison_on_error(self.link(&batch))?;
        let (staged, releases): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        self.poison_on_error(self.append_renditions(&releases))?;
        staged.iter().try_for_each(|staged| self.discard(staged))
    }

    fn append_renditions(&self, releases: &[Release]) -> anyhow::Result<()> {
        let path = self.root().join(RENDITIONS);
        let temporary = self.staging_path(RENDITIONS)?;
        let mut known = self.ledger.lock();
        let known_text = durable_fs::read_existing(&path)?;
        if known_text.is_none() {
            durable_fs::replace_with(&temporary, &path, b"")?;
        }
        // From here on no older program opens the volume, and none opens it without the file.
        self.register(Entry::Renditions)?;
        let mut text = known_text.unwrap_or_default();
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        text.truncate(whole);
        text.extend(known.ledger.rendition_lines(releases)?);
        // Parsed anew, so that nothing is written that cannot be read.
        let (mut next, count) = (known.ledger.clone(), known.ledger.rendition_count());
        next.clear_renditions();
        let read = next.add_renditions(&text)?;
        ensure!(
            read == text.len() && next.rendition_count() == count + releases.len() as u64,
            "`{}` has changed since this cycle began\nhint: make sure that only one instance builds on this volume",
            path.display()
        );
        durable_fs::replace_with(&temporary, &path, &text)?;
        known.ledger = next;
        Ok(())
    }
}
