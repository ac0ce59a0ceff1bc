//! One repository on the volume: its ledger, its archives, and the one writer that adds to them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, anyhow, bail, ensure};

use super::durable_fs::{self, Unsynced};
use super::snapshot::SnapshotCache;
use super::staging::Staging;
use crate::ledger::{Ledger, Release};
use crate::util::digest::Sha256;

/// Names the repository on the volume, once it has published something.
pub(super) type Register = Box<dyn Fn() -> anyhow::Result<()> + Send + Sync>;

/// One repository on the volume.
pub struct RepositoryStore {
    root: PathBuf,
    ledger: Mutex<LedgerFile>,
    pub(super) newest: Mutex<SnapshotCache>,
    /// `None` for a reader.
    register: Option<Register>,
    staging: Mutex<Option<Staging>>,
    staged: AtomicU64,
    /// A sync has failed, or another writer has taken over: nothing more is published.
    broken: AtomicBool,
}

/// The ledger as it was read, and the file that it was read from.
#[derive(Debug, Default)]
struct LedgerFile {
    ledger: Ledger,
    /// Bytes of whole lines.
    len: u64,
    /// Inode and length; `None` where there is no file.
    file: Option<(u64, u64)>,
}

/// An archive that is written and synced, but not published yet.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    pub digests: durable_fs::Digests,
}

impl RepositoryStore {
    pub(super) fn open(root: PathBuf, register: Option<Register>) -> anyhow::Result<Self> {
        let mut staging = None;
        if register.is_some() && Staging::has_leftovers(&root) {
            staging = Some(Staging::claim(&root)?);
        }
        let known = read_ledger(&root)?;
        if let Some(staging) = &mut staging {
            staging.clean(&root, &known.ledger)?;
        }
        let repository = Self {
            root,
            ledger: Mutex::new(known),
            newest: Mutex::default(),
            register,
            staging: Mutex::new(staging),
            staged: AtomicU64::new(0),
            broken: AtomicBool::new(false),
        };
        repository.newest_snapshot()?;
        Ok(repository)
    }

    /// For a reader of one that cannot be opened now: it has no snapshot, with the reason, until its ledger can be read.
    pub(super) fn unavailable(root: PathBuf) -> Self {
        Self {
            root,
            ledger: Mutex::default(),
            newest: Mutex::default(),
            register: None,
            staging: Mutex::default(),
            staged: AtomicU64::new(0),
            broken: AtomicBool::new(false),
        }
    }

    /// The folder of this repository.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A text for everybody: paths on the volume begin at its root.
    pub fn strip_volume_path(&self, text: &str) -> String {
        let volume = self.root.parent().map(|volume| format!("{}/", volume.display()));
        volume.map_or_else(|| text.to_owned(), |volume| text.replace(&volume, ""))
    }

    /// The path of a published archive on the volume.
    pub fn archive(&self, release: &Release) -> PathBuf {
        self.root.join(release.path())
    }

    /// Looks at the ledger as it stands.
    pub fn ledger<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.known().ledger)
    }

    /// Size and digest of the first so many lines of the ledger's file.
    ///
    /// # Errors
    /// The file cannot be read, or has fewer lines.
    pub fn ledger_file(&self, lines: u64) -> anyhow::Result<(PathBuf, u64, Sha256)> {
        let path = self.root.join("ledger.jsonl");
        let text = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let end = match usize::try_from(lines)?.checked_sub(1) {
            None => 0,
            Some(last) => match ends.map(|(end, _)| end + 1).nth(last) {
                Some(end) => end,
                None => bail!("`{}` has fewer than {lines} lines", path.display()),
            },
        };
        Ok((path, end as u64, Sha256::digest(&text[..end])))
    }

    fn known(&self) -> MutexGuard<'_, LedgerFile> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the ledger again, for a reader that follows a writer.
    pub(super) fn reload_ledger(&self) -> anyhow::Result<()> {
        let known = read_ledger(&self.root)?;
        *self.known() = known;
        Ok(())
    }

    /// Whether this writer may still publish.
    ///
    /// # Errors
    /// A sync has failed, or another writer has taken over.
    pub fn ensure_writable(&self) -> anyhow::Result<()> {
        if self.broken.load(Ordering::Relaxed) {
            bail!(
                "`{}` takes no more from this cycle, because writing to it has failed",
                self.root.display()
            );
        }
        Ok(())
    }

    /// Gives `result` on, and remembers an error after which nothing more may be published.
    pub(super) fn poison_on_error<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        result.map_err(|error| {
            let lost = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
            let lost = lost.as_ref().is_some_and(Staging::is_lost);
            if lost || error.is::<Unsynced>() {
                self.broken.store(true, Ordering::Relaxed);
            }
            match lost {
                true => error.context(format!(
                    "another instance has taken over `{}`: this cycle publishes nothing more",
                    self.root.display()
                )),
                false => error,
            }
        })
    }

    /// A path in this writer's own folder, which is made on the first call.
    pub(super) fn staging_path(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.ensure_writable()?;
        ensure!(
            self.register.is_some(),
            "`{}` was opened for reading only",
            self.root.display()
        );
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(staging) = &*staging {
            return Ok(staging.path(name));
        }
        let mut new = Staging::claim(&self.root)?;
        let known = self.known();
        if identity(&self.root)? != known.file {
            bail!(
                "another instance has published in `{}` meanwhile: this cycle publishes nothing",
                self.root.display()
            );
        }
        new.clean(&self.root, &known.ledger)?;
        Ok(staging.insert(new).path(name))
    }

    /// Writes an archive aside: `write` gets the sink; what it wrote is hashed on the way, synced and made read-only.
    ///
    /// # Errors
    /// Of `write` and of the file system. Nothing is left behind.
    pub fn stage(
        &self,
        write: impl FnOnce(durable_fs::HashingFile) -> anyhow::Result<durable_fs::HashingFile>,
    ) -> anyhow::Result<Staged> {
        let number = self.staged.fetch_add(1, Ordering::Relaxed);
        let path = self.staging_path(&format!("{number}.zip"))?;
        let result = durable_fs::HashingFile::create(&path).and_then(|file| write(file)?.finish());
        match self.poison_on_error(result) {
            Ok(digests) => Ok(Staged { path, digests }),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Gives up what was staged.
    ///
    /// # Errors
    /// Of the file system.
    pub fn discard(&self, staged: &Staged) -> anyhow::Result<()> {
        fs::remove_file(&staged.path).with_context(|| format!("failed to remove `{}`", staged.path.display()))
    }

    /// Whether an archive can have the name of its release: nothing has it, or the same bytes.
    ///
    /// # Errors
    /// A file of other bytes is there.
    pub fn check_free(&self, staged: &Staged, release: &Release) -> anyhow::Result<()> {
        let target = self.archive(release);
        if !target.exists() {
            return Ok(());
        }
        durable_fs::verify_same_content(&target, staged.digests.sha256).inspect_err(|_| {
            let _ = fs::remove_file(&staged.path);
        })
    }

    /// Publishes archives: links them into place, then enters them into the ledger.
    ///
    /// # Errors
    /// A file of other bytes that is there already, and errors of the file system; the ledger then has none of them.
    pub fn publish(&self, batch: Vec<(Staged, Release)>) -> anyhow::Result<()> {
        self.ensure_writable()?;
        self.poison_on_error(self.link(&batch))?;
        let (staged, releases): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        self.poison_on_error(self.append_to_ledger(releases))?;
        for staged in staged {
            self.discard(&staged)?;
        }
        self.register.as_ref().map_or(Ok(()), |register| register())
    }

    fn link(&self, batch: &[(Staged, Release)]) -> anyhow::Result<()> {
        let mut folders = BTreeSet::new();
        for (staged, release) in batch {
            let target = self.archive(release);
            if let Some(folder) = target.parent() {
                durable_fs::create_directory(folder)?;
                folders.insert(folder.to_owned());
            }
            durable_fs::link_new(&staged.path, &target, staged.digests.sha256)?;
        }
        folders
            .iter()
            .try_for_each(|folder| durable_fs::sync_directory(folder))?;
        durable_fs::sync_directory(&self.root.join("packages"))
    }

    fn append_to_ledger(&self, releases: Vec<Release>) -> anyhow::Result<()> {
        let aside = self.staging_path("ledger.jsonl")?;
        let path = self.root.join("ledger.jsonl");
        let mut known = self.known();
        let entries = known.ledger.prepare(releases)?;
        let mut text = match known.file {
            Some(_) => fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?,
            None => Vec::new(),
        };
        text.truncate(usize::try_from(known.len)?);
        ensure!(
            known.ledger.is_end_of(&text),
            "`{}` is not what it was when this cycle began\nhint: let one instance only build on this volume",
            path.display()
        );
        text.extend_from_slice(&entries.lines);
        let _ = fs::remove_file(&aside);
        let mut file = durable_fs::HashingFile::create(&aside)?;
        file.write_all(&text)
            .with_context(|| format!("failed to write `{}`", aside.display()))?;
        file.finish()?;
        durable_fs::replace(&aside, &path)?;
        known.ledger.append(entries);
        known.len = text.len() as u64;
        known.file = identity(&self.root)?;
        Ok(())
    }

    /// Puts an archive in the place of a damaged one.
    ///
    /// # Errors
    /// An archive of other bytes than the release's, and errors of the file system.
    pub fn repair(&self, staged: &Staged, release: &Release) -> anyhow::Result<()> {
        if staged.digests.sha256 != release.sha256 {
            self.discard(staged)?;
            bail!(
                "built again it has SHA-256 {}, not {}",
                staged.digests.sha256,
                release.sha256
            );
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
        f.debug_struct("RepositoryStore")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

fn identity(root: &Path) -> anyhow::Result<Option<(u64, u64)>> {
    let path = root.join("ledger.jsonl");
    match fs::metadata(&path) {
        Ok(found) => Ok(Some((found.ino(), found.len()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to look at `{}`", path.display())),
    }
}

/// Reads the ledger. A torn last line is passed over, and gone with the next publication.
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
    let (ledger, whole) = Ledger::parse(&text).map_err(|error| {
        anyhow!(
            "the ledger `{}` is damaged: {error}\nhint: restore the file from a back-up; nothing was changed",
            path.display()
        )
    })?;
    if whole < text.len() {
        tracing::warn!(file = %path.display(), bytes = text.len() - whole, "passing over a torn line of the ledger");
    }
    Ok(LedgerFile {
        ledger,
        len: whole as u64,
        file: Some((found.ino(), found.len())),
    })
}
