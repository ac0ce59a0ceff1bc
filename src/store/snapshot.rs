//! Snapshots: complete published states of a repository's metadata.
//!
//! manifest.json lists the files of a snapshot. `Last-Modified` of a file is part of the state: it moves, strictly forward,
//! exactly when the bytes change.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::durable_fs;
use super::withdrawals::Withdrawal;
use crate::ledger::{Ledger, Release};
use crate::util::digest::Sha256;
use crate::util::threads;

/// A release that the snapshot's metadata does not name: an expired nightly one, or one that is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpiredRelease {
    /// When the first snapshot without it was created, or when an absent one was published.
    pub since: Timestamp,
    /// Its archive is not served.
    pub withdrawn: bool,
    /// It never was here: the repository was imported in part.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
}

/// By the number of the release's line in the ledger.
pub type ExpiredReleases = BTreeMap<u64, ExpiredRelease>;

/// The contents of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotManifest {
    pub number: u64,
    pub time: Timestamp,
    /// The public base URL that the metadata is rendered for.
    pub base_url: String,
    /// The number of ledger lines that it publishes, and the hash of the last one.
    pub releases: u64,
    pub ledger_head: Sha256,
    /// The number of renditions that it may name.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub renditions: u64,
    /// The date of the ledger's file in seconds since 1970; older snapshots have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger_modified: Option<i64>,
    /// The public files by their path below the base URL.
    pub files: BTreeMap<String, PublishedFile>,
    /// The digest of report.json; snapshots of format 1 have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Sha256>,
    /// The digest of made.json, which lets the next snapshot reuse rendered files.
    #[serde(rename = "made", default, skip_serializing_if = "Option::is_none")]
    pub render_cache: Option<Sha256>,
    /// The snapshot that this one rolls back to; cycles publish no metadata until the rollback is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<u64>,
    /// Whether it ends a rollback and still has the content that was rolled back to; the next cycle publishes current
    /// metadata.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rollback_ended: bool,
    /// Expired nightly releases and absent ones, which the metadata does not name.
    #[serde(default, skip_serializing_if = "ExpiredReleases::is_empty")]
    pub expired: ExpiredReleases,
    /// The versions that were withdrawn: the metadata does not name them, and their URLs answer 410.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawals: Vec<Withdrawal>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl SnapshotManifest {
    /// Why a version is withdrawn.
    pub fn withdrawal(&self, name: &str, version: &str) -> Option<&Withdrawal> {
        self.withdrawals.iter().find(|withdrawal| withdrawal.is_of(name, version))
    }

    /// The releases that a repository with this base URL publishes, in the order of their publication.
    pub fn published_releases(&self, ledger: &Ledger, base_url: &str) -> Vec<Release> {
        let is_published = |release: &&Release| {
            release.number <= self.releases
                && !self.expired.contains_key(&release.number)
                && self.withdrawal(&release.name, &release.version).is_none()
        };
        ledger.published(base_url).filter(is_published).cloned().collect()
    }

    /// Whether the archive of a release is served.
    pub fn serves(&self, release: &Release) -> bool {
        !self.withdraws(release.number) && self.withdrawal(&release.name, &release.version).is_none()
    }

    /// Whether the archive of the release with this number is no longer served.
    pub fn withdraws(&self, number: u64) -> bool {
        self.expired.get(&number).is_some_and(|expired| expired.withdrawn)
    }

    /// Whether the release with this number never was here.
    pub fn is_absent(&self, number: u64) -> bool {
        self.expired.get(&number).is_some_and(|expired| expired.absent)
    }

    /// The number of releases in the ledger that never were here.
    pub fn absent(&self) -> usize {
        self.expired.values().filter(|release| release.absent).count()
    }
}

/// A public file of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedFile {
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub last_modified: i64,
}

/// A snapshot on the volume.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub folder: PathBuf,
    /// Shared by all who look at the snapshot.
    pub manifest: Arc<SnapshotManifest>,
    /// Every public file was compared with the manifest.
    pub is_intact: bool,
}

/// A read error of a search.
#[derive(Debug, Clone)]
pub(super) struct Unread {
    pub(super) at: Instant,
    /// The first snapshot whose manifest could not be read, and why.
    pub(super) manifest: Option<(u64, String)>,
}

/// The snapshots that the last search found, and what is known before the first one.
#[derive(Debug, Clone, Default)]
pub(super) struct SnapshotCache {
    /// The number of a snapshot that another process has found intact: reading all of its files is most of what a process
    /// without news costs.
    pub(super) trusted: Option<u64>,
    /// The highest number, even if that snapshot is damaged.
    pub(super) highest: u64,
    /// The highest intact one.
    pub(super) intact: Option<Snapshot>,
    /// The highest one whose manifest can be read.
    pub(super) readable: Option<Snapshot>,
    /// What could not be read, see [`Unread`]; the search is repeated after a pause.
    pub(super) unread: Option<Unread>,
    /// When the ledger was found unusable, and why; the search is repeated after a pause.
    pub(super) ledger_error: Option<(Instant, String)>,
}

/// Whether an existing file could not be read. A file that is missing, or has other bytes than expected, is damaged instead.
pub fn is_read_error(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() != io::ErrorKind::NotFound)
}

impl Snapshot {
    /// Reads and checks a public file.
    pub fn read(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let published = self.manifest.files.get(path);
        let published = published.with_context(|| format!("the snapshot has no `{path}`"))?;
        self.read_private(path, published.sha256)
    }

    /// Reads a public file; `None` if it is missing or damaged.
    ///
    /// # Errors
    /// It could not be read, which says nothing about its bytes.
    pub fn read_intact(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        match self.read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_read_error(&error) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Reads and checks the report of its cycle.
    pub fn report(&self) -> anyhow::Result<Vec<u8>> {
        match self.manifest.report {
            Some(sha256) => self.read_private("report.json", sha256),
            // Format 1 has no digest for it.
            None => Ok(fs::read(self.folder.join("report.json"))?),
        }
    }

    /// What the next rendering can reuse; `None` if that is unknown.
    pub fn render_cache(&self) -> Option<Vec<u8>> {
        self.read_private("made.json", self.manifest.render_cache?).ok()
    }

    fn read_private(&self, path: &str, sha256: Sha256) -> anyhow::Result<Vec<u8>> {
        let file = self.folder.join(path);
        let bytes =
            durable_fs::read(&file).with_context(|| format!("failed to read `{}`", file.display()))?;
        ensure!(Sha256::digest(&bytes) == sha256, "`{}` is damaged", file.display());
        Ok(bytes)
    }

    /// Compares every file with the manifest.
    pub fn check_files(&self) -> anyhow::Result<()> {
        self.report()?;
        self.check_public()
    }

    pub(super) fn check_public(&self) -> anyhow::Result<()> {
        let files = self.manifest.files.iter();
        let files: Vec<_> = files.map(|(path, file)| (path.as_str(), file.sha256)).collect();
        let next = AtomicUsize::new(0);
        let check = || {
            while let Some((path, sha256)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                let file = self.folder.join(path);
                let found = durable_fs::hash(&file)?;
                ensure!(
                    found == *sha256,
                    "`{}` is damaged: its SHA-256 is {found}, not {sha256}",
                    file.display()
                );
            }
            Ok(())
        };
        // Two threads, because a server is not ready until all files are read.
        std::thread::scope(|scope| {
            let other = threads::spawn_scoped(scope, check);
            let result = check();
            // Without the second thread, the first one has checked all.
            let joined = other.map_or(Ok(Ok(())), ScopedJoinHandle::join);
            result.and(joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }
}
