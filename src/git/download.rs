//! The downloads of one fetch: requests objects, and stores the packs that arrive. Sets no refs.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use super::clone::{BareClone, ReadError};
use super::error::FetchErrorKind;
use super::fetch::{Fetch, FetchProgress};
use super::memory_limit::{Allowance, MemoryLimit, RefusedAllocation};
use super::object_id::{ObjectId, Ref};
use super::protocol::{FetchRequest, Received, Session};
use super::shallow_commits;

/// How many commits of the clone are named to the remote (`have`), which then sends only what they lack. The newest ones,
/// because new versions differ least from them.
const MAX_HAVES: usize = 256;

/// The downloads into one clone.
pub(super) struct Download<'a> {
    fetch: &'a Fetch<'a>,
    clone: &'a BareClone,
    local: &'a BTreeMap<String, ObjectId>,
    /// Whether to leave out the history of commits.
    without_history: bool,
    received: FetchProgress,
}

impl<'a> Download<'a> {
    /// `local`: the refs of the clone.
    pub(super) fn new(
        fetch: &'a Fetch<'a>,
        clone: &'a BareClone,
        local: &'a BTreeMap<String, ObjectId>,
        without_history: bool,
    ) -> Self {
        Self { fetch, clone, local, without_history, received: FetchProgress::default() }
    }

    /// What was downloaded in total.
    pub(super) fn received(&self) -> FetchProgress {
        self.received
    }

    /// Downloads those of the objects that the clone lacks, and what they need.
    pub(super) fn receive(
        &mut self,
        session: &mut Session<'_>,
        objects: impl IntoIterator<Item = ObjectId>,
    ) -> Result<(), FetchErrorKind> {
        let wants: BTreeSet<_> = objects.into_iter().filter(|id| !self.clone.has(*id)).collect();
        if wants.is_empty() {
            return Ok(());
        }
        let shallow = self.shallow_commits()?;
        let mut request = FetchRequest { wants: wants.into_iter().collect(), ..FetchRequest::default() };
        if session.can_be_shallow() {
            request.without_history = self.without_history;
            request.shallow = shallow.iter().copied().collect();
        } else if self.without_history {
            tracing::warn!(
                clone = %self.fetch.dir.display(),
                "the git server cannot send commits without their history (it lacks `shallow`): fetching all of it"
            );
        }
        // A server without `shallow` would assume that the clone has the history of these commits.
        if session.can_be_shallow() || shallow.is_empty() {
            request.haves = self.newest_commits()?;
        }
        self.run(session, &request, shallow)
    }

    fn run(
        &mut self,
        session: &mut Session<'_>,
        request: &FetchRequest,
        mut shallow: BTreeSet<ObjectId>,
    ) -> Result<(), FetchErrorKind> {
        let &Fetch { limits, cancel, progress, .. } = self.fetch;
        let before = self.received;
        let (received, bytes) = (Cell::new(before), Cell::new(0));
        let memory = MemoryLimit::new(Allowance { object: limits.object, total: limits.fetch_memory });
        let failed = |error: git2::Error| match memory.take_refused() {
            Some(RefusedAllocation::Object(size)) => {
                FetchErrorKind::ObjectTooLarge { size, limit: limits.object }
            }
            Some(RefusedAllocation::Total) => FetchErrorKind::TooMuchMemory { limit: limits.fetch_memory },
            Some(RefusedAllocation::Process) => FetchErrorKind::OutOfMemory,
            None => FetchErrorKind::Git(error),
        };
        let odb = self.clone.repository().odb().map_err(failed)?;
        let mut pack = odb.packwriter().map_err(failed)?;
        pack.progress(|stats| {
            received.set(FetchProgress {
                objects: before.objects + stats.received_objects(),
                total: before.total + stats.total_objects(),
                bytes: before.bytes + bytes.get() as u64,
            });
            progress(received.get());
            !cancel.is_set()
        });
        session.fetch(request, |part| match part {
            Received::Boundary { shallow: new, unshallow } => {
                shallow.retain(|commit| !unshallow.contains(commit));
                shallow.extend(new);
                self.set_shallow_commits(&shallow)
            }
            Received::Pack(part) => {
                bytes.set(bytes.get() + part.len());
                if bytes.get() > limits.pack {
                    return Err(FetchErrorKind::PackTooLarge { limit: limits.pack });
                }
                // libgit2 keeps the error, git2 does not.
                pack.write_all(part).map_err(|_| failed(git2::Error::last_error(-1)))
            }
        })?;
        pack.commit().map_err(failed)?;
        self.received = received.get();
        Ok(())
    }

    fn shallow_commits(&self) -> Result<BTreeSet<ObjectId>, FetchErrorKind> {
        let dir = self.clone.dir();
        shallow_commits::read(dir).map_err(|error| FetchErrorKind::clone_failed("read", dir, &error))
    }

    fn set_shallow_commits(&self, commits: &BTreeSet<ObjectId>) -> Result<(), FetchErrorKind> {
        let dir = self.clone.dir();
        shallow_commits::write(dir, commits)
            .map_err(|error| FetchErrorKind::clone_failed("write", dir, &error))
    }

    /// The newest commits that the clone's refs point to.
    fn newest_commits(&self) -> Result<Vec<ObjectId>, FetchErrorKind> {
        let mut commits = BTreeSet::new();
        for (name, id) in self.local {
            match self.clone.commit(&Ref { name: name.clone(), id: *id }) {
                Ok(commit) => drop(commits.insert((commit.time, commit.id))),
                Err(ReadError::NotACommit { .. } | ReadError::TooLarge { .. }) => {}
                Err(error) => return Err(self.damaged(&error)),
            }
        }
        Ok(commits.into_iter().rev().take(MAX_HAVES).map(|(_, id)| id).collect())
    }

    fn damaged(&self, error: &ReadError) -> FetchErrorKind {
        match error {
            ReadError::Object { source, .. } => FetchErrorKind::Damaged {
                path: self.fetch.dir.to_owned(),
                reason: source.message().to_owned(),
            },
            ReadError::OutOfMemory { .. } => FetchErrorKind::OutOfMemory,
            error => FetchErrorKind::clone_failed("read", self.fetch.dir, error),
        }
    }
}
