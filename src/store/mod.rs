//! The data volume: the only place that knows its layout and writes to it.
//!
//! ```text
//! <data>/STORE                          format and id; an unknown format is refused
//! <data>/LOCK                           held by the one writer
//! <data>/git/<name>-<mark>.git          bare clones, one a URL: a cache
//! <data>/<repository>/packages/…        the archives, written once, read-only
//! <data>/<repository>/ledger.jsonl      one line a release
//! <data>/<repository>/snapshots/<n>/    metadata of snapshot n, with its manifest.json
//! <data>/<repository>/current           symbolic link to the newest snapshot, for other web servers
//! <data>/<repository>/tmp/              what a cycle has not published yet; emptied by the next writer
//! ```
//!
//! The order of a publication: archives, each written aside, synced and linked into place without ever overwriting; their
//! folders synced; the ledger's lines appended and synced; the snapshot written aside, synced, and renamed to its
//! number, which fails if another writer has it. That rename is the commit. A reader takes the highest snapshot.

pub mod files;
pub mod snapshot;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};

use crate::digest::Sha256;
use crate::ledger::{Ledger, Release};

/// The format that this program writes and reads.
const FORMAT: &str = "mirror store 1\n";

/// The data volume.
#[derive(Debug)]
pub struct Volume {
    root: PathBuf,
    /// Held while this process may write.
    _lock: Option<File>,
}

impl Volume {
    /// Opens the volume for writing: makes it if the folder is empty, and locks it.
    ///
    /// # Errors
    /// A folder that is not writable, not a store, of another format, or locked by another instance.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        let writable =
            "hint: mount a volume there that this user can write to, or change `data` in the configuration";
        fs::create_dir_all(root).with_context(|| {
            format!(
                "failed to create the data directory `{}`\n{writable}",
                root.display()
            )
        })?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(root.join("LOCK"));
        let lock = lock.with_context(|| {
            format!(
                "failed to write to the data directory `{}`\n{writable}",
                root.display()
            )
        })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => bail!(
                "another instance is writing to `{}`\nhint: give each building instance a volume of its own; more servers of this one run `mirror serve`",
                root.display()
            ),
            Err(fs::TryLockError::Error(error)) => {
                return Err(error)
                    .with_context(|| format!("failed to lock `{}`", root.join("LOCK").display()));
            }
        }
        let marker = root.join("STORE");
        if !marker.exists() {
            let foreign = fs::read_dir(root)?
                .filter_map(Result::ok)
                .find(|e| !["LOCK", "lost+found"].iter().any(|n| e.file_name() == *n));
            if let Some(entry) = foreign {
                bail!(
                    "`{}` is no store: it has no STORE file, but holds `{}`\nhint: mount an empty volume, or the one of this mirror",
                    root.display(),
                    entry.file_name().display()
                );
            }
            files::write_new(&marker, FORMAT.as_bytes())?;
            files::sync_directory(root)?;
        }
        Self::check_format(&marker)?;
        Ok(Self {
            root: root.to_owned(),
            _lock: Some(lock),
        })
    }

    /// Opens the volume for reading only.
    ///
    /// # Errors
    /// A folder that is not a store, or of another format.
    pub fn open_read_only(root: &Path) -> anyhow::Result<Self> {
        Self::check_format(&root.join("STORE"))?;
        Ok(Self {
            root: root.to_owned(),
            _lock: None,
        })
    }

    fn check_format(marker: &Path) -> anyhow::Result<()> {
        let format = fs::read_to_string(marker).with_context(|| {
            format!(
                "failed to read `{}`\nhint: is the data volume mounted?",
                marker.display()
            )
        })?;
        if format != FORMAT {
            bail!(
                "`{}` says `{}`, this version knows `{}` only\nhint: use the image version that wrote this volume, or a newer one",
                marker.display(),
                format.trim(),
                FORMAT.trim()
            );
        }
        Ok(())
    }

    /// The folder of bare clones.
    pub fn git(&self) -> PathBuf {
        self.root.join("git")
    }

    /// The folder of one repository.
    ///
    /// # Errors
    /// A ledger that cannot be read or whose chain is broken.
    pub fn repository(&self, name: &str) -> anyhow::Result<Repository> {
        Repository::open(self.root.join(name), self._lock.is_some())
    }
}

/// One repository on the volume.
#[derive(Debug)]
pub struct Repository {
    root: PathBuf,
    ledger: Mutex<Ledger>,
    staged: AtomicU64,
}

/// An archive that is written and synced, but not published yet.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    pub digests: files::Digests,
}

impl Repository {
    fn open(root: PathBuf, writable: bool) -> anyhow::Result<Self> {
        let path = root.join("ledger.jsonl");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("failed to read `{}`", path.display())),
        };
        let (ledger, whole) = Ledger::read(&text).with_context(|| {
            format!(
                "the ledger `{}` is damaged\nhint: restore the file from a back-up; nothing was changed",
                path.display()
            )
        })?;
        if writable {
            for folder in ["packages", "snapshots", "tmp"] {
                fs::create_dir_all(root.join(folder))
                    .with_context(|| format!("failed to create `{}`", root.join(folder).display()))?;
            }
            clear(&root.join("tmp"))?;
            if whole < text.len() {
                tracing::warn!(file = %path.display(), bytes = text.len() - whole, "cutting a torn line off the ledger");
                let file = OpenOptions::new().write(true).open(&path)?;
                file.set_len(whole as u64)?;
                file.sync_all()?;
            }
        }
        Ok(Self {
            root,
            ledger: Mutex::new(ledger),
            staged: AtomicU64::new(0),
        })
    }

    /// The folder of this repository.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a published archive on the volume.
    pub fn archive(&self, release: &Release) -> PathBuf {
        self.root.join(release.path())
    }

    /// Looks at the ledger as it stands.
    pub fn ledger<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(
            &self
                .ledger
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    /// Writes an archive aside: `write` gets the sink; what it wrote is hashed on the way, synced and made read-only.
    ///
    /// # Errors
    /// Of `write` and of the file system. Nothing is left behind.
    pub fn stage(
        &self,
        write: impl FnOnce(files::HashingFile) -> anyhow::Result<files::HashingFile>,
    ) -> anyhow::Result<Staged> {
        let path = self
            .root
            .join("tmp")
            .join(format!("{}.zip", self.staged.fetch_add(1, Ordering::Relaxed)));
        let result = files::HashingFile::create(&path).and_then(|file| write(file)?.finish());
        match result {
            Ok(digests) => Ok(Staged { path, digests }),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Publishes archives: links them into place, then appends their lines to the ledger.
    ///
    /// # Errors
    /// A file of other bytes that is there already, and errors of the file system; the ledger then has none of them.
    pub fn publish(&self, batch: Vec<(Staged, Release)>) -> anyhow::Result<()> {
        let mut folders = std::collections::BTreeSet::new();
        for (staged, release) in &batch {
            let target = self.archive(release);
            if let Some(folder) = target.parent() {
                folders.insert(folder.to_owned());
                fs::create_dir_all(folder)
                    .with_context(|| format!("failed to create `{}`", folder.display()))?;
            }
            files::link_new(&staged.path, &target, staged.digests.sha256)?;
        }
        for folder in &folders {
            files::sync_directory(folder)?;
        }
        files::sync_directory(&self.root.join("packages"))?;

        let mut ledger = self
            .ledger
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut grown = ledger.clone();
        let mut lines = Vec::new();
        for (_, release) in batch {
            lines.extend(grown.push(release)?);
        }
        let path = self.root.join("ledger.jsonl");
        append(&path, &lines)
            .with_context(|| format!("failed to append to the ledger `{}`", path.display()))?;
        files::sync_directory(&self.root)?;
        *ledger = grown;
        Ok(())
    }
}

fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(lines)?;
    file.sync_all()
}

/// Removes what a killed cycle left aside.
fn clear(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("failed to list `{}`", folder.display()))? {
        let path = entry?.path();
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("failed to remove `{}`", path.display()))?;
    }
    Ok(())
}

/// The SHA-256 of a file's contents.
///
/// # Errors
/// Of reading it.
pub fn hash_file(path: &Path) -> anyhow::Result<Sha256> {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    let mut file = File::open(path).with_context(|| format!("failed to open `{}`", path.display()))?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        match io::Read::read(&mut file, &mut buffer)
            .with_context(|| format!("failed to read `{}`", path.display()))?
        {
            0 => return Ok(Sha256(hasher.finalize().into())),
            n => hasher.update(&buffer[..n]),
        }
    }
}
