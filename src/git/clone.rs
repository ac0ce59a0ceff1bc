//! Reads tags, commits, trees and blobs of a bare clone.
//!
//! The names of tree entries are checked: each is safe to use as one component of a path. Each thread opens a handle of its
//! own, which is cheap.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::{ObjectType, Repository, RepositoryOpenFlags};

use super::alternates;
use super::blob_cache::BlobCache;
use super::dot_git::is_dot_git;
use super::error::RepositoryFormat;
use super::libgit2;
use super::object_headers::{CommitHeader, tag_target};
use super::object_id::{ObjectId, Ref};
use super::ref_diff::extra_ref_name;
use super::refs::{self, ListRefsError};
use crate::util::text::shortened;

/// The most characters of a name that an error shows: a tree may have megabytes in one.
const MAX_SHOWN: usize = 200;

/// A file that marks a clone with objects that could not be read, for the next fetch.
pub(super) const DAMAGED: &str = "damaged";

/// A bare clone, created by [`super::Fetcher::fetch`].
pub struct BareClone {
    repository: Repository,
    dir: PathBuf,
    /// Maximum size of a commit, a tag or a tree.
    max_tree: usize,
    /// Blobs whose size is allowed, see [`Self::blob_within`].
    allowed: RefCell<HashSet<ObjectId>>,
    blobs: BlobCache,
}

/// The parts of a commit that packages need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub id: ObjectId,
    /// The root tree.
    pub tree: ObjectId,
    /// The committer's time in seconds since 1970.
    pub time: i64,
}

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    pub name: String,
    pub kind: EntryKind,
    pub id: ObjectId,
}

/// The kind of a tree entry, from its mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    Tree,
    File,
    /// A file with the executable bit.
    Executable,
    /// The blob is the link's target.
    Symlink,
    /// A commit of another repository.
    Submodule,
}

/// Why something could not be read from a clone.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("failed to open the clone `{}`: {}", .dir.display(), .source.message())]
    Open { dir: PathBuf, source: git2::Error },
    #[error("failed to list the refs of `{}`: {source}", .dir.display())]
    Refs { dir: PathBuf, source: ListRefsError },
    #[error("failed to read {kind} `{id}` in `{}`: {}; the next fetch clones again, at most once a day", .dir.display(), .source.message())]
    Object { dir: PathBuf, kind: &'static str, id: ObjectId, source: git2::Error },
    #[error(
        "there is not enough memory to read {kind} `{id}`\nhint: raise `limits.cycle_memory`, or give the container more memory"
    )]
    OutOfMemory { kind: &'static str, id: ObjectId },
    #[error("failed to read {kind} `{id}`: {format}: `{}`", .source_dir.display())]
    PartialClone { kind: &'static str, id: ObjectId, source_dir: PathBuf, format: RepositoryFormat },
    #[error("{kind} `{id}` has {size} bytes, more than {limit}\nhint: `limits.tree` in the configuration")]
    TooLarge { kind: &'static str, id: ObjectId, size: usize, limit: usize },
    #[error("`{name}` points to a {kind}, not to a commit (object `{id}`)")]
    NotACommit { name: String, kind: &'static str, id: ObjectId },
    #[error("tree `{tree}` has an entry with the unusable name `{name}`")]
    BadName { tree: ObjectId, name: String },
}

impl BareClone {
    /// Opens the clone in `dir`. Commits, tags and trees of more than `max_tree` bytes are not read.
    pub fn open(dir: &Path, max_tree: usize) -> Result<Self, ReadError> {
        libgit2::initialize();
        let flags = RepositoryOpenFlags::BARE | RepositoryOpenFlags::NO_SEARCH;
        let repository = Repository::open_ext(dir, flags, std::iter::empty::<&Path>())
            .map_err(|source| ReadError::Open { dir: dir.to_owned(), source })?;
        Ok(Self {
            repository,
            dir: dir.to_owned(),
            max_tree,
            allowed: RefCell::default(),
            blobs: BlobCache::default(),
        })
    }

    /// Shares a blob cache with other handles of this clone.
    #[must_use]
    pub fn with_blob_cache(self, blobs: &BlobCache) -> Self {
        Self { blobs: blobs.clone(), ..self }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn unreadable(&self, kind: &'static str, id: ObjectId, source: git2::Error) -> ReadError {
        match source.class() {
            git2::ErrorClass::NoMemory => ReadError::OutOfMemory { kind, id },
            _ => ReadError::Object { dir: self.dir.clone(), kind, id, source },
        }
    }

    pub(super) fn repository(&self) -> &Repository {
        &self.repository
    }

    /// All refs, in byte order of their names.
    pub(super) fn refs(&self) -> Result<Vec<Ref>, ReadError> {
        refs::all(&self.repository, &|_| true)
            .map_err(|source| ReadError::Refs { dir: self.dir.clone(), source })
    }

    /// The selected tags, in byte order of their names, like `git tag`.
    pub fn tags(&self) -> Result<Vec<Ref>, ReadError> {
        let mut refs = self.refs()?;
        refs.retain(|r| r.tag().is_some());
        Ok(refs)
    }

    /// The extra ref that was requested as `requested`, if the last fetch found it.
    pub fn extra_ref(&self, requested: &str) -> Result<Option<Ref>, ReadError> {
        let name = extra_ref_name(requested);
        match self.repository.find_reference(&name) {
            Ok(found) => Ok(found.target().map(|id| Ref { name, id: id.into() })),
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(error) => Err(ReadError::Refs { dir: self.dir.clone(), source: error.into() }),
        }
    }

    /// The commit that `reference` points to, through any number of annotated tags.
    pub fn commit(&self, reference: &Ref) -> Result<Commit, ReadError> {
        let mut id = reference.id;
        loop {
            match self.checked_kind("object", id)? {
                ObjectType::Commit => {
                    let CommitHeader { tree, time, .. } = self.commit_header(id)?;
                    return Ok(Commit { id, tree, time });
                }
                ObjectType::Tag => id = self.parse("tag", id, tag_target)?,
                other => {
                    let (name, kind) = (reference.name.clone(), other.str());
                    return Err(ReadError::NotACommit { name, kind, id });
                }
            }
        }
    }

    pub(super) fn commit_header(&self, id: ObjectId) -> Result<CommitHeader, ReadError> {
        self.parse("commit", id, CommitHeader::parse)
    }

    fn parse<T>(
        &self,
        kind: &'static str,
        id: ObjectId,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<T, ReadError> {
        self.read(kind, id, |oid| {
            let odb = self.repository.odb()?;
            let object = odb.read(oid)?;
            parse(object.data()).ok_or_else(|| git2::Error::from_str("its header is malformed"))
        })
    }

    /// The entries of a tree, in git's order.
    pub fn tree(&self, id: ObjectId) -> Result<Vec<TreeEntry>, ReadError> {
        self.checked_kind("tree", id)?;
        let tree = self.read("tree", id, |oid| self.repository.find_tree(oid))?;
        let entry = |entry: git2::TreeEntry<'_>| {
            let name = entry_name(entry.name_bytes()).ok_or_else(|| ReadError::BadName {
                tree: id,
                name: shortened(&String::from_utf8_lossy(entry.name_bytes()), MAX_SHOWN)
                    .escape_debug()
                    .to_string(),
            })?;
            Ok(TreeEntry { name, kind: EntryKind::from_mode(entry.filemode_raw()), id: entry.id().into() })
        };
        tree.iter().map(entry).collect()
    }

    /// The entry at `path` (components joined by `/`) below `tree`, if there is one.
    pub fn find(&self, tree: ObjectId, path: &str) -> Result<Option<TreeEntry>, ReadError> {
        let mut found = TreeEntry { name: String::new(), kind: EntryKind::Tree, id: tree };
        for component in path.split('/').filter(|component| !component.is_empty()) {
            if found.kind != EntryKind::Tree {
                return Ok(None);
            }
            match self.tree(found.id)?.into_iter().find(|entry| entry.name == component) {
                Some(entry) => found = entry,
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// The content of a blob.
    pub fn blob(&self, id: ObjectId) -> Result<Blob<'_>, ReadError> {
        self.read("blob", id, |oid| self.repository.find_blob(oid)).map(Blob)
    }

    /// The content of a blob, if `allow` accepts its size, which is looked up in the pack once for each blob.
    pub fn blob_within(
        &self,
        id: ObjectId,
        allow: impl FnOnce(u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<Arc<[u8]>> {
        if let Some(blob) = self.blobs.get(id) {
            return Ok(blob);
        }
        if !self.allowed.borrow().contains(&id) {
            allow(self.blob_size(id)?)?;
            self.allowed.borrow_mut().insert(id);
        }
        let blob: Arc<[u8]> = (&*self.blob(id)?).into();
        self.blobs.put(id, blob.clone());
        Ok(blob)
    }

    /// The size of a blob in bytes, without reading its content.
    pub fn blob_size(&self, id: ObjectId) -> Result<u64, ReadError> {
        let (size, _) = self.read("blob", id, |_| self.header(id))?;
        Ok(size as u64)
    }

    /// The type of an object that is not a file, if it is small enough to be read.
    fn checked_kind(&self, kind: &'static str, id: ObjectId) -> Result<ObjectType, ReadError> {
        let (size, found) = self.read(kind, id, |_| self.header(id))?;
        match size > self.max_tree && found != ObjectType::Blob {
            true => Err(ReadError::TooLarge { kind: found.str(), id, size, limit: self.max_tree }),
            false => Ok(found),
        }
    }

    /// Whether the object exists and its header can be read.
    pub fn has(&self, id: ObjectId) -> bool {
        self.header(id).is_ok()
    }

    pub(super) fn has_commit(&self, id: ObjectId) -> bool {
        matches!(self.header(id), Ok((_, ObjectType::Commit)))
    }

    fn header(&self, id: ObjectId) -> Result<(usize, ObjectType), git2::Error> {
        self.repository.odb()?.read_header(id.to_git()?)
    }

    /// Makes the next fetch replace the clone.
    fn mark_damaged(&self, what: &str) {
        // If the mark cannot be written, the next fetch fails anyway.
        let _ = std::fs::write(self.dir.join(DAMAGED), format!("{what}\n"));
    }

    /// Reads an object that the clone must have; marks the clone as damaged if it cannot.
    fn read<T>(
        &self,
        kind: &'static str,
        id: ObjectId,
        read: impl FnOnce(git2::Oid) -> Result<T, git2::Error>,
    ) -> Result<T, ReadError> {
        let failed = |source: git2::Error| {
            let error = self.unreadable(kind, id, source);
            if let ReadError::Object { source, .. } = &error {
                if let Some(source_dir) = alternates::partial_source(&self.dir) {
                    let format = RepositoryFormat::PartialClone;
                    return ReadError::PartialClone { kind, id, source_dir, format };
                }
                self.mark_damaged(&format!("{kind} {id}: {}", source.message()));
            }
            error
        };
        id.to_git().and_then(read).map_err(failed)
    }
}

/// The content of a blob.
pub struct Blob<'a>(git2::Blob<'a>);

impl Deref for Blob<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.content()
    }
}

impl EntryKind {
    /// Like git, reads only the type bits and, for files, the owner's executable bit (`create_ce_mode`).
    fn from_mode(mode: i32) -> Self {
        match mode & 0o170_000 {
            0o040_000 => Self::Tree,
            0o120_000 => Self::Symlink,
            0o160_000 => Self::Submodule,
            _ if mode & 0o100 != 0 => Self::Executable,
            _ => Self::File,
        }
    }
}

/// The name, unless it could lead out of its folder. git refuses the same names (`verify_path`), but other servers may not.
fn entry_name(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let unusable = matches!(name, "" | "." | "..") || is_dot_git(name) || name.contains(['/', '\0']);
    (!unusable).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_of_their_folder_are_refused() {
        for name in
            [&b""[..], b".", b"..", b".git", b".GIT", b"git~1", b".git::$DATA", b"a/b", b"a\0b", b"\xff"]
        {
            assert_eq!(entry_name(name), None, "{name:?}");
        }
        for name in ["...", ".gitignore", "a b", "ä", "\\"] {
            assert_eq!(entry_name(name.as_bytes()).as_deref(), Some(name));
        }
    }

    #[test]
    fn old_file_modes_are_read_as_git_reads_them() {
        assert_eq!(EntryKind::from_mode(0o100_664), EntryKind::File);
        assert_eq!(EntryKind::from_mode(0o100_744), EntryKind::Executable);
        assert_eq!(EntryKind::from_mode(0o040_000), EntryKind::Tree);
    }
}
