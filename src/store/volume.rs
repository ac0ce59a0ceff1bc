//! Opening the data volume: made if it is empty, refused if it is not this program's, migrated if it is old.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, anyhow, bail};

use super::filesystem_check::{self, Space};
use super::volume_marker::VolumeMarker;
use super::{RepositoryStore, durable_fs};

/// Why a volume cannot be written to although it may be read.
#[derive(Debug, thiserror::Error)]
pub enum VolumeLockError {
    #[error("another instance is writing to `{}`\nhint: wait until its cycle has ended; more servers of one volume run `mirror serve`", .0.display())]
    Held(PathBuf),
    #[error("`{}` is read-only\nhint: mount it writable to build, or run `mirror serve`", .0.display())]
    ReadOnly(PathBuf),
}

/// The data volume.
#[derive(Debug)]
pub struct Volume {
    root: PathBuf,
    marker: Arc<Mutex<VolumeMarker>>,
    /// Held while this process may write.
    lock: Option<File>,
}

impl Volume {
    /// Opens the volume for writing: makes it if the folder is empty, migrates it if it is old, and locks it.
    ///
    /// # Errors
    /// [`VolumeLockError`], a folder that is not a store, or one of a newer format.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(root).map_err(|error| unwritable("create", root, &error))?;
        let lock = lock(root)?;
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
        Ok(Self::with(root, marker, Some(lock)))
    }

    /// Opens a volume for writing that must be there.
    ///
    /// # Errors
    /// As [`Volume::open`]; and none.
    pub fn open_existing(root: &Path) -> anyhow::Result<Self> {
        Self::open_read_only(root)?;
        Self::open(root)
    }

    /// Opens a volume for writing that was open before; it must be there, and be the same.
    ///
    /// # Errors
    /// As [`Volume::open`]; and another volume, or none.
    pub fn reopen(root: &Path, id: &str) -> anyhow::Result<Self> {
        let found = Self::open_read_only(root)?;
        if found.id() != id {
            bail!(
                "`{}` is another volume than at the start: its id is {}, not {id}\nhint: was something else mounted there?",
                root.display(),
                found.id()
            );
        }
        Self::open(root)
    }

    /// Opens the volume for reading only.
    ///
    /// # Errors
    /// A folder that is not a store, or of a newer format.
    pub fn open_read_only(root: &Path) -> anyhow::Result<Self> {
        let marker = VolumeMarker::read(root)?.with_context(|| {
            format!(
                "`{}` is no store: it has no STORE file\nhint: is the data volume mounted? `mirror build` and `mirror run` start a new one in an empty folder",
                root.display()
            )
        })?;
        Ok(Self::with(root, marker, None))
    }

    fn with(root: &Path, marker: VolumeMarker, lock: Option<File>) -> Self {
        Self {
            root: root.to_owned(),
            marker: Arc::new(Mutex::new(marker)),
            lock,
        }
    }

    /// What tells this volume from any other.
    pub fn id(&self) -> String {
        self.marker
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .id
            .clone()
    }

    /// The folder of bare clones.
    pub fn clones(&self) -> PathBuf {
        self.root.join("git")
    }

    /// The room on the volume.
    ///
    /// # Errors
    /// Of the file system.
    pub fn space(&self) -> anyhow::Result<Space> {
        filesystem_check::space(&self.root)
    }

    /// Logs what is doubtful about the volume: its kind, and how full it is.
    pub fn log_warnings(&self) {
        match filesystem_check::warnings(&self.root) {
            Ok(doubts) => doubts.iter().for_each(|doubt| tracing::warn!("{doubt}")),
            Err(error) => tracing::warn!("{error:#}"),
        }
    }

    /// Logs which repositories have published something here and are none of `names`: nobody is served what they published.
    pub fn warn_orphaned_repositories<'n>(&self, names: impl IntoIterator<Item = &'n str>) {
        let names: BTreeSet<_> = names.into_iter().collect();
        let marker = self
            .marker
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for name in marker
            .repositories
            .iter()
            .filter(|name| !names.contains(name.as_str()) && self.root.join(name).exists())
        {
            let (folder, store) = (self.root.join(name), self.root.join("STORE"));
            tracing::warn!(
                "`{}` has what the repository `{name}` published, and no configured repository has that name\nhint: to go on with these under another name, stop the mirror and give the folder and its line in `{}` that name; to give them up, remove both",
                folder.display(),
                store.display()
            );
        }
    }

    /// That a repository which has published nothing yet does not begin where another one has published that is in none of the
    /// configured `names`: it might give other bytes to URLs that clients know.
    ///
    /// # Errors
    /// It would.
    pub fn check_not_renamed<'n>(
        &self,
        name: &str,
        base_url: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> anyhow::Result<()> {
        let names: BTreeSet<_> = names.into_iter().collect();
        let marker = self
            .marker
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut published = marker.repositories.clone();
        drop(marker);
        if published.contains(name) {
            return Ok(());
        }
        published.retain(|other| !names.contains(other.as_str()) && self.root.join(other).exists());
        for other in published {
            let latest = self.reader(&other).latest_snapshot().ok().flatten();
            if latest.is_some_and(|latest| latest.manifest.base_url == base_url) {
                bail!(
                    "the repository `{other}` has published {base_url}, and no configured repository has that name: `{name}` would begin anew there, and might give other bytes to the same URLs\nhint: to go on with what is published, give `{0}` and its line in `{1}` the new name while nothing runs; to give it up, remove both",
                    self.root.join(&other).display(),
                    self.root.join("STORE").display()
                );
            }
        }
        Ok(())
    }

    /// The folder of one repository.
    ///
    /// # Errors
    /// A ledger that cannot be read, whose chain is broken, or that has lost lines; a repository that was here and is gone.
    pub fn repository(&self, name: &str) -> anyhow::Result<RepositoryStore> {
        let root = self.root.join(name);
        let marker = self
            .marker
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if marker.repositories.contains(name) && !root.join("ledger.jsonl").exists() {
            bail!(
                "`{}` is gone: this volume has published the repository `{name}`\nhint: is a part of the volume not mounted? Restore it; to begin anew on purpose, remove the line `repository {name}` from `{}`",
                root.join("ledger.jsonl").display(),
                self.root.join("STORE").display()
            );
        }
        drop(marker);
        let register = self.lock.is_some().then(|| {
            let (root, name, marker) = (self.root.clone(), name.to_owned(), Arc::clone(&self.marker));
            Box::new(move || register(&root, &name, &marker)) as super::repository::Register
        });
        RepositoryStore::open(root, register)
    }

    /// A repository for whoever serves or records: also one that cannot be opened, see [`RepositoryStore::newest_snapshot`].
    pub fn reader(&self, name: &str) -> RepositoryStore {
        self.repository(name).unwrap_or_else(|error| {
            tracing::error!(repository = name, "nothing of it can be served: {error:#}");
            RepositoryStore::unavailable(self.root.join(name))
        })
    }
}

/// Names a repository in `STORE`.
fn register(root: &Path, name: &str, marker: &Mutex<VolumeMarker>) -> anyhow::Result<()> {
    let mut marker = marker.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if marker.repositories.insert(name.to_owned()) {
        marker.write(root)?;
    }
    Ok(())
}

/// Why the data directory is not as it has to be, and what to do where it belongs to somebody else.
fn unwritable(verb: &str, root: &Path, error: &io::Error) -> anyhow::Error {
    let user = rustix::process::geteuid().as_raw();
    let hint = match error.kind() {
        ErrorKind::ReadOnlyFilesystem => return VolumeLockError::ReadOnly(root.to_owned()).into(),
        ErrorKind::PermissionDenied => format!(
            "\nhint: let user {user}, who this runs as, write there (`chown -R {user}`), or change `data` in the configuration"
        ),
        _ => String::new(),
    };
    anyhow!(
        "failed to {verb} the data directory `{}`: {error}{hint}",
        root.display()
    )
}

fn lock(root: &Path) -> anyhow::Result<File> {
    let path = root.join("LOCK");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let lock = match lock {
        Err(error) => return Err(unwritable("write to", root, &error)),
        Ok(lock) => lock,
    };
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(VolumeLockError::Held(root.to_owned()).into()),
        Err(TryLockError::Error(error)) if cannot_lock(&error) => {
            tracing::warn!(
                "`{}` cannot be locked: let one instance only build on this volume",
                path.display()
            );
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("failed to lock `{}`", path.display()));
        }
    }
    Ok(lock)
}

/// ENOLCK is what NFS says without its lock service.
fn cannot_lock(error: &io::Error) -> bool {
    error.kind() == ErrorKind::Unsupported
        || error.raw_os_error() == Some(rustix::io::Errno::NOLCK.raw_os_error())
}

fn refuse_foreign(root: &Path) -> anyhow::Result<()> {
    let listed = || format!("failed to list `{}`", root.display());
    for entry in fs::read_dir(root).with_context(listed)? {
        let name = entry.with_context(listed)?.file_name();
        if !["LOCK", "lost+found", "STORE.new"].iter().any(|n| name == *n) {
            bail!(
                "`{}` is no store: it has no STORE file, but holds `{}`\nhint: mount an empty volume, or the one of this mirror",
                root.display(),
                name.display()
            );
        }
    }
    Ok(())
}

/// Format 1 named neither itself nor its repositories; all else is read as it is.
fn migrate(root: &Path, old: &VolumeMarker) -> anyhow::Result<VolumeMarker> {
    let mut marker = VolumeMarker::new()?;
    let listed = || format!("failed to list `{}`", root.display());
    for entry in fs::read_dir(root).with_context(listed)? {
        let entry = entry.with_context(listed)?;
        let published = fs::metadata(entry.path().join("ledger.jsonl")).is_ok_and(|ledger| ledger.len() > 0);
        if let (true, Some(name)) = (published, entry.file_name().to_str()) {
            marker.repositories.insert(name.to_owned());
        }
    }
    marker.write(root)?;
    durable_fs::sync_directory(root)?;
    tracing::info!(from = old.format, to = marker.format, "migrated the data volume");
    Ok(marker)
}
