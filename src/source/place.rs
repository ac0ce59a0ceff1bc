//! The directory of a clone: whole or absent, never half made.
//!
//! A new clone grows in `<dir>.partial` and takes its place by a rename. What a killed process left behind is
//! swept away; what cannot be trusted is made anew, because a clone is only a cache. One process writes to it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fs, io};

use git2::{Repository, RepositoryInitOptions};

use super::clone::BareClone;
use super::error::Cause;

/// Where a clone's objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Objects {
    /// In the clone.
    Own,
    /// In these object directories of other repositories, by `objects/info/alternates` (gitrepository-layout(5)).
    Borrowed(Vec<PathBuf>),
}

/// A clone that is being brought up to date.
pub(super) struct Place {
    dir: PathBuf,
    clone: BareClone,
    /// Where a new clone grows.
    partial: Option<PathBuf>,
}

impl Place {
    /// The clone in `dir` if it is sound and keeps its objects as `objects` says, otherwise a new one.
    pub(super) fn open_or_make(dir: &Path, objects: &Objects) -> Result<Self, Cause> {
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
    pub(super) fn finish(mut self) -> Result<(), Cause> {
        if let Some(partial) = &self.partial {
            remove(&self.dir)?;
            fs::rename(partial, &self.dir).map_err(|error| failed("create", &self.dir, error))?;
            self.partial = None;
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial
            && let Err(error) = fs::remove_dir_all(partial)
        {
            tracing::warn!(path = %partial.display(), %error, "failed to remove an unfinished clone");
        }
    }
}

/// Opens the clone, or says what is wrong with it.
fn sound(dir: &Path, objects: &Objects) -> Result<BareClone, String> {
    let clone = BareClone::open(dir).map_err(|error| error.to_string())?;
    let refs = clone.refs().map_err(|error| error.to_string())?;
    if borrowed(dir) != *objects {
        return Err("its objects are to come from elsewhere".into());
    }
    match refs.iter().find(|r| !clone.has(r.id)) {
        Some(broken) => Err(format!("the object of `{}` cannot be read", broken.name)),
        None => Ok(clone),
    }
}

fn make(dir: &Path, objects: &Objects) -> Result<BareClone, Cause> {
    let init = |dir: &Path| -> Result<(), git2::Error> {
        let mut options = RepositoryInitOptions::new();
        options.bare(true).mkpath(true).external_template(false);
        let repository = Repository::init_opts(dir, &options)?;
        // A power cut must not leave a pack that looks whole.
        repository.config()?.set_bool("core.fsyncObjectFiles", true)
    };
    init(dir).map_err(|error| failed("create", dir, error))?;
    if let Objects::Borrowed(list) = objects {
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

fn borrowed(dir: &Path) -> Objects {
    match fs::read(dir.join("objects/info/alternates")) {
        Ok(text) => Objects::Borrowed(lines(&text)),
        Err(_) => Objects::Own,
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

/// Removes what a killed process leaves: lock files, which would block every later fetch, and unfinished packs.
fn sweep(dir: &Path) -> io::Result<()> {
    // No ref can end in `.lock` (git-check-ref-format(1)), so nothing else is hit.
    remove_files(&dir.join("refs"), &|name| name.ends_with(".lock"))?;
    remove_files(&dir.join("objects/pack"), &|name| name.contains("_git2_"))?;
    for name in ["packed-refs.lock", "config.lock", "shallow.lock", "HEAD.lock"] {
        match fs::remove_file(dir.join(name)) {
            Err(error)
                if error.kind() != io::ErrorKind::NotFound
                    && error.kind() != io::ErrorKind::NotADirectory =>
            {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}

fn remove_files(dir: &Path, doomed: &dyn Fn(&str) -> bool) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_files(&entry.path(), doomed)?;
        } else if doomed(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), Cause> {
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

pub(super) fn failed(verb: &'static str, path: &Path, reason: impl ToString) -> Cause {
    Cause::Clone {
        verb,
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
