//! Sources: bare clones of git repositories, their refs, trees and blobs. The only place that names git2.
//!
//! A clone is a disposable cache. [`fetch`] brings it up to date with the refs that a recipe wants and nothing else;
//! [`Clone`] reads it. Over HTTP the transport is [`http`]; a local repository is borrowed, not copied.

mod fetch;
mod http;

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, bail};
use git2::{ObjectType, Oid, Repository};

pub use fetch::{ExtraRef, Fetched, Settings, fetch, init, redacted};

/// Where the refs of a recipe's `extra_refs` live in a clone.
const EXTRA: &str = "refs/mirror/extra/";

/// The id of a git object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(Oid);

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What an entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    Tree,
    File,
    Executable,
    Symlink,
    Submodule,
}

/// An entry of a tree; its name is one safe component of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub kind: EntryKind,
    pub id: ObjectId,
}

/// A commit that a ref leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    pub id: ObjectId,
    pub tree: ObjectId,
    /// Committer time, seconds since 1970.
    pub time: i64,
}

/// An opened clone; open one for each thread.
pub struct Clone {
    repository: Repository,
}

impl Clone {
    /// Opens a clone.
    ///
    /// # Errors
    /// A folder that is no bare repository.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let repository = Repository::open_bare(folder);
        let repository =
            repository.with_context(|| format!("failed to open the clone `{}`", folder.display()))?;
        Ok(Self { repository })
    }

    /// The short names of all tags, in byte order, as `git tag` lists them; then the extra refs.
    ///
    /// # Errors
    /// Of reading the refs.
    pub fn tags(&self) -> anyhow::Result<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        for (glob, prefix) in [("refs/tags/*", "refs/tags/"), (&*format!("{EXTRA}*"), EXTRA)] {
            for reference in self
                .repository
                .references_glob(glob)
                .context("failed to list the refs")?
            {
                let reference = reference.context("failed to read a ref")?;
                let name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
                names.extend(name.strip_prefix(prefix).map(str::to_owned));
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The commit of a tag (or of the extra ref that stands for one).
    ///
    /// # Errors
    /// A tag that leads to something else than a commit.
    pub fn commit(&self, tag: &str) -> anyhow::Result<Commit> {
        let reference = self
            .repository
            .find_reference(&format!("refs/tags/{tag}"))
            .or_else(|_| self.repository.find_reference(&format!("{EXTRA}{tag}")))
            .with_context(|| format!("failed to find tag `{tag}`"))?;
        let object = reference
            .peel(ObjectType::Any)
            .with_context(|| format!("failed to read tag `{tag}`"))?;
        let Some(commit) = object.as_commit() else {
            let kind = object.kind().map_or("nothing", |kind| kind.str());
            bail!(
                "tag `{tag}` leads to a {kind}, not to a commit\nhint: leave it out with `tags.exclude` in the recipe"
            );
        };
        Ok(Commit {
            id: ObjectId(commit.id()),
            tree: ObjectId(commit.tree_id()),
            time: commit.time().seconds(),
        })
    }

    /// The entries of a tree.
    ///
    /// # Errors
    /// A tree that cannot be read, or with a name that could leave its directory.
    pub fn tree(&self, id: ObjectId) -> anyhow::Result<Vec<Entry>> {
        let tree = self
            .repository
            .find_tree(id.0)
            .with_context(|| format!("failed to read tree {id}"))?;
        let mut entries = Vec::with_capacity(tree.len());
        for entry in &tree {
            let name = std::str::from_utf8(entry.name_bytes())
                .ok()
                .filter(|name| is_safe(name))
                .with_context(|| {
                    format!(
                        "tree {id} has an entry with the unsafe name `{}`",
                        String::from_utf8_lossy(entry.name_bytes())
                    )
                })?;
            let kind = match entry.filemode_raw() & 0o170_000 {
                0o040_000 => EntryKind::Tree,
                0o120_000 => EntryKind::Symlink,
                0o160_000 => EntryKind::Submodule,
                _ if entry.filemode_raw() & 0o100 != 0 => EntryKind::Executable,
                _ => EntryKind::File,
            };
            entries.push(Entry {
                name: name.to_owned(),
                kind,
                id: ObjectId(entry.id()),
            });
        }
        Ok(entries)
    }

    /// The contents of a blob.
    ///
    /// # Errors
    /// A blob that cannot be read.
    pub fn blob(&self, id: ObjectId) -> anyhow::Result<Vec<u8>> {
        let blob = self
            .repository
            .find_blob(id.0)
            .with_context(|| format!("failed to read blob {id}"))?;
        Ok(blob.content().to_vec())
    }
}

/// Whether a name is one component of a path that stays where it is.
fn is_safe(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && !name.eq_ignore_ascii_case(".git")
        && !name.contains(['/', '\\'])
        && !name.chars().any(char::is_control)
}
