//! Absent releases: lines of the ledger whose archives never were here, because only a part of a mirror was imported.
//!
//! `absent.json` has their numbers. It is written before the lines are, so that no cycle takes them for damaged, and again when
//! some of them have come: a release with an archive is never absent. Without the file, they count as missing.

use std::collections::BTreeSet;

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
        let mut absent = self.absent_releases()?;
        self.ledger(|ledger| {
            absent.retain(|number| ledger.release(*number).is_none_or(|release| !self.has_archive(release)));
        });
        self.record_absent(&absent)
    }

    /// The absent releases of the ledger as a snapshot has them.
    pub fn absent_entries(&self) -> anyhow::Result<ExpiredReleases> {
        let absent = self.absent_releases()?;
        Ok(self.ledger(|ledger| {
            let releases = absent.iter().filter_map(|number| ledger.release(*number));
            let absent = releases.filter(|release| !self.has_archive(release));
            let entry = |since| ExpiredRelease { since, withdrawn: true, absent: true };
            absent.map(|release| (release.number, entry(release.time))).collect()
        }))
    }

    fn has_archive(&self, release: &Release) -> bool {
        std::fs::metadata(self.archive(release)).is_ok_and(|file| file.len() == release.size)
    }
}
