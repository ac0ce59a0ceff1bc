//! The directory of a clone: complete or absent, never half written.
//!
//! A new clone is built in `<dir>.partial` and renamed when it is complete. Leftovers of a killed process are removed, and a
//! damaged clone is replaced, because it is only a cache. The lock `<dir>.lock` lets one process write at a time.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use git2::{Repository, RepositoryInitOptions};

use super::alternates::parse_alternates;
use super::clone::{BareClone, DAMAGED};
use super::error::{FetchErrorKind, reason};
use super::object_id::ObjectId;
use crate::util::cancel::CancelFlag;
use crate::util::file_lock;

/// A file in a clone that replaced a damaged one; its modification time is that of the replacement.
const REMADE: &str = "remade";

/// A file in a damaged clone; its modification time is that of the last attempt to replace it.
const TRIED: &str = "tried";

/// A file in a clone that was fetched with its history, as far as its remote has it.
const HISTORY: &str = "history";

/// A damaged clone is replaced once a day: if the damage is upstream, each fetch would download everything again.
const REPLACE_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The pause after a failed replacement.
const RETRY_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The pause between attempts to take a lock that another process holds.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// Where a clone's objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ObjectStorage {
    /// In the clone.
    Own,
    /// In the clone, with the history of its refs.
    OwnWithHistory,
    /// In these object directories of other repositories, named in `objects/info/alternates` (gitrepository-layout(5)).
    Alternates(Vec<PathBuf>),
}

/// A clone that is being brought up to date.
pub(super) struct CloneDir {
    dir: PathBuf,
    clone: BareClone,
    /// Where a new clone is built.
    partial: Option<PathBuf>,
    /// Held while this process may write.
    _lock: File,
}

impl CloneDir {
    /// The clone in `dir` if it is intact and its objects are where `objects` says, otherwise a new one. Waits while another
    /// process fetches into it.
    pub(super) fn open_or_create(
        dir: &Path,
        objects: &ObjectStorage,
        max_tree: usize,
        cancel: &CancelFlag,
    ) -> Result<Self, FetchErrorKind> {
        let lock = lock(dir, cancel)?;
        if dir.exists() {
            remove_leftovers(dir).map_err(|error| FetchErrorKind::clone_failed("clean up", dir, &error))?;
            match open_intact(dir, objects, max_tree) {
                Ok(clone) => {
                    return Ok(Self { dir: dir.to_owned(), clone, partial: None, _lock: lock });
                }
                Err(reason) => tracing::warn!(clone = %dir.display(), "cloning again: {reason}"),
            }
        }
        let partial = dir.with_added_extension("partial");
        remove(&partial)?;
        let clone = create(&partial, objects, max_tree)?;
        if dir.join(DAMAGED).exists() {
            for mark in [dir.join(TRIED), partial.join(REMADE)] {
                fs::write(&mark, "")
                    .map_err(|error| FetchErrorKind::clone_failed("create", &mark, &error))?;
            }
        }
        Ok(Self { dir: dir.to_owned(), clone, partial: Some(partial), _lock: lock })
    }

    pub(super) fn bare(&self) -> &BareClone {
        &self.clone
    }

    /// Whether there was no usable clone.
    pub(super) fn is_new(&self) -> bool {
        self.partial.is_some()
    }

    /// Moves a new clone into place.
    pub(super) fn finish(mut self) -> Result<(), FetchErrorKind> {
        if let Some(partial) = &self.partial {
            remove(&self.dir)?;
            fs::rename(partial, &self.dir)
                .map_err(|error| FetchErrorKind::clone_failed("create", &self.dir, &error))?;
            self.partial = None;
        }
        Ok(())
    }
}

impl Drop for CloneDir {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial
            && let Err(error) = fs::remove_dir_all(partial)
        {
            tracing::warn!(path = %partial.display(), %error, "failed to remove an unfinished clone");
        }
    }
}

/// Locks the clone in `dir` by a file next to it.
fn lock(dir: &Path, cancel: &CancelFlag) -> Result<File, FetchErrorKind> {
    let path = dir.with_added_extension("lock");
    let failed = |error: io::Error| FetchErrorKind::clone_failed("lock", dir, &error);
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
    loop {
        if let Some(lock) = file_lock::try_lock(&path).map_err(failed)? {
            return Ok(lock);
        }
        if cancel.is_set() {
            return Err(FetchErrorKind::Cancelled);
        }
        cancel.wait(LOCK_INTERVAL);
    }
}

/// The clone, or why it has to be replaced.
fn open_intact(dir: &Path, objects: &ObjectStorage, max_tree: usize) -> Result<BareClone, String> {
    let clone = BareClone::open(dir, max_tree).map_err(|error| reason(&error))?;
    let refs = clone.refs().map_err(|error| reason(&error))?;
    let is_in_place = match (storage(dir), objects) {
        (ObjectStorage::Own, ObjectStorage::OwnWithHistory) => true,
        (found, expected) => found == *expected,
    };
    if !is_in_place {
        return Err("the source's location changed".into());
    }
    let lacks_history = clone.repository().is_shallow() && !dir.join(HISTORY).exists();
    if *objects == ObjectStorage::OwnWithHistory && lacks_history {
        return Err("the dates of prebuilt archives come from its history".into());
    }
    if needs_replacement(dir) {
        return Err("some of its objects could not be read".into());
    }
    match refs.iter().find(|r| !clone.has(r.id)) {
        Some(broken) => Err(format!("the object of `{}` cannot be read", broken.name)),
        None => Ok(clone),
    }
}

/// Whether objects could not be read, and no recent attempt was made to replace the clone.
fn needs_replacement(dir: &Path) -> bool {
    let modified = |name: &str| fs::metadata(dir.join(name))?.modified();
    let is_within = |name: &str, time: Duration| {
        modified(name).is_ok_and(|then| then.elapsed().is_ok_and(|age| age < time))
    };
    dir.join(DAMAGED).exists() && !is_within(REMADE, REPLACE_INTERVAL) && !is_within(TRIED, RETRY_INTERVAL)
}

fn create(dir: &Path, objects: &ObjectStorage, max_tree: usize) -> Result<BareClone, FetchErrorKind> {
    let init = |dir: &Path| -> Result<(), git2::Error> {
        let mut options = RepositoryInitOptions::new();
        options.bare(true).mkpath(true).external_template(false);
        let repository = Repository::init_opts(dir, &options)?;
        // A power cut must not leave a pack that only looks complete.
        repository.config()?.set_bool("core.fsyncObjectFiles", true)
    };
    init(dir).map_err(|error| FetchErrorKind::clone_failed("create", dir, &error))?;
    if *objects == ObjectStorage::OwnWithHistory {
        let mark = dir.join(HISTORY);
        fs::write(&mark, "").map_err(|error| FetchErrorKind::clone_failed("create", &mark, &error))?;
    }
    if let ObjectStorage::Alternates(list) = objects {
        let lines: Vec<u8> =
            list.iter().flat_map(|path| [path.as_os_str().as_encoded_bytes(), b"\n"].concat()).collect();
        let info = dir.join("objects/info");
        fs::create_dir_all(&info)
            .and_then(|()| fs::write(info.join("alternates"), lines))
            .map_err(|error| FetchErrorKind::clone_failed("create", &info, &error))?;
    }
    BareClone::open(dir, max_tree).map_err(|error| FetchErrorKind::clone_failed("open", dir, &error))
}

fn storage(dir: &Path) -> ObjectStorage {
    match fs::read(dir.join("objects/info/alternates")) {
        Ok(text) => ObjectStorage::Alternates(parse_alternates(&text)),
        Err(_) => ObjectStorage::Own,
    }
}

/// Removes what a killed process or a power cut leaves: lock files, which would block every later fetch; refs
/// without content, which libgit2 neither lists nor overwrites; unfinished packs.
fn remove_leftovers(dir: &Path) -> io::Result<()> {
    // No ref can end in `.lock` (git-check-ref-format(1)).
    remove_files(&dir.join("refs"), &|path| Ok(ends_with(path, ".lock") || !is_ref(path)?))?;
    let is_unfinished = |path: &Path| Ok(path.to_string_lossy().contains("/pack_git2_"));
    remove_files(&dir.join("objects/pack"), &is_unfinished)?;
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry?.path();
        if ends_with(&path, ".lock") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn ends_with(path: &Path, end: &str) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(end.as_bytes())
}

fn is_ref(path: &Path) -> io::Result<bool> {
    let text = fs::read(path)?;
    Ok(str::from_utf8(&text).is_ok_and(|text| text.trim_end().parse::<ObjectId>().is_ok()))
}

fn remove_files(dir: &Path, matches: &dyn Fn(&Path) -> io::Result<bool>) -> io::Result<()> {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            remove_files(&path, matches)?;
        } else if matches(&path)? {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), FetchErrorKind> {
    let removed = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.map_err(|error| FetchErrorKind::clone_failed("remove", path, &error))
}
