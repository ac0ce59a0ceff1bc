//! Lists all refs of a repository on the file system, or fails.
//!
//! libgit2 treats an unreadable folder of refs as empty and an unreadable `packed-refs` as absent, as if tags had been
//! deleted. So the names are read here as well, and libgit2 must have listed all of them. It lists first, so a ref that is
//! created in between needs another attempt.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use git2::Repository;

use super::object_id::Ref;
use crate::util::text::without_error_numbers;

/// How often the refs are listed when libgit2 lacks some.
const ATTEMPTS: usize = 3;

/// Why the refs could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListRefsError {
    #[error("{}", .0.message())]
    Git(#[from] git2::Error),
    #[error("failed to read `{}`: {}", .path.display(), without_error_numbers(&.error.to_string()))]
    File { path: std::path::PathBuf, error: io::Error },
    #[error("failed to read the ref `{0}`")]
    Missing(String),
}

/// The refs whose names `admits` accepts, in byte order of their names, symbolic ones resolved.
pub(super) fn all(repository: &Repository, admits: &dyn Fn(&str) -> bool) -> Result<Vec<Ref>, ListRefsError> {
    let mut missing = String::new();
    for _ in 0..ATTEMPTS {
        let (refs, names) = listed(repository, admits)?;
        let mut stored = Vec::new();
        loose(&repository.commondir().join("refs"), "refs", admits, &mut stored)?;
        packed(&repository.commondir().join("packed-refs"), admits, &mut stored)?;
        match stored.into_iter().find(|name| !names.contains(name)) {
            None => return Ok(refs),
            Some(name) => missing = name,
        }
    }
    Err(ListRefsError::Missing(missing))
}

/// The refs that libgit2 lists, and all their names, including those of refs without an object.
fn listed(
    repository: &Repository,
    admits: &dyn Fn(&str) -> bool,
) -> Result<(Vec<Ref>, HashSet<String>), git2::Error> {
    let (mut refs, mut names) = (Vec::new(), HashSet::new());
    for reference in repository.references()? {
        let reference = reference?;
        // A name that is not UTF-8 cannot be selected.
        let Some(name) = reference.name().ok().filter(|name| admits(name)) else {
            continue;
        };
        names.insert(name.to_owned());
        let target = match reference.target() {
            Some(id) => Some(id),
            None => match reference.resolve() {
                Ok(resolved) => resolved.target(),
                // A dangling symbolic ref has no object.
                Err(error) if error.code() == git2::ErrorCode::NotFound => None,
                Err(error) => return Err(error),
            },
        };
        refs.extend(target.map(|id| Ref { name: name.to_owned(), id: id.into() }));
    }
    refs.sort();
    Ok((refs, names))
}

/// The names of the refs below a folder, without git's lock files.
fn loose(
    folder: &Path,
    prefix: &str,
    admits: &dyn Fn(&str) -> bool,
    found: &mut Vec<String>,
) -> Result<(), ListRefsError> {
    let failed = |error| ListRefsError::File { path: folder.to_owned(), error };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let name = format!("{prefix}/{name}");
        if entry.file_type().map_err(failed)?.is_dir() {
            loose(&entry.path(), &name, admits, found)?;
        } else if admits(&name) && git2::Reference::is_valid_name(&name) {
            found.push(name);
        }
    }
    Ok(())
}

/// The names in `packed-refs`: lines of `<object> <name>`. Comments (`#`) and peeled tags (`^`) are skipped.
fn packed(file: &Path, admits: &dyn Fn(&str) -> bool, found: &mut Vec<String>) -> Result<(), ListRefsError> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(ListRefsError::File { path: file.to_owned(), error });
        }
    };
    let lines = text.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let named = lines.filter(|line| !line.starts_with(['#', '^']));
    let names = named.filter_map(|line| Some(line.split_once(' ')?.1)).filter(|name| admits(name));
    found.extend(names.map(str::to_owned));
    Ok(())
}
