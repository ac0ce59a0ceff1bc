//! Snapshots: complete published states of a repository's metadata.
//!
//! Its manifest.json says what a snapshot holds. `Last-Modified` of a file is part of the state: it moves, strictly forward,
//! exactly when the bytes change.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::nightly_retention::ExpiredReleases;
use super::{RepositoryStore, durable_fs};
use crate::util::digest::Sha256;

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub number: u64,
    pub time: Timestamp,
    /// The public base URL that the metadata is rendered for.
    pub base_url: String,
    /// How many lines of the ledger it publishes, and the hash of the last of them.
    pub releases: u64,
    pub ledger_head: Sha256,
    /// The date of the ledger's file, in seconds since 1970; older snapshots have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger_modified: Option<i64>,
    /// The public files by their path below the base URL.
    pub files: BTreeMap<String, PublishedFile>,
    /// The digest of report.json; snapshots of format 1 have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Sha256>,
    /// The digest of made.json: how the public files were made, for the next snapshot only.
    #[serde(rename = "made", default, skip_serializing_if = "Option::is_none")]
    pub render_cache: Option<Sha256>,
    /// The snapshot whose content this one brings back; cycles then publish no metadata until that ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<u64>,
    /// The nightly releases that it does not name.
    #[serde(default, skip_serializing_if = "ExpiredReleases::is_empty")]
    pub expired: ExpiredReleases,
}

impl Manifest {
    /// Whether the archive of the release with this number is not served any more.
    pub fn withdraws(&self, number: u64) -> bool {
        self.expired.get(&number).is_some_and(|expired| expired.withdrawn)
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
    pub manifest: Manifest,
    /// Every public file was compared with the manifest and has its bytes.
    pub is_whole: bool,
}

/// What was found when the snapshots were last looked through.
#[derive(Debug, Clone, Default)]
pub(super) struct SnapshotCache {
    /// The number of the highest one, whatever it is worth.
    pub(super) highest: u64,
    /// The highest whole one.
    pub(super) whole: Option<Snapshot>,
    /// The highest one whose manifest can be read.
    pub(super) readable: Option<Snapshot>,
    /// When the ledger was found unusable, and why: it is looked at again after [`AGAIN`].
    pub(super) ledger_error: Option<(Instant, String)>,
}

const AGAIN: Duration = Duration::from_secs(5);

impl RepositoryStore {
    /// The snapshot to serve: the highest that is whole and follows from the ledger; where none is whole, the highest that can
    /// be read, whose damaged files then cannot be served. Of what a rollback has taken back nothing is served again.
    ///
    /// # Errors
    /// Of listing the snapshots; a ledger that cannot be read or has lost lines which the highest snapshot names.
    pub fn newest_snapshot(&self) -> anyhow::Result<Option<Snapshot>> {
        let newest = self.newest()?;
        Ok(newest.whole.or(newest.readable))
    }

    /// The snapshot to build on: the highest that can be read. What it says of the time before it holds, also where some of
    /// its files are damaged.
    ///
    /// # Errors
    /// As [`RepositoryStore::newest_snapshot`].
    pub fn latest_snapshot(&self) -> anyhow::Result<Option<Snapshot>> {
        Ok(self.newest()?.readable)
    }

    /// Looks through the snapshots again only when there is a higher one than before.
    fn newest(&self) -> anyhow::Result<SnapshotCache> {
        let numbers = self.snapshot_numbers()?;
        let Some(highest) = numbers.last().copied() else {
            return Ok(SnapshotCache::default());
        };
        let mut known = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, because)) = &known.ledger_error
            && at.elapsed() < AGAIN
        {
            bail!(LostLines(because.clone()));
        }
        if known.ledger_error.is_none() && known.highest == highest {
            return Ok(known.clone());
        }
        let mut found = SnapshotCache {
            highest,
            ..SnapshotCache::default()
        };
        for number in numbers.into_iter().rev() {
            let taken_back = found.readable.as_ref().and_then(|s| s.manifest.rollback_to);
            if taken_back.is_some_and(|to| number > to) {
                continue;
            }
            let read = self.load(number).and_then(|snapshot| {
                self.follows(&snapshot)?;
                Ok(snapshot)
            });
            let checked = read.and_then(|mut snapshot| {
                let checked = snapshot.check_public();
                snapshot.is_whole = checked.is_ok();
                found.readable.get_or_insert_with(|| snapshot.clone());
                checked.map(|()| snapshot)
            });
            match checked {
                Ok(snapshot) => {
                    found.whole = Some(snapshot);
                    break;
                }
                Err(error) if error.is::<LostLines>() => {
                    known.ledger_error = Some((Instant::now(), format!("{error:#}")));
                    return Err(error);
                }
                Err(error) => tracing::error!("passing over a damaged snapshot: {error:#}"),
            }
        }
        *known = found.clone();
        Ok(found)
    }

    /// The numbers of all snapshots on the volume, ascending.
    ///
    /// # Errors
    /// Of listing them.
    pub fn snapshot_numbers(&self) -> anyhow::Result<Vec<u64>> {
        let folder = self.root().join("snapshots");
        let failed = || format!("failed to list `{}`", folder.display());
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(failed),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            numbers.extend(
                entry
                    .with_context(failed)?
                    .file_name()
                    .to_str()
                    .and_then(|n| n.parse::<u64>().ok()),
            );
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(super) fn snapshot_folder(&self, number: u64) -> PathBuf {
        self.root().join("snapshots").join(number.to_string())
    }

    /// Reads the manifest of a snapshot; its files may be damaged.
    ///
    /// # Errors
    /// No such snapshot, and a manifest that is damaged.
    pub fn load(&self, number: u64) -> anyhow::Result<Snapshot> {
        let folder = self.snapshot_folder(number);
        let path = folder.join("manifest.json");
        let text = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .with_context(|| format!("`{}` is no snapshot's manifest", path.display()))?;
        ensure!(
            manifest.number == number,
            "`{}` says that it is snapshot {}",
            path.display(),
            manifest.number
        );
        Ok(Snapshot {
            folder,
            manifest,
            is_whole: false,
        })
    }

    /// Whether the ledger has the lines that a snapshot publishes; a reader looks again at a ledger that has grown.
    fn follows(&self, snapshot: &Snapshot) -> anyhow::Result<()> {
        let Manifest {
            number,
            releases,
            ledger_head,
            ..
        } = snapshot.manifest;
        if self.ledger(|ledger| ledger.len()) < releases {
            self.reload_ledger()
                .map_err(|error| LostLines(format!("{error:#}")))?;
        }
        match self.ledger(|ledger| (ledger.len(), ledger.head_at(releases))) {
            (_, Some(head)) if head == ledger_head => Ok(()),
            (_, Some(_)) => bail!(LostLines(format!(
                "line {releases} of `{}` is not the one that snapshot {number} was made from{RESTORE}",
                self.root().join("ledger.jsonl").display()
            ))),
            (lines, None) => bail!(LostLines(format!(
                "`{}` has lost lines: it has {lines}, and snapshot {number} names {releases}{RESTORE}",
                self.root().join("ledger.jsonl").display()
            ))),
        }
    }
}

const RESTORE: &str = "\nhint: restore the ledger from a back-up or from another mirror; nothing was changed";

/// The ledger cannot be read, or contradicts a snapshot: neither may be built on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct LostLines(String);

impl Snapshot {
    /// A public file, as it was published.
    ///
    /// # Errors
    /// It is none of this snapshot's, cannot be read or is damaged.
    pub fn read(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let published = self.manifest.files.get(path);
        let published = published.with_context(|| format!("the snapshot has no `{path}`"))?;
        self.read_private(path, published.sha256)
    }

    /// The report of its cycle.
    ///
    /// # Errors
    /// It cannot be read or is damaged.
    pub fn report(&self) -> anyhow::Result<Vec<u8>> {
        match self.manifest.report {
            Some(sha256) => self.read_private("report.json", sha256),
            // Format 1 has no digest of it.
            None => Ok(fs::read(self.folder.join("report.json"))?),
        }
    }

    /// How its files were made; `None` where that is not known.
    pub fn render_cache(&self) -> Option<Vec<u8>> {
        self.read_private("made.json", self.manifest.render_cache?).ok()
    }

    fn read_private(&self, path: &str, sha256: Sha256) -> anyhow::Result<Vec<u8>> {
        let file = self.folder.join(path);
        let bytes = fs::read(&file).with_context(|| format!("failed to read `{}`", file.display()))?;
        ensure!(
            Sha256::digest(&bytes) == sha256,
            "`{}` is damaged",
            file.display()
        );
        Ok(bytes)
    }

    /// Compares every file with the manifest.
    ///
    /// # Errors
    /// The first file that is missing, damaged or cannot be read.
    pub fn check_files(&self) -> anyhow::Result<()> {
        self.report()?;
        self.check_public()
    }

    fn check_public(&self) -> anyhow::Result<()> {
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
        // A server is not ready before all of them are read.
        std::thread::scope(|scope| {
            let beside = scope.spawn(check);
            check().and(
                beside
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        })
    }
}
