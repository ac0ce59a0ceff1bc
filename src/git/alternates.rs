//! Sources on the local file system: nothing is copied, the clone borrows the source's objects.
//!
//! The clone is what `git clone --shared --bare` makes. libgit2's own local transport would pack everything anew,
//! ten times slower than a download. The source must stay where it is; when it goes, the clone is made anew.

use std::fs;
use std::path::{Path, PathBuf};

use git2::{Repository, RepositoryOpenFlags};

use super::clone_dir::lines;
use super::error::FetchErrorKind;
use super::object_id::Ref;
use super::refs;
use super::transport::prepare_libgit2;

/// git follows alternates of alternates this far (its own limit, and libgit2's).
const MAX_DEPTH: usize = 5;

/// A repository, bare or with a work tree, that others borrow from.
pub(super) struct Source {
    path: PathBuf,
    repository: Repository,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, FetchErrorKind> {
        prepare_libgit2();
        let flags = RepositoryOpenFlags::NO_SEARCH;
        let repository = Repository::open_ext(path, flags, std::iter::empty::<&Path>())
            .map_err(|error| not_a_repository(path, error.message()))?;
        Ok(Self {
            path: path.to_owned(),
            repository,
        })
    }

    /// The refs, symbolic ones resolved.
    pub(super) fn refs(&self) -> Result<Vec<Ref>, FetchErrorKind> {
        refs::all(&self.repository).map_err(|error| not_a_repository(&self.path, &error.to_string()))
    }

    /// The object directories that hold the source's objects: its own, and those that it borrows itself.
    pub(super) fn objects(&self) -> Result<Vec<PathBuf>, FetchErrorKind> {
        let mut found = Vec::new();
        follow(
            &self.repository.commondir().join("objects"),
            MAX_DEPTH,
            &mut found,
        )
        .map_err(|error| not_a_repository(&self.path, &error.to_string()))?;
        Ok(found)
    }
}

/// Relative alternates are relative to the object directory that names them. They are written out because
/// libgit2 resolves them at the first level only.
fn follow(objects: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let objects = fs::canonicalize(objects)?;
    if found.contains(&objects) {
        return Ok(());
    }
    found.push(objects.clone());
    let Ok(alternates) = fs::read(objects.join("info/alternates")) else {
        return Ok(());
    };
    if depth > 0 {
        for alternate in lines(&alternates) {
            follow(&objects.join(alternate), depth - 1, found)?;
        }
    }
    Ok(())
}

fn not_a_repository(path: &Path, reason: &str) -> FetchErrorKind {
    FetchErrorKind::NotARepository {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}
