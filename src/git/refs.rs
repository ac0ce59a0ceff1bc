//! All refs of a repository on the file system, or an error.
//!
//! libgit2 takes a folder that cannot be listed for an empty one, and a file of packed refs that cannot be looked at for
//! none; refs that seem gone then look like deleted tags. So what is there is read here too, after libgit2, and must be
//! among its refs; a ref that came in between is there at the second look.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use git2::Repository;

use super::object_id::Ref;

/// How often refs that do not agree are listed.
const LOOKS: usize = 3;

/// Why the refs are not known.
#[derive(Debug, thiserror::Error)]
pub enum ListRefsError {
    #[error(transparent)]
    Git(#[from] git2::Error),
    #[error("failed to read `{}`: {error}", .path.display())]
    File {
        path: std::path::PathBuf,
        error: io::Error,
    },
    #[error("`{0}` cannot be read")]
    Missing(String),
}

/// The refs in byte order of their names, symbolic ones resolved.
///
/// # Errors
/// A ref that is there and cannot be read, a folder of refs that cannot be listed.
pub(super) fn all(repository: &Repository) -> Result<Vec<Ref>, ListRefsError> {
    let mut missing = String::new();
    for _ in 0..LOOKS {
        let (refs, names) = listed(repository)?;
        let mut there = Vec::new();
        loose(&repository.commondir().join("refs"), "refs", &mut there)?;
        packed(&repository.commondir().join("packed-refs"), &mut there)?;
        match there.into_iter().find(|name| !names.contains(name)) {
            None => return Ok(refs),
            Some(name) => missing = name,
        }
    }
    Err(ListRefsError::Missing(missing))
}

/// The refs as libgit2 lists them, and the names of all, also of those that name no object.
fn listed(repository: &Repository) -> Result<(Vec<Ref>, HashSet<String>), git2::Error> {
    let (mut refs, mut names) = (Vec::new(), HashSet::new());
    for reference in repository.references()? {
        let reference = reference?;
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

/// The names of the files below a folder of refs, that of the folder put before; git's lock files are none.
fn loose(folder: &Path, above: &str, found: &mut Vec<String>) -> Result<(), ListRefsError> {
    let failed = |error| ListRefsError::File {
        path: folder.to_owned(),
        error,
    };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let name = format!("{above}/{name}");
        if entry.file_type().map_err(failed)?.is_dir() {
            loose(&entry.path(), &name, found)?;
        } else if git2::Reference::is_valid_name(&name) {
            found.push(name);
        }
    }
    Ok(())
}

/// The names in a file of packed refs: `<object> <name>` a line, beside comments (`#`) and peeled tags (`^`).
fn packed(file: &Path, found: &mut Vec<String>) -> Result<(), ListRefsError> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(ListRefsError::File {
                path: file.to_owned(),
                error,
            });
        }
    };
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok());
    let named = lines.filter(|line| !line.starts_with(['#', '^']));
    found.extend(named.filter_map(|line| Some(line.split_once(' ')?.1.to_owned())));
    Ok(())
}
