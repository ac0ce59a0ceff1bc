//! One repository on the volume: its ledger and archives, and what a writer adds to them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, anyhow, bail, ensure};
use parking_lot::Mutex;

use super::durable_fs::{self, Unsynced};
use super::foreign_lines;
use super::snapshot::SnapshotCache;
use super::staging::Staging;
use super::volume_marker::Entry;
use super::withdrawals::{self, Withdrawal};
use crate::ledger::{self, Ledger, Release};
use crate::util::digest::Sha256;
use crate::util::text::without_error_numbers;

/// Adds what the repository has to the volume's marker.
pub(super) type Register = Box<dyn Fn(Entry) -> anyhow::Result<()> + Send + Sync>;

/// One repository on the volume.
pub struct RepositoryStore {
    root: PathBuf,
    pub(super) ledger: Mutex<LedgerFile>,
    pub(super) snapshots: Mutex<SnapshotCache>,
    /// Empty for a reader.
    pub(super) withdrawals: Mutex<Vec<Withdrawal>>,
    /// `None` for a reader.
    register: Option<Register>,
    staging: Mutex<Option<Staging>>,
    staged: AtomicU64,
    /// Why nothing more is published: a sync has failed, or another writer has taken over.
    poisoned_by: OnceLock<String>,
    /// Held while this process may write.
    _lock: Option<fs::File>,
}

/// The ledger, and the file that it was read from.
#[derive(Debug, Default)]
pub(super) struct LedgerFile {
    pub(super) ledger: Ledger,
    /// The length of the complete lines in bytes.
    len: u64,
    /// Inode and length; `None` if there is no file.
    file: Option<(u64, u64)>,
}

/// An archive that is written and synced, but not yet published.
#[derive(Debug)]
pub struct StagedArchive {
    path: PathBuf,
    pub digests: durable_fs::Digests,
}

impl StagedArchive {
    /// Where it is until it is published.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl RepositoryStore {
    /// A writer has a `register`, and a `lock` unless it has locked the whole volume. The snapshot `intact` is not checked.
    pub(super) fn open(
        root: PathBuf,
        register: Option<Register>,
        lock: Option<fs::File>,
        intact: Option<u64>,
    ) -> anyhow::Result<Self> {
        let mut staging = None;
        if register.is_some() && Staging::has_leftovers(&root) {
            staging = Some(Staging::claim(&root)?);
        }
        let ledger = read_ledger(&root)?;
        if let Some(staging) = &mut staging {
            staging.clean(&root, &ledger.ledger)?;
        }
        let withdrawn = if register.is_some() { withdrawals::read(&root)? } else { Vec::new() };
        let repository = Self {
            snapshots: Mutex::new(SnapshotCache { trusted: intact, ..SnapshotCache::default() }),
            withdrawals: Mutex::new(withdrawn),
            _lock: lock,
            ..Self::new(root, ledger, register, staging)
        };
        repository.newest_snapshot()?;
        Ok(repository)
    }

    /// For reading a repository that cannot be opened now: it has no snapshot until its ledger can be read.
    pub(super) fn unavailable(root: PathBuf) -> Self {
        Self::new(root, LedgerFile::default(), None, None)
    }

    fn new(root: PathBuf, ledger: LedgerFile, register: Option<Register>, staging: Option<Staging>) -> Self {
        Self {
            root,
            ledger: Mutex::new(ledger),
            snapshots: Mutex::default(),
            withdrawals: Mutex::default(),
            register,
            staging: Mutex::new(staging),
            staged: AtomicU64::new(0),
            poisoned_by: OnceLock::new(),
            _lock: None,
        }
    }

    /// The folder of this repository.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The text of an error for the public: paths on the volume start at its root.
    pub fn strip_volume_path(&self, error: &str) -> String {
        let text = without_error_numbers(error);
        match self.root.parent() {
            Some(volume) => text.replace(&format!("{}/", volume.display()), ""),
            None => text,
        }
    }

    /// The path of a published archive on the volume.
    pub fn archive(&self, release: &Release) -> PathBuf {
        self.root.join(release.path())
    }

    /// Reads the current ledger.
    pub fn ledger<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        read(&self.ledger.lock().ledger)
    }

    /// The path of the ledger's file, and the size and digest of its first `lines`.
    pub fn ledger_file(&self, lines: u64) -> anyhow::Result<(PathBuf, u64, Sha256)> {
        let path = self.root.join("ledger.jsonl");
        let text = durable_fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let end = ledger::end_of_lines(&text, lines);
        let end = end.with_context(|| format!("`{}` has fewer than {lines} lines", path.display()))?;
        Ok((path, end as u64, Sha256::digest(&text[..end])))
    }

    /// Reads the ledger again, in a process that does not write it.
    pub(super) fn reload_ledger(&self) -> anyhow::Result<()> {
        let ledger = read_ledger(&self.root)?;
        *self.ledger.lock() = ledger;
        Ok(())
    }

    /// Fails once nothing more may be published: a sync has failed, or another writer has taken over.
    pub fn ensure_writable(&self) -> anyhow::Result<()> {
        if let Some(reason) = self.poisoned_by.get() {
            bail!("nothing more is published in `{}` by this cycle: {reason}", self.root.display());
        }
        Ok(())
    }

    /// Passes `result` on, and remembers errors after which nothing more may be published.
    pub(super) fn poison_on_error<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        result.map_err(|error| {
            let staging = self.staging.lock();
            let is_lost = staging.as_ref().is_some_and(Staging::is_lost);
            let is_final = is_lost || error.is::<Unsynced>();
            let error = match is_lost {
                true => error.context(format!(
                    "another instance has taken over `{}`: this cycle publishes nothing more",
                    self.root.display()
                )),
                false => error,
            };
            if is_final {
                self.poisoned_by.get_or_init(|| format!("{error:#}"));
            }
            error
        })
    }

    /// Atomically replaces a file in the repository's folder.
    pub(super) fn replace_file(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let replace = |temporary: PathBuf| durable_fs::replace_with(&temporary, &self.root.join(name), bytes);
        self.poison_on_error(self.staging_path(name).and_then(replace))
    }

    /// A path in this writer's staging folder, which is created on the first call.
    pub(super) fn staging_path(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.ensure_writable()?;
        ensure!(self.register.is_some(), "`{}` was opened for reading only", self.root.display());
        let mut staging = self.staging.lock();
        if let Some(staging) = &*staging {
            return Ok(staging.path(name));
        }
        let mut new = Staging::claim(&self.root)?;
        let known = self.ledger.lock();
        if identity(&self.root)? != known.file {
            bail!(
                "another instance has published in `{}` since this cycle began: this cycle publishes nothing",
                self.root.display()
            );
        }
        new.clean(&self.root, &known.ledger)?;
        Ok(staging.insert(new).path(name))
    }

    /// Writes an archive to the staging folder, hashed, synced and read-only. Nothing is left behind on an error.
    pub fn stage(
        &self,
        write: impl FnOnce(durable_fs::HashingFile) -> anyhow::Result<durable_fs::HashingFile>,
    ) -> anyhow::Result<StagedArchive> {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let path = self.staging_path(&format!("{number}.zip"))?;
        let result = durable_fs::HashingFile::create(&path).and_then(|file| write(file)?.finish());
        match self.poison_on_error(result) {
            Ok(digests) => Ok(StagedArchive { path, digests }),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Stages an archive that is in memory.
    pub fn stage_bytes(&self, bytes: &[u8]) -> anyhow::Result<StagedArchive> {
        self.stage(|mut file| {
            file.write_all(bytes).context("failed to write the archive")?;
            Ok(file)
        })
    }

    /// Removes a staged archive.
    pub fn discard(&self, staged: &StagedArchive) -> anyhow::Result<()> {
        fs::remove_file(&staged.path).with_context(|| format!("failed to remove `{}`", staged.path.display()))
    }

    /// Fails if the release's file name is taken by other bytes.
    pub fn check_free(&self, staged: &StagedArchive, release: &Release) -> anyhow::Result<()> {
        let target = self.archive(release);
        if !target.exists() {
            return Ok(());
        }
        durable_fs::verify_same_content(&target, staged.digests.sha256).inspect_err(|_| {
            let _ = fs::remove_file(&staged.path);
        })
    }

    /// Publishes archives: links them into place, then appends them to the ledger. On an error the ledger has none of them.
    pub fn publish(&self, batch: Vec<(StagedArchive, Release)>) -> anyhow::Result<()> {
        self.ensure_writable()?;
        self.poison_on_error(self.link(&batch))?;
        let (staged, releases): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        self.poison_on_error(self.append_to_ledger(releases))?;
        for staged in staged {
            self.discard(&staged)?;
        }
        self.register(Entry::Ledger)
    }

    pub(super) fn register(&self, entry: Entry) -> anyhow::Result<()> {
        self.register.as_ref().map_or(Ok(()), |register| register(entry))
    }

    pub(super) fn link(&self, batch: &[(StagedArchive, Release)]) -> anyhow::Result<()> {
        let mut folders = BTreeSet::new();
        for (staged, release) in batch {
            let target = self.archive(release);
            if let Some(folder) = target.parent() {
                durable_fs::create_directory(folder)?;
                folders.insert(folder.to_owned());
            }
            durable_fs::link_new(&staged.path, &target, staged.digests.sha256)?;
        }
        folders.iter().try_for_each(|folder| durable_fs::sync_directory(folder))?;
        durable_fs::sync_directory(&self.root.join("packages"))
    }

    fn append_to_ledger(&self, releases: Vec<Release>) -> anyhow::Result<()> {
        // Before the lock, which claiming a staging folder takes.
        let temporary = self.staging_path("ledger.jsonl")?;
        let mut known = self.ledger.lock();
        let entries = known.ledger.prepare(releases)?;
        self.write_ledger(&mut known, &temporary, &entries.lines)?;
        known.ledger.append(entries);
        Ok(())
    }

    /// Writes the ledger with more lines, which are not in memory yet, by a file in the staging folder.
    pub(super) fn write_ledger(
        &self,
        known: &mut LedgerFile,
        temporary: &Path,
        lines: &[u8],
    ) -> anyhow::Result<()> {
        let path = self.root.join("ledger.jsonl");
        let mut text = match known.file {
            Some(_) => {
                durable_fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?
            }
            None => Vec::new(),
        };
        text.truncate(usize::try_from(known.len)?);
        ensure!(
            known.ledger.is_end_of(&text),
            "`{}` has changed since this cycle began\nhint: make sure that only one instance builds on this volume",
            path.display()
        );
        text.extend_from_slice(lines);
        let _ = fs::remove_file(temporary);
        let mut file = durable_fs::HashingFile::create(temporary)?;
        file.write_all(&text).with_context(|| format!("failed to write `{}`", temporary.display()))?;
        file.finish()?;
        durable_fs::replace(temporary, &path)?;
        known.len = text.len() as u64;
        known.file = identity(&self.root)?;
        Ok(())
    }

    /// Replaces a damaged archive by one with the same bytes as the release's.
    pub fn repair(&self, staged: &StagedArchive, release: &Release) -> anyhow::Result<()> {
        if staged.digests.sha256 != release.sha256 {
            self.discard(staged)?;
            bail!("the rebuilt archive has SHA-256 {}, not {}", staged.digests.sha256, release.sha256);
        }
        let target = self.archive(release);
        if let Some(folder) = target.parent() {
            durable_fs::create_directory(folder)?;
        }
        self.poison_on_error(durable_fs::replace(&staged.path, &target))
    }
}

impl std::fmt::Debug for RepositoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RepositoryStore").field("root", &self.root).finish_non_exhaustive()
    }
}

fn identity(root: &Path) -> anyhow::Result<Option<(u64, u64)>> {
    let path = root.join("ledger.jsonl");
    match fs::metadata(&path) {
        Ok(found) => Ok(Some((found.ino(), found.len()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(error).with_context(|| format!("failed to read the metadata of `{}`", path.display()))
        }
    }
}

/// Reads the ledger. An incomplete last line is ignored, and removed by the next publication.
fn read_ledger(root: &Path) -> anyhow::Result<LedgerFile> {
    let path = root.join("ledger.jsonl");
    let failed = || format!("failed to read `{}`", path.display());
    let mut file = match fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LedgerFile::default()),
        Err(error) => return Err(error).with_context(failed),
    };
    let mut text = Vec::new();
    io::Read::read_to_end(&mut file, &mut text).with_context(failed)?;
    let found = file.metadata().with_context(failed)?;
    durable_fs::ensure_whole(text.len() as u64, found.len()).with_context(failed)?;
    let (ledger, whole) = Ledger::parse(&text).map_err(|error| {
        anyhow!(
            "the ledger `{}` is damaged: {error}\nhint: restore the file from a backup; nothing was changed",
            path.display()
        )
    })?;
    if whole < text.len() {
        tracing::warn!(file = %path.display(), bytes = text.len() - whole, "ignoring an incomplete last line of the ledger");
    }
    let mut known = LedgerFile { ledger, len: whole as u64, file: Some((found.ino(), found.len())) };
    foreign_lines::read_renditions(root, &mut known.ledger)?;
    Ok(known)
}
