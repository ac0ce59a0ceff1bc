//! Absent releases: lines of the ledger whose archives never were here, because only a part of a mirror was imported.
//!
//! `absent.json` has their numbers. It is written before the lines are, so that no cycle takes them for damaged, and again when
//! some of them have come: a release with an archive is never absent. Without the file, they count as missing.

use std::collections::BTreeSet;
use std::io;

use anyhow::Context as _;

use super::durable_fs;
use super::repository::RepositoryStore;
use super::snapshot::{ExpiredRelease, ExpiredReleases};
use crate::ledger::Release;

/// The name of the file in a repository's folder.
const FILE: &str = "absent.json";

impl RepositoryStore {
    /// The numbers of the absent releases.
    pub fn absent_releases(&self) -> anyhow::Result<BTreeSet<u64>> {
        let path = self.root().join(FILE);
        let Some(text) = durable_fs::read_existing(&path)? else {
            return Ok(BTreeSet::new());
        };
        serde_json::from_slice(&text).with_context(|| {
            format!("`{}` is damaged\nhint: restore it from a backup; nothing was changed", path.display())
        })
    }

    /// Replaces the numbers of the absent releases.
    pub fn record_absent(&self, absent: &BTreeSet<u64>) -> anyhow::Result<()> {
        if *absent == self.absent_releases()? {
            return Ok(());
        }
        self.replace_file(FILE, &serde_json::to_vec(absent)?)
    }

    /// Forgets the absent releases whose archives have come.
    pub fn forget_present(&self) -> anyhow::Result<()> {
        let mut absent = BTreeSet::new();
        for number in self.absent_releases()? {
            let release = self.ledger(|ledger| ledger.release(number).cloned());
            if !release.map_or(Ok(false), |release| self.has_archive(&release))? {
                absent.insert(number);
            }
        }
        self.record_absent(&absent)
    }

    /// The absent releases of the ledger as a snapshot has them.
    pub fn absent_entries(&self) -> anyhow::Result<ExpiredReleases> {
        let mut entries = ExpiredReleases::new();
        for number in self.absent_releases()? {
            let Some(release) = self.ledger(|ledger| ledger.release(number).cloned()) else { continue };
            if !self.has_archive(&release)? {
                let entry = ExpiredRelease { since: release.time, withdrawn: true, absent: true };
                entries.insert(number, entry);
            }
        }
        Ok(entries)
    }

    fn has_archive(&self, release: &Release) -> anyhow::Result<bool> {
        let path = self.archive(release);
        match std::fs::metadata(&path) {
            Ok(file) => Ok(file.len() == release.size),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => {
                Err(error).with_context(|| format!("failed to read the metadata of `{}`", path.display()))
            }
        }
    }
}
