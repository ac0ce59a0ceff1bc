//! The git repository that is part of the program, for trials without network: three small packages in three versions.
//!
//! It is written beside the clone that is fetched from it. Its objects have the same ids everywhere, so archives do, too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Oid, Repository, RepositoryInitOptions, Signature, Time, Tree};

use super::error::FetchErrorKind;
use super::libgit2;

/// The tags, each with the time of its commit.
const VERSIONS: [(&str, i64); 3] =
    [("1.0.0", 1_767_607_200), ("1.1.0", 1_772_445_600), ("1.2.0", 1_777_284_000)];

/// The files of each version, `{version}` in which is replaced.
const FILES: [(&str, &str); 5] = [
    (
        "modules/catalog/composer.json",
        r#"{
    "name": "demo/module-catalog",
    "description": "An example module, which comes with the mirror",
    "type": "library",
    "license": "BSD-3-Clause",
    "version": "{version}",
    "require": {"php": ">=7.4"},
    "autoload": {"files": ["module.php"]}
}
"#,
    ),
    (
        "modules/catalog/module.php",
        "<?php\nnamespace Demo\\Catalog;\n\nfunction products(): array\n{\n    return ['Product of catalog {version}'];\n}\n",
    ),
    (
        "modules/checkout/composer.json",
        r#"{
    "name": "demo/module-checkout",
    "description": "An example module that requires another one",
    "type": "library",
    "license": "BSD-3-Clause",
    "version": "{version}",
    "require": {"php": ">=7.4", "demo/module-catalog": "{version}"},
    "autoload": {"files": ["module.php"]}
}
"#,
    ),
    (
        "modules/checkout/module.php",
        "<?php\nnamespace Demo\\Checkout;\n\nfunction cart(): string\n{\n    return implode(', ', \\Demo\\Catalog\\products());\n}\n",
    ),
    (
        "shop/composer.json",
        r#"{
    "name": "demo/shop",
    "description": "An example product: a metapackage of the example modules",
    "type": "metapackage",
    "license": "BSD-3-Clause",
    "require": {"demo/module-catalog": "{version}", "demo/module-checkout": "{version}"}
}
"#,
    ),
];

/// The names of its tags.
pub(super) fn tags() -> Vec<String> {
    VERSIONS.iter().map(|(tag, _)| (*tag).to_owned()).collect()
}

/// The repository beside the clone in `dir`, which is created unless it is complete.
pub(super) fn repository(dir: &Path) -> Result<PathBuf, FetchErrorKind> {
    libgit2::initialize();
    let path = dir.with_added_extension("source");
    if is_complete(&path) {
        return Ok(path);
    }
    let failed = |error: &io::Error| FetchErrorKind::clone_failed("create", &path, error);
    let parent = dir.parent().unwrap_or(dir);
    fs::create_dir_all(parent).map_err(|error| failed(&error))?;
    // Another process may create it at the same time, so each has a folder of its own.
    let new = dir.with_added_extension(format!("source-{}", std::process::id()));
    let created = remove(&new)
        .map_err(|error| failed(&error))
        .and_then(|()| write(&new).map_err(|error| FetchErrorKind::clone_failed("create", &path, &error)))
        .and_then(|()| remove(&path).and_then(|()| fs::rename(&new, &path)).map_err(|error| failed(&error)));
    match created {
        Ok(()) => Ok(path),
        Err(_) if is_complete(&path) => remove(&new).map(|()| path.clone()).map_err(|error| failed(&error)),
        Err(error) => Err(error),
    }
}

/// Whether the repository has all versions of this program.
fn is_complete(path: &Path) -> bool {
    let has = |repository: &Repository, tag: &str| {
        let commit = repository.find_reference(&format!("refs/tags/{tag}"));
        commit.and_then(|tag| tag.peel_to_tree()).is_ok()
    };
    Repository::open_bare(path).is_ok_and(|repository| VERSIONS.iter().all(|(tag, _)| has(&repository, tag)))
}

fn write(path: &Path) -> Result<(), git2::Error> {
    let mut options = RepositoryInitOptions::new();
    options.bare(true).mkpath(true).external_template(false).initial_head("main");
    let repository = Repository::init_opts(path, &options)?;
    repository.config()?.set_bool("core.fsyncObjectFiles", true)?;
    let mut parent = None;
    for (version, seconds) in VERSIONS {
        let empty = repository.find_tree(repository.treebuilder(None)?.write()?)?;
        let tree = repository.find_tree(tree(&repository, &empty, version)?)?;
        let author = Signature::new("Mirror", "demo@example.com", &Time::new(seconds, 0))?;
        let parents: Vec<_> = parent.iter().collect();
        let message = format!("Release {version}\n");
        let id = repository.commit(Some("HEAD"), &author, &author, &message, &tree, &parents)?;
        let commit = repository.find_commit(id)?;
        repository.tag_lightweight(version, commit.as_object(), false)?;
        parent = Some(commit);
    }
    Ok(())
}

fn tree(repository: &Repository, empty: &Tree<'_>, version: &str) -> Result<Oid, git2::Error> {
    let mut tree = TreeUpdateBuilder::new();
    for (path, text) in FILES {
        let blob = repository.blob(text.replace("{version}", version).as_bytes())?;
        tree.upsert(path, blob, FileMode::Blob);
    }
    tree.create_updated(repository, empty)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incomplete_repository_is_written_again_with_the_same_ids() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("git/example.git");
        let path = repository(&dir).unwrap();
        let head = |path: &Path| Repository::open_bare(path).unwrap().head().unwrap().target().unwrap();
        let id = head(&path);
        fs::remove_file(path.join("refs/tags/1.2.0")).unwrap();
        assert!(!is_complete(&path));
        assert_eq!(repository(&dir).unwrap(), path);
        assert!(is_complete(&path));
        assert_eq!(head(&path), id);
        let names = fs::read_dir(dir.parent().unwrap()).unwrap().count();
        assert_eq!(names, 1, "nothing is left over");
    }
}
