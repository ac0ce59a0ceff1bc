//! Opens the data volume: initializes an empty one, refuses a foreign one, migrates an old one.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use parking_lot::Mutex;

use super::durable_fs;
use super::filesystem_check::{self, Space};
use super::foreign_lines;
use super::repository::{Register, RepositoryStore};
use super::volume_marker::{Entry, VolumeMarker};
use super::withdrawals;
use crate::config::Trial;
use crate::util::file_lock;

/// Why a volume cannot be opened for writing, although it may be readable.
#[derive(Debug, thiserror::Error)]
pub enum VolumeLockError {
    #[error("another instance is writing to `{}`\nhint: wait until its cycle has ended; further servers of one volume run `mirror serve`", .0.display())]
    Held(PathBuf),
    #[error("`{}` is read-only\nhint: mount it writable to build, or run `mirror serve`", .0.display())]
    ReadOnly(PathBuf),
}

/// The data volume.
#[derive(Debug)]
pub struct Volume {
    root: PathBuf,
    marker: Arc<Mutex<VolumeMarker>>,
    access: Access,
}

/// What this process may do; the locks are held as long as the volume is open.
#[derive(Debug)]
enum Access {
    Read,
    /// Write to all of it.
    All {
        _lock: File,
    },
    /// Write to the repositories that it locks, beside others that write to other ones.
    Shared {
        _lock: File,
    },
}

#[derive(Clone, Copy)]
enum LockMode {
    Exclusive,
    Shared,
}

impl Volume {
    /// Opens the volume for writing: initializes an empty folder, migrates an old format, and locks the volume.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(root).map_err(|error| unwritable("create", root, &error))?;
        let lock = lock(root, LockMode::Exclusive)?;
        let marker = match VolumeMarker::read(root)? {
            Some(marker) if marker.is_old() => migrate(root, &marker)?,
            Some(marker) => marker,
            None => {
                refuse_foreign(root)?;
                let marker = VolumeMarker::new()?;
                marker.write(root)?;
                marker
            }
        };
        Ok(Self::new(root, marker, Access::All { _lock: lock }))
    }

    /// Opens a volume for writing that must exist.
    pub fn open_existing(root: &Path) -> anyhow::Result<Self> {
        Self::open_read_only(root)?;
        Self::open(root)
    }

    /// Opens the volume with this id for writing to some of its repositories, each of which is locked when it is opened.
    pub fn open_shared(root: &Path, id: &str) -> anyhow::Result<Self> {
        let mut volume = Self::open_read_only(root)?;
        if volume.id() != id {
            bail!(
                "`{}` is not the volume that was there at the start: its id is {}, not {id}\nhint: check what is mounted there",
                root.display(),
                volume.id()
            );
        }
        volume.access = Access::Shared { _lock: lock(root, LockMode::Shared)? };
        Ok(volume)
    }

    /// The repositories that were published on the volume in a folder; none if it is not one.
    pub fn published(root: &Path) -> anyhow::Result<BTreeSet<String>> {
        match VolumeMarker::read(root)? {
            Some(marker) if marker.is_old() => published_folders(root),
            marker => Ok(marker.map(|marker| marker.repositories).unwrap_or_default()),
        }
    }

    /// Whether a folder is a volume.
    pub fn exists(root: &Path) -> anyhow::Result<bool> {
        Ok(VolumeMarker::read(root)?.is_some())
    }

    /// Opens the volume for reading only.
    pub fn open_read_only(root: &Path) -> anyhow::Result<Self> {
        if root.is_file() {
            return Err(not_a_directory(root));
        }
        let marker = VolumeMarker::read(root)?.with_context(|| {
            format!(
                "`{}` is not a data volume: it has no STORE file\nhint: check that the volume is mounted; `mirror build` and `mirror run` initialize an empty folder",
                root.display()
            )
        })?;
        Ok(Self::new(root, marker, Access::Read))
    }

    fn new(root: &Path, marker: VolumeMarker, access: Access) -> Self {
        Self { root: root.to_owned(), marker: Arc::new(Mutex::new(marker)), access }
    }

    /// The random id of this volume.
    pub fn id(&self) -> String {
        self.marker.lock().id.clone()
    }

    /// Records that this is the volume of a trial, and the text of its configuration.
    pub fn record_trial(&self, text: &str) -> anyhow::Result<()> {
        let path = self.root.join(Trial::RECORD);
        match durable_fs::read_existing(&path)? {
            Some(known) if known == text.as_bytes() => Ok(()),
            _ => durable_fs::replace_with(&path.with_extension("new"), &path, text.as_bytes()),
        }
    }

    /// The folder of bare clones.
    pub fn clones(&self) -> PathBuf {
        self.root.join("git")
    }

    /// The free space on the volume.
    pub fn space(&self) -> anyhow::Result<Space> {
        filesystem_check::space(&self.root)
    }

    /// Warns of an unsuitable file system and of low space.
    pub fn log_warnings(&self) {
        match filesystem_check::warnings(&self.root) {
            Ok(warnings) => warnings.iter().for_each(|warning| tracing::warn!("{warning}")),
            Err(error) => tracing::warn!("{error:#}"),
        }
    }

    /// Warns of repositories that were published on this volume and are not among `names`: they are not served.
    pub fn warn_orphaned_repositories<'n>(&self, names: impl IntoIterator<Item = &'n str>) {
        let names: BTreeSet<_> = names.into_iter().collect();
        let marker = self.marker.lock();
        for name in marker
            .repositories
            .iter()
            .filter(|name| !names.contains(name.as_str()) && self.root.join(name).exists())
        {
            let (folder, store) = (self.root.join(name), self.root.join("STORE"));
            tracing::warn!(
                "`{}` contains the published repository `{name}`, but no configured repository has that name\nhint: to publish it under another name, stop the mirror and rename the folder and its line in `{}`; to abandon it, remove both",
                folder.display(),
                store.display()
            );
        }
    }

    /// Fails if the repository `name` is new, but its URL was published by another one that is no longer among the
    /// configured `names`: the same URLs might get different bytes.
    pub fn check_not_renamed<'n>(
        &self,
        name: &str,
        base_url: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> anyhow::Result<()> {
        let names: BTreeSet<_> = names.into_iter().collect();
        let marker = self.marker.lock();
        let mut published = marker.repositories.clone();
        drop(marker);
        if published.contains(name) {
            return Ok(());
        }
        published.retain(|other| !names.contains(other.as_str()) && self.root.join(other).exists());
        // Nobody depends on what a trial has published.
        published.remove(Trial::REPOSITORY);
        for other in published {
            let latest = self.reader(&other).latest_snapshot().ok().flatten();
            if latest.is_some_and(|latest| latest.manifest.base_url == base_url) {
                bail!(
                    "the repository `{other}` was published at {base_url}, but no configured repository has that name: `{name}` would start empty and might publish different bytes at the same URLs\nhint: to continue it as `{name}`, stop the mirror and rename `{0}` and its line in `{1}`; to abandon it, remove both",
                    self.root.join(&other).display(),
                    self.root.join("STORE").display()
                );
            }
        }
        Ok(())
    }

    /// Opens one repository.
    pub fn repository(&self, name: &str) -> anyhow::Result<RepositoryStore> {
        self.repository_with(name, None)
    }

    /// Opens one repository whose snapshot `intact` another process has checked.
    pub fn repository_with(&self, name: &str, intact: Option<u64>) -> anyhow::Result<RepositoryStore> {
        let root = self.root.join(name);
        let marker = self.marker.lock();
        if marker.repositories.contains(name) && !root.join("ledger.jsonl").exists() {
            bail!(
                "`{}` is missing, but the repository `{name}` was published on this volume\nhint: check that all of the volume is mounted, or restore the file; to start empty on purpose, remove the line `repository {name}` from `{}`",
                root.join("ledger.jsonl").display(),
                self.root.join("STORE").display()
            );
        }
        let is_recorded = matches!(self.access, Access::Read) || root.join(withdrawals::FILE).exists();
        if marker.withdrawals.contains(name) && !is_recorded {
            bail!(
                "`{}` is missing, but versions of the repository `{name}` were withdrawn on this volume\nhint: restore the file from a backup; to publish them again on purpose, remove the line `withdrawals {name}` from `{}`",
                root.join(withdrawals::FILE).display(),
                self.root.join("STORE").display()
            );
        }
        if marker.renditions.contains(name) && !root.join(foreign_lines::RENDITIONS).exists() {
            bail!(
                "`{}` is missing, but bound packages of the repository `{name}` were rendered on this volume\nhint: restore the file from a backup; to render them again on purpose, remove the line `renditions {name}` from `{}`",
                root.join(foreign_lines::RENDITIONS).display(),
                self.root.join("STORE").display()
            );
        }
        drop(marker);
        let lock = match self.access {
            Access::Shared { .. } => {
                fs::create_dir_all(&root).map_err(|error| unwritable("create", &root, &error))?;
                Some(lock(&root, LockMode::Exclusive)?)
            }
            Access::Read | Access::All { .. } => None,
        };
        let register = (!matches!(self.access, Access::Read)).then(|| {
            let (root, name, marker) = (self.root.clone(), name.to_owned(), Arc::clone(&self.marker));
            Box::new(move |entry| register(&root, &name, entry, &marker)) as Register
        });
        RepositoryStore::open(root, register, lock, intact)
    }

    /// A repository for reading; if it cannot be opened, reading its snapshots fails until it can.
    pub fn reader(&self, name: &str) -> RepositoryStore {
        self.repository(name).unwrap_or_else(|error| {
            tracing::error!(repository = name, "the repository cannot be served: {error:#}");
            RepositoryStore::unavailable(self.root.join(name))
        })
    }
}

/// Adds something of a repository to `STORE`, to which other processes may add something at the same time.
fn register(root: &Path, name: &str, entry: Entry, known: &Mutex<VolumeMarker>) -> anyhow::Result<()> {
    let mut known = known.lock();
    if !known.clone().add(name, entry) {
        return Ok(());
    }
    let _lock = VolumeMarker::lock(root)?;
    if let Some(current) = VolumeMarker::read(root)? {
        *known = current;
    }
    known.add(name, entry);
    known.write(root)
}

fn not_a_directory(root: &Path) -> anyhow::Error {
    anyhow!(
        "the data directory `{}` is a file\nhint: remove the file, or change `data` in the configuration",
        root.display()
    )
}

/// The error for a data directory that cannot be written to, with a hint about its owner.
fn unwritable(verb: &str, root: &Path, error: &io::Error) -> anyhow::Error {
    let user = rustix::process::geteuid().as_raw();
    let hint = match error.kind() {
        ErrorKind::ReadOnlyFilesystem => return VolumeLockError::ReadOnly(root.to_owned()).into(),
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => return not_a_directory(root),
        ErrorKind::PermissionDenied => {
            let create =
                if root.exists() { String::new() } else { format!("mkdir -p {} && ", root.display()) };
            format!(
                "\nhint: give user {user}, who runs this program, write access (`{create}chown -R {user} {}`), or change `data` in the configuration",
                root.display()
            )
        }
        _ => String::new(),
    };
    anyhow!("failed to {verb} the data directory `{}`: {error}{hint}", root.display())
}

/// Locks the volume, or one repository of it.
fn lock(root: &Path, mode: LockMode) -> anyhow::Result<File> {
    let path = root.join("LOCK");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let lock = match lock {
        Err(error) => return Err(unwritable("write to", root, &error)),
        Ok(lock) => lock,
    };
    let locked = match mode {
        LockMode::Exclusive => lock.try_lock(),
        LockMode::Shared => lock.try_lock_shared(),
    };
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(VolumeLockError::Held(root.to_owned()).into()),
        Err(TryLockError::Error(error)) if file_lock::is_unsupported(&error) => {
            tracing::warn!(
                "`{}` cannot be locked: make sure that only one instance builds on this volume",
                path.display()
            );
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("failed to lock `{}`", path.display()));
        }
    }
    Ok(lock)
}

fn refuse_foreign(root: &Path) -> anyhow::Result<()> {
    let listed = || format!("failed to list `{}`", root.display());
    for entry in fs::read_dir(root).with_context(listed)? {
        let name = entry.with_context(listed)?.file_name();
        if !["LOCK", "lost+found", "STORE.new"].iter().any(|n| name == *n) {
            bail!(
                "`{}` is not a data volume: it has no STORE file, but contains `{}`\nhint: mount an empty volume, or this mirror's",
                root.display(),
                name.display()
            );
        }
    }
    Ok(())
}

/// The folders with a ledger.
fn published_folders(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let listed = || format!("failed to list `{}`", root.display());
    for entry in fs::read_dir(root).with_context(listed)? {
        let entry = entry.with_context(listed)?;
        let published = fs::metadata(entry.path().join("ledger.jsonl")).is_ok_and(|ledger| ledger.len() > 0);
        if let (true, Some(name)) = (published, entry.file_name().to_str()) {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

/// Format 1 had no id and no list of repositories; everything else is unchanged.
fn migrate(root: &Path, old: &VolumeMarker) -> anyhow::Result<VolumeMarker> {
    let mut marker = VolumeMarker::new()?;
    marker.repositories = published_folders(root)?;
    marker.write(root)?;
    durable_fs::sync_directory(root)?;
    tracing::info!(from = old.format, to = marker.format, "migrated the data volume");
    Ok(marker)
}
