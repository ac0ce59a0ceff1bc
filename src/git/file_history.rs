//! Finds when the files of a folder were added, by walking the history of one commit.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use git2::{Oid, Tree};

use super::clone::{BareClone, ReadError};
use super::object_headers::CommitHeader;
use super::object_id::ObjectId;

/// The committer time of the commit that added each file, in seconds since 1970, by file name. Files that were added before the
/// history that the clone has are missing.
pub type AddedTimes = BTreeMap<String, i64>;

impl BareClone {
    /// When the files of `folder` were added as they are at `head`. At a merge, a file is followed to the first parent that has
    /// the same one, as `git log` does.
    pub fn added_times(
        &self,
        head: ObjectId,
        folder: &str,
        files: BTreeSet<String>,
    ) -> Result<AddedTimes, ReadError> {
        let mut walk = Walk {
            clone: self,
            folder,
            open: HashMap::new(),
            order: BinaryHeap::new(),
            added: AddedTimes::new(),
        };
        walk.follow(head, &self.commit_header(head)?, files);
        walk.run()?;
        Ok(walk.added)
    }
}

/// A walk from newer to older commits: the files of each commit are followed to those of its parents that have them unchanged.
struct Walk<'r> {
    clone: &'r BareClone,
    folder: &'r str,
    open: HashMap<ObjectId, BTreeSet<String>>,
    order: BinaryHeap<(i64, Reverse<ObjectId>)>,
    added: AddedTimes,
}

impl<'r> Walk<'r> {
    fn follow(&mut self, id: ObjectId, commit: &CommitHeader, files: BTreeSet<String>) {
        if !files.is_empty() {
            self.open.entry(id).or_default().extend(files);
            self.order.push((commit.time, Reverse(id)));
        }
    }

    fn run(&mut self) -> Result<(), ReadError> {
        while let Some((time, Reverse(id))) = self.order.pop() {
            let Some(mut files) = self.open.remove(&id) else {
                continue;
            };
            let commit = self.clone.commit_header(id)?;
            let folder = self.folder_of(id, &commit)?;
            // A clone without history lacks the parents that its oldest commits name.
            let (parents, lacking): (Vec<ObjectId>, Vec<_>) =
                commit.parents.iter().partition(|parent| self.clone.has_commit(**parent));
            for parent in parents {
                let header = self.clone.commit_header(parent)?;
                let before = self.folder_of(parent, &header)?;
                let same = |file: &String| entry(folder.as_ref(), file) == entry(before.as_ref(), file);
                let is_same_folder = folder.as_ref().map(Tree::id) == before.as_ref().map(Tree::id);
                let followed = match is_same_folder {
                    true => std::mem::take(&mut files),
                    false => files.extract_if(.., |file| same(file)).collect(),
                };
                self.follow(parent, &header, followed);
            }
            if lacking.is_empty() {
                self.added.extend(files.into_iter().map(|file| (file, time)));
            }
        }
        Ok(())
    }

    fn folder_of(&self, id: ObjectId, commit: &CommitHeader) -> Result<Option<Tree<'r>>, ReadError> {
        let repository = self.clone.repository();
        let folder = || {
            let root = repository.find_tree(commit.tree.to_git()?)?;
            match root.get_path(self.folder.as_ref()) {
                Ok(entry) => Ok(repository.find_tree(entry.id()).ok()),
                Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        };
        folder().map_err(|source| self.clone.unreadable("history of commit", id, source))
    }
}

fn entry(folder: Option<&Tree<'_>>, file: &str) -> Option<Oid> {
    Some(folder?.get_name(file)?.id())
}
