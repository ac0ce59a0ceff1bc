//! Snapshots: complete published states of a repository's metadata.
//!
//! A snapshot is written aside, with the files that did not change hard-linked from the one before, synced, and renamed to
//! its number, which fails when that number is taken. Its manifest.json says what it holds. `Last-Modified` of a file is
//! part of the state: it moves, strictly forward, exactly when the bytes change.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use super::{Repository, files};
use crate::digest::Sha256;

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
    /// The public files by their path below the base URL.
    pub files: BTreeMap<String, PublishedFile>,
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
}

/// The contents of the next snapshot.
pub struct Contents<'a> {
    pub base_url: &'a str,
    /// Public files by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The report of the cycle, kept beside the public files.
    pub report: &'a [u8],
}

impl Repository {
    /// The highest valid snapshot.
    ///
    /// # Errors
    /// Of listing the snapshots.
    pub fn newest_snapshot(&self) -> anyhow::Result<Option<Snapshot>> {
        let folder = self.root().join("snapshots");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("failed to list `{}`", folder.display()));
            }
        };
        let mut numbers: Vec<u64> = entries
            .filter_map(Result::ok)
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        for number in numbers {
            match load(&folder.join(number.to_string())) {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(error) => tracing::error!("passing over a damaged snapshot: {error:#}"),
            }
        }
        Ok(None)
    }

    /// Publishes a snapshot after `previous`; answers `None`, and writes nothing, if nothing would change.
    ///
    /// # Errors
    /// Another writer has taken the number, and errors of the file system: `previous` then stays published.
    pub fn commit_snapshot(
        &self,
        previous: Option<&Snapshot>,
        contents: &Contents<'_>,
    ) -> anyhow::Result<Option<Snapshot>> {
        let now = Timestamp::now();
        let (releases, ledger_head) = self.ledger(|ledger| (ledger.len(), ledger.head()));
        let mut manifest = Manifest {
            number: previous.map_or(1, |p| p.manifest.number + 1),
            time: now,
            base_url: contents.base_url.to_owned(),
            releases,
            ledger_head,
            files: BTreeMap::new(),
        };
        for (path, bytes) in &contents.files {
            let before = previous.and_then(|p| p.manifest.files.get(path));
            manifest.files.insert(path.clone(), describe(bytes, before, now));
        }
        if let Some(previous) = previous
            && previous.manifest.files == manifest.files
            && previous.manifest.releases == releases
            && fs::read(previous.folder.join("report.json")).is_ok_and(|report| report == contents.report)
        {
            return Ok(None);
        }
        let folder = self.root().join("tmp").join("snapshot");
        self.write_aside(&folder, previous, contents, &manifest)?;
        let target = self.root().join("snapshots").join(manifest.number.to_string());
        renameat_with(CWD, &folder, CWD, &target, RenameFlags::NOREPLACE).with_context(|| {
            format!(
                "failed to publish `{}`: is another instance writing?",
                target.display()
            )
        })?;
        files::sync_directory(&self.root().join("snapshots"))?;
        self.point_current(manifest.number)?;
        Ok(Some(Snapshot {
            folder: target,
            manifest,
        }))
    }

    fn write_aside(
        &self,
        folder: &Path,
        previous: Option<&Snapshot>,
        contents: &Contents<'_>,
        manifest: &Manifest,
    ) -> anyhow::Result<()> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("failed to remove `{}`", folder.display()))?;
        }
        fs::create_dir(folder).with_context(|| format!("failed to create `{}`", folder.display()))?;
        let mut folders = std::collections::BTreeSet::from([folder.to_owned()]);
        for (path, bytes) in &contents.files {
            let target = folder.join(path);
            for above in target.ancestors().skip(1).take_while(|above| *above != folder) {
                folders.insert(above.to_owned());
            }
            if let Some(above) = target.parent() {
                fs::create_dir_all(above)
                    .with_context(|| format!("failed to create `{}`", above.display()))?;
            }
            let before = previous.filter(|p| p.manifest.files.get(path) == manifest.files.get(path));
            match before {
                Some(before) => fs::hard_link(before.folder.join(path), &target)
                    .with_context(|| format!("failed to link `{}`", target.display()))?,
                None => {
                    files::write_new(&target, bytes)?;
                }
            }
        }
        files::write_new(&folder.join("report.json"), contents.report)?;
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
        let (link, aside) = (
            self.root().join("current"),
            self.root().join("tmp").join("current"),
        );
        let _ = fs::remove_file(&aside);
        std::os::unix::fs::symlink(format!("snapshots/{number}"), &aside)
            .and_then(|()| fs::rename(&aside, &link))
            .with_context(|| format!("failed to point `{}` at snapshot {number}", link.display()))
    }
}

fn describe(bytes: &[u8], before: Option<&PublishedFile>, now: Timestamp) -> PublishedFile {
    let sha256 = Sha256::of(bytes);
    match before {
        Some(before) if before.sha256 == sha256 => *before,
        before => PublishedFile {
            sha256,
            size: bytes.len() as u64,
            last_modified: before.map_or(0, |b| b.last_modified + 1).max(now.as_second()),
        },
    }
}

fn load(folder: &Path) -> anyhow::Result<Snapshot> {
    let path = folder.join("manifest.json");
    let text = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let manifest = serde_json::from_slice(&text)
        .with_context(|| format!("`{}` is no snapshot's manifest", path.display()))?;
    Ok(Snapshot {
        folder: folder.to_owned(),
        manifest,
    })
}
