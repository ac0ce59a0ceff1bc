//! Sources on the local file system: nothing is copied, the clone borrows the source's objects.
//!
//! The clone is what `git clone --shared --bare` makes. libgit2's own local transport would pack everything anew,
//! ten times slower than a download. The source must stay where it is; when it goes, the clone is made anew.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use git2::{Repository, RepositoryOpenFlags};

use super::error::Cause;
use super::id::Ref;
use super::place::lines;

/// git follows alternates of alternates this far (its own limit, and libgit2's).
const MAX_DEPTH: usize = 5;

/// How often refs that do not agree are listed.
const LOOKS: usize = 3;

/// A repository, bare or with a work tree, that others borrow from.
pub(super) struct Source {
    path: PathBuf,
    repository: Repository,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, Cause> {
        let flags = RepositoryOpenFlags::NO_SEARCH;
        let repository = Repository::open_ext(path, flags, std::iter::empty::<&Path>())
            .map_err(|error| not_a_repository(path, error.message()))?;
        Ok(Self {
            path: path.to_owned(),
            repository,
        })
    }

    /// The refs, symbolic ones resolved.
    ///
    /// libgit2 takes a folder that cannot be listed for an empty one, and refs that seem gone look like deleted tags. So
    /// what lies in the folder is listed here too, after libgit2, and must be among its refs; a ref that came in
    /// between is there at the second look.
    pub(super) fn refs(&self) -> Result<Vec<Ref>, Cause> {
        let mut missing = None;
        for _ in 0..LOOKS {
            let (refs, names) = self.listed()?;
            let mut loose = Vec::new();
            let folder = self.repository.commondir();
            loose_refs(&folder.join("refs"), "refs", &mut loose)
                .map_err(|error| not_a_repository(&self.path, &error.to_string()))?;
            missing = loose.into_iter().find(|name| !names.contains(name));
            if missing.is_none() {
                return Ok(refs);
            }
        }
        let missing = missing.unwrap_or_default();
        Err(not_a_repository(
            &self.path,
            &format!("`{missing}` cannot be read"),
        ))
    }

    /// The refs as libgit2 lists them, and the names of all, also of those that name no object.
    fn listed(&self) -> Result<(Vec<Ref>, HashSet<String>), Cause> {
        let unreadable = |error: git2::Error| not_a_repository(&self.path, error.message());
        let (mut refs, mut names) = (Vec::new(), HashSet::new());
        for reference in self.repository.references().map_err(unreadable)? {
            let reference = reference.map_err(unreadable)?;
            // A name that is not UTF-8 cannot be selected.
            let Ok(name) = reference.name() else {
                continue;
            };
            names.insert(name.to_owned());
            // A symbolic ref to nothing names no object.
            if let Some(id) = reference.resolve().ok().and_then(|resolved| resolved.target()) {
                refs.push(Ref {
                    name: name.to_owned(),
                    id: id.into(),
                });
            }
        }
        refs.sort();
        Ok((refs, names))
    }

    /// The object directories that hold the source's objects: its own, and those that it borrows itself.
    pub(super) fn objects(&self) -> Result<Vec<PathBuf>, Cause> {
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

/// The names of the files below a folder of refs, that of the folder put before; git's lock files are none.
fn loose_refs(folder: &Path, above: &str, found: &mut Vec<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let name = format!("{above}/{name}");
        if entry.file_type()?.is_dir() {
            loose_refs(&entry.path(), &name, found)?;
        } else if git2::Reference::is_valid_name(&name) {
            found.push(name);
        }
    }
    Ok(())
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

fn not_a_repository(path: &Path, reason: &str) -> Cause {
    Cause::NotARepository {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}
