//! When the files of a folder were added: a walk through the history of one commit.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use git2::{Commit, Oid, Repository, Tree};

use super::clone::{BareClone, ReadError};
use super::object_id::ObjectId;

/// The committer time of the commit that added each file, in seconds since 1970, by the file's name. Files are missing that
/// were added before the part of the history that the clone has.
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
            repository: self.repository(),
            folder,
            open: HashMap::new(),
            order: BinaryHeap::new(),
            added: AddedTimes::new(),
        };
        let added = head.to_git().and_then(|head| {
            walk.follow(&walk.repository.find_commit(head)?, files);
            walk.run()?;
            Ok(walk.added)
        });
        added.map_err(|source| self.unreadable("history of commit", head, source))
    }
}

/// The files that have been followed to each commit. Those of the newest commit are followed next.
struct Walk<'r> {
    repository: &'r Repository,
    folder: &'r str,
    open: HashMap<Oid, BTreeSet<String>>,
    order: BinaryHeap<(i64, Reverse<Oid>)>,
    added: AddedTimes,
}

impl<'r> Walk<'r> {
    fn follow(&mut self, commit: &Commit<'_>, files: BTreeSet<String>) {
        if !files.is_empty() {
            self.open.entry(commit.id()).or_default().extend(files);
            self.order.push((commit.time().seconds(), Reverse(commit.id())));
        }
    }

    fn run(&mut self) -> Result<(), git2::Error> {
        while let Some((time, Reverse(id))) = self.order.pop() {
            let Some(mut files) = self.open.remove(&id) else {
                continue;
            };
            let commit = self.repository.find_commit(id)?;
            let folder = self.folder_of(&commit)?;
            // A clone without history lacks the parents that its oldest commits name.
            let names_parents = commit.raw_header_bytes().split(|byte| *byte == b'\n');
            let named = names_parents.filter(|line| line.starts_with(b"parent ")).count();
            let parents: Vec<_> = commit.parents().collect();
            for parent in &parents {
                let before = self.folder_of(parent)?;
                let same = |file: &String| entry(folder.as_ref(), file) == entry(before.as_ref(), file);
                let is_same_folder = folder.as_ref().map(Tree::id) == before.as_ref().map(Tree::id);
                let followed = match is_same_folder {
                    true => std::mem::take(&mut files),
                    false => files.extract_if(.., |file| same(file)).collect(),
                };
                self.follow(parent, followed);
            }
            if parents.len() == named {
                self.added.extend(files.into_iter().map(|file| (file, time)));
            }
        }
        Ok(())
    }

    fn folder_of(&self, commit: &Commit<'_>) -> Result<Option<Tree<'r>>, git2::Error> {
        let root = commit.tree()?;
        match root.get_path(self.folder.as_ref()) {
            Ok(entry) => Ok(self.repository.find_tree(entry.id()).ok()),
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn entry(folder: Option<&Tree<'_>>, file: &str) -> Option<Oid> {
    Some(folder?.get_name(file)?.id())
}
