//! Sources on the local file system: the clone uses their objects in place, as `git clone --shared --bare` does.
//!
//! libgit2's own local transport would pack all objects again, which is much slower than a download. If the source is moved,
//! the clone is replaced.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use git2::{Repository, RepositoryOpenFlags};

use super::error::{FetchErrorKind, RepositoryFormat, reason};
use super::libgit2;
use super::object_id::Ref;
use super::ref_diff::RefFilter;
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
        let repository = Repository::open_ext(path, flags, std::iter::empty::<&Path>()).map_err(|error| {
            match unsupported_format(path) {
                Some(format) => FetchErrorKind::Unsupported(format),
                None => not_a_repository(path, &error),
            }
        })?;
        Ok(Self { path: path.to_owned(), repository })
    }

    /// The refs whose names `filter` admits, symbolic ones resolved.
    pub(super) fn refs(&self, filter: &RefFilter) -> Result<Vec<Ref>, FetchErrorKind> {
        let admits = |name: &str| filter.admits_name(name);
        refs::all(&self.repository, &admits).map_err(|error| not_a_repository(&self.path, &error))
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

/// The source of the clone in `dir`, if it is a partial clone: git marks the packs of these by a file `*.promisor`.
pub(super) fn partial_source(dir: &Path) -> Option<PathBuf> {
    let sources = parse_alternates(&fs::read(dir.join("objects/info/alternates")).ok()?);
    let is_promisor = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "promisor"))
    };
    let is_partial =
        |objects: &PathBuf| fs::read_dir(objects.join("pack")).is_ok_and(|mut all| all.any(is_promisor));
    sources.into_iter().find(is_partial)?.parent().map(Path::to_owned)
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

/// The extension in the configuration of a repository that keeps libgit2 from opening it (git-config(1), `extensions.*`).
fn unsupported_format(path: &Path) -> Option<RepositoryFormat> {
    let config = git2::Config::open(&common_dir(path)?.join("config")).ok()?;
    let mut formats = Vec::new();
    let entries = config.entries(Some("^extensions\\.")).ok()?;
    let collected = entries.for_each(|entry| {
        let name = entry.name().unwrap_or_default().trim_start_matches("extensions.");
        formats.extend(match (name, entry.value().unwrap_or_default()) {
            ("objectformat", "sha256") => Some(RepositoryFormat::Sha256),
            ("refstorage", "reftable") => Some(RepositoryFormat::Reftable),
            ("partialclone", _) => Some(RepositoryFormat::PartialClone),
            // libgit2 knows these.
            ("noop" | "objectformat" | "worktreeconfig" | "preciousobjects" | "relativeworktrees", _) => None,
            (other, _) => Some(RepositoryFormat::Extension(other.to_owned())),
        });
    });
    collected.ok()?;
    formats.into_iter().next()
}

/// The folder with the configuration of a repository, which may have a work tree, or be one of several work trees
/// (gitrepository-layout(5)).
fn common_dir(path: &Path) -> Option<PathBuf> {
    let dot_git = path.join(".git");
    let dir = match fs::read_to_string(&dot_git) {
        Ok(link) => path.join(link.strip_prefix("gitdir: ")?.trim_end()),
        Err(_) if dot_git.is_dir() => dot_git,
        Err(_) => path.to_owned(),
    };
    match fs::read_to_string(dir.join("commondir")) {
        Ok(common) => Some(dir.join(common.trim_end())),
        Err(_) => Some(dir),
    }
}

fn not_a_repository(path: &Path, error: &(dyn std::error::Error + 'static)) -> FetchErrorKind {
    FetchErrorKind::NotARepository { path: path.to_owned(), reason: reason(error) }
}
