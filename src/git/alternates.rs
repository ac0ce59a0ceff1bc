//! Sources on the local file system: the clone uses their objects in place, as `git clone --shared --bare` does.
//!
//! libgit2's own local transport would pack all objects again, which is much slower than a download. The source must stay
//! where it is; if it is moved, the clone is replaced.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use git2::{Repository, RepositoryOpenFlags};

use super::error::{FetchErrorKind, reason};
use super::libgit2;
use super::object_id::Ref;
use super::refs;

/// How far git and libgit2 follow alternates of alternates.
const MAX_DEPTH: usize = 5;

/// A repository, bare or with a work tree, whose objects clones use.
pub(super) struct SourceRepository {
    path: PathBuf,
    repository: Repository,
}

impl SourceRepository {
    pub(super) fn open(path: &Path) -> Result<Self, FetchErrorKind> {
        libgit2::initialize();
        if fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Err(FetchErrorKind::NoSuchFolder(path.to_owned()));
        }
        let flags = RepositoryOpenFlags::NO_SEARCH;
        let repository = Repository::open_ext(path, flags, std::iter::empty::<&Path>())
            .map_err(|error| not_a_repository(path, &error))?;
        Ok(Self { path: path.to_owned(), repository })
    }

    /// The refs, symbolic ones resolved.
    pub(super) fn refs(&self) -> Result<Vec<Ref>, FetchErrorKind> {
        refs::all(&self.repository).map_err(|error| not_a_repository(&self.path, &error))
    }

    /// The source's object directory and those of its own alternates.
    pub(super) fn objects(&self) -> Result<Vec<PathBuf>, FetchErrorKind> {
        let mut found = Vec::new();
        let objects = self.repository.commondir().join("objects");
        follow(&objects, MAX_DEPTH, &mut found).map_err(|error| not_a_repository(&self.path, &error))?;
        Ok(found)
    }
}

/// The paths in an alternates file (gitrepository-layout(5)).
pub(super) fn parse_alternates(text: &[u8]) -> Vec<PathBuf> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    lines.map(|line| OsString::from_vec(line.to_vec()).into()).collect()
}

/// Collects absolute paths, because libgit2 resolves alternates relative to their directory at the first level only.
fn follow(objects: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let objects = fs::canonicalize(objects)?;
    if found.contains(&objects) {
        return Ok(());
    }
    found.push(objects.clone());
    let alternates = match fs::read(objects.join("info/alternates")) {
        Ok(alternates) => alternates,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if depth > 0 {
        for alternate in parse_alternates(&alternates) {
            follow(&objects.join(alternate), depth - 1, found)?;
        }
    }
    Ok(())
}

fn not_a_repository(path: &Path, error: &(dyn std::error::Error + 'static)) -> FetchErrorKind {
    FetchErrorKind::NotARepository { path: path.to_owned(), reason: reason(error) }
}
