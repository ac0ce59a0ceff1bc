//! The directory of a clone: whole or absent, never half made.
//!
//! A new clone grows in `<dir>.partial` and takes its place by a rename. What a killed process left behind is
//! swept away; what cannot be trusted is made anew, because a clone is only a cache. One process writes to it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use git2::{Repository, RepositoryInitOptions};

use super::clone::{BareClone, DAMAGED};
use super::error::FetchErrorKind;
use super::object_id::ObjectId;

/// A file in a clone that was made anew because of damage, which says when that was.
const REMADE: &str = "remade";

/// A file in a damaged clone, which says when it was last tried to make it anew.
const TRIED: &str = "tried";

/// How long a clone that was made anew because of damage is not made anew for that again: what is damaged upstream, too,
/// is not downloaded with each fetch.
const LASTS: Duration = Duration::from_secs(24 * 60 * 60);

/// How long it is not tried again where that came to no end.
const AGAIN: Duration = Duration::from_secs(60 * 60);

/// Where a clone's objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ObjectStorage {
    /// In the clone.
    Own,
    /// In these object directories of other repositories, by `objects/info/alternates` (gitrepository-layout(5)).
    Alternates(Vec<PathBuf>),
}

/// A clone that is being brought up to date.
pub(super) struct CloneDir {
    dir: PathBuf,
    clone: BareClone,
    /// Where a new clone grows.
    partial: Option<PathBuf>,
}

impl CloneDir {
    /// The clone in `dir` if it is sound and keeps its objects as `objects` says, otherwise a new one.
    pub(super) fn open_or_create(dir: &Path, objects: &ObjectStorage) -> Result<Self, FetchErrorKind> {
        if dir.exists() {
            sweep(dir).map_err(|error| failed("clean up", dir, error))?;
            match sound(dir, objects) {
                Ok(clone) => {
                    return Ok(Self {
                        dir: dir.to_owned(),
                        clone,
                        partial: None,
                    });
                }
                Err(reason) => tracing::warn!(clone = %dir.display(), reason, "making the clone anew"),
            }
        }
        let partial = beside(dir);
        remove(&partial)?;
        let clone = make(&partial, objects)?;
        if dir.join(DAMAGED).exists() {
            for mark in [dir.join(TRIED), partial.join(REMADE)] {
                fs::write(&mark, "").map_err(|error| failed("create", &mark, error))?;
            }
        }
        Ok(Self {
            dir: dir.to_owned(),
            clone,
            partial: Some(partial),
        })
    }

    pub(super) fn bare(&self) -> &BareClone {
        &self.clone
    }

    /// Whether there was no usable clone before.
    pub(super) fn is_new(&self) -> bool {
        self.partial.is_some()
    }

    /// Puts a new clone where it belongs.
    pub(super) fn finish(mut self) -> Result<(), FetchErrorKind> {
        if let Some(partial) = &self.partial {
            remove(&self.dir)?;
            fs::rename(partial, &self.dir).map_err(|error| failed("create", &self.dir, error))?;
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

/// Opens the clone, or says what is wrong with it.
fn sound(dir: &Path, objects: &ObjectStorage) -> Result<BareClone, String> {
    let clone = BareClone::open(dir).map_err(|error| error.to_string())?;
    let refs = clone.refs().map_err(|error| error.to_string())?;
    if borrowed(dir) != *objects {
        return Err("its objects are to come from elsewhere".into());
    }
    if is_damaged(dir) {
        return Err("objects in it could not be read".into());
    }
    match refs.iter().find(|r| !clone.has(r.id)) {
        Some(broken) => Err(format!("the object of `{}` cannot be read", broken.name)),
        None => Ok(clone),
    }
}

/// Whether something in it could not be read, and it was neither made anew for that lately nor tried to.
fn is_damaged(dir: &Path) -> bool {
    let modified = |name: &str| fs::metadata(dir.join(name))?.modified();
    let is_within = |name: &str, time: Duration| {
        modified(name).is_ok_and(|then| then.elapsed().is_ok_and(|age| age < time))
    };
    dir.join(DAMAGED).exists() && !is_within(REMADE, LASTS) && !is_within(TRIED, AGAIN)
}

fn make(dir: &Path, objects: &ObjectStorage) -> Result<BareClone, FetchErrorKind> {
    let init = |dir: &Path| -> Result<(), git2::Error> {
        let mut options = RepositoryInitOptions::new();
        options.bare(true).mkpath(true).external_template(false);
        let repository = Repository::init_opts(dir, &options)?;
        // A power cut must not leave a pack that looks whole.
        repository.config()?.set_bool("core.fsyncObjectFiles", true)
    };
    init(dir).map_err(|error| failed("create", dir, error))?;
    if let ObjectStorage::Alternates(list) = objects {
        let lines: Vec<u8> = list
            .iter()
            .flat_map(|path| [path.as_os_str().as_encoded_bytes(), b"\n"].concat())
            .collect();
        let info = dir.join("objects/info");
        fs::create_dir_all(&info)
            .and_then(|()| fs::write(info.join("alternates"), lines))
            .map_err(|error| failed("create", &info, error))?;
    }
    BareClone::open(dir).map_err(|error| failed("open", dir, error))
}

fn borrowed(dir: &Path) -> ObjectStorage {
    match fs::read(dir.join("objects/info/alternates")) {
        Ok(text) => ObjectStorage::Alternates(lines(&text)),
        Err(_) => ObjectStorage::Own,
    }
}

/// The paths in an alternates file.
pub(super) fn lines(text: &[u8]) -> Vec<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    lines
        .map(|line| OsString::from_vec(line.to_vec()).into())
        .collect()
}

/// Removes what a killed process or a power cut leaves: lock files, which would block every later fetch, refs
/// without content, which libgit2 neither lists nor overwrites, and unfinished packs.
fn sweep(dir: &Path) -> io::Result<()> {
    // No ref can end in `.lock` (git-check-ref-format(1)), so nothing else is hit.
    remove_files(&dir.join("refs"), &|path| {
        ends_with(path, ".lock") || !is_ref(path)
    })?;
    remove_files(&dir.join("objects/pack"), &|path| {
        path.to_string_lossy().contains("/pack_git2_")
    })?;
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

fn is_ref(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim_end().parse::<ObjectId>().is_ok())
}

fn remove_files(dir: &Path, doomed: &dyn Fn(&Path) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            remove_files(&path, doomed)?;
        } else if doomed(&path) {
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
    removed.map_err(|error| failed("remove", path, error))
}

fn beside(dir: &Path) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

pub(super) fn failed(verb: &'static str, path: &Path, reason: impl ToString) -> FetchErrorKind {
    FetchErrorKind::Clone {
        verb,
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
