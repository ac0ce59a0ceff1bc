//! Bringing a clone up to date: list, select, compare, download the difference, set the refs.
//!
//! The refs are set last, and only after every download succeeded: a failed fetch changes nothing that readers see.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::clone::BareClone;
use super::clone_dir::{CloneDir, ObjectStorage};
use super::download::Download;
use super::error::{FetchError, FetchErrorKind};
use super::object_id::{ObjectId, Ref};
use super::protocol::Session;
use super::ref_diff::{MissingRef, RefDiff, RefFilter, RefUpdate, WantedRefs};
use super::transport::{HttpTransport, SmartTransport, SshTransport};
use super::url::{GitUrl, GitUrlError};
use super::{alternates, built_in, busy_server, libgit2};
use crate::config::{Git, Limits};
use crate::net::{NetworkError, RootCertificates, redacted};
use crate::util::cancel::CancelFlag;

/// Fetches from remotes. Many threads may use it, each for its own clone.
pub struct Fetcher {
    git: Git,
    limits: Limits,
    roots: RootCertificates,
}

/// What a fetch changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    pub new: Vec<Ref>,
    pub moved: Vec<MovedRef>,
    /// Refs that the remote no longer has; their objects stay in the clone.
    pub deleted: Vec<Ref>,
    pub unchanged: usize,
    /// Requested refs that the remote does not have.
    pub missing: Vec<MissingRef>,
    pub received_bytes: u64,
    pub objects: usize,
}

/// A ref that has moved since the last fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedRef {
    pub name: String,
    pub old: ObjectId,
    pub new: ObjectId,
}

/// The progress of a download.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchProgress {
    pub objects: usize,
    pub total: usize,
    pub bytes: u64,
}

/// One call of [`Fetcher::fetch`].
pub(super) struct Fetch<'a> {
    pub dir: &'a Path,
    wanted: WantedRefs<'a>,
    pub cancel: &'a CancelFlag,
    pub progress: &'a dyn Fn(FetchProgress),
    pub limits: &'a Limits,
}

impl Fetcher {
    /// A fetcher with these limits.
    ///
    /// # Errors
    /// A credential's URL cannot be fetched from.
    pub fn new(git: &Git, limits: &Limits) -> Result<Self, GitUrlError> {
        libgit2::initialize();
        for credential in &git.credentials {
            GitUrl::parse(&credential.url)?;
        }
        Ok(Self {
            git: git.clone(),
            limits: limits.clone(),
            roots: RootCertificates::new(git.ca_file.clone()),
        })
    }

    /// How long a transfer may make no progress.
    pub fn idle_timeout(&self) -> Duration {
        self.git.timeout
    }

    /// Brings the bare clone in `dir` up to date with the wanted refs of `url`, or creates it. Removes refs that are no longer
    /// wanted. Blocks.
    pub fn fetch(
        &self,
        dir: &Path,
        url: &str,
        wanted: WantedRefs<'_>,
        cancel: &CancelFlag,
        progress: &dyn Fn(FetchProgress),
    ) -> Result<Fetched, FetchError> {
        let fetch = Fetch { dir, wanted, cancel, progress, limits: &self.limits };
        self.run(url, &fetch).map_err(|kind| FetchError { url: redacted(url), kind })
    }

    fn run(&self, url: &str, fetch: &Fetch<'_>) -> Result<Fetched, FetchErrorKind> {
        let transport: Box<dyn SmartTransport> = match GitUrl::parse(url)? {
            GitUrl::Local(path) => return fetch.local(&path),
            GitUrl::BuiltIn => return fetch.local(&built_in::repository(fetch.dir)?),
            GitUrl::Http(url) => Box::new(HttpTransport::new(&url, &self.git, &self.roots, fetch.cancel)?),
            GitUrl::Ssh(url) => Box::new(SshTransport::new(&url, &self.git, fetch.cancel)),
        };
        fetch.unless_busy(&*transport, self.git.shallow)
    }
}

impl Fetch<'_> {
    fn local(&self, path: &Path) -> Result<Fetched, FetchErrorKind> {
        let source = alternates::SourceRepository::open(path)?;
        let objects = ObjectStorage::Alternates(source.objects()?);
        let clone_dir = CloneDir::open_or_create(self.dir, &objects, self.limits.tree, self.cancel)?;
        let local = self.local_refs(clone_dir.bare())?;
        let filter = RefFilter::new(self.wanted.extra_refs, &local);
        let refs = source.refs(&filter)?;
        let limit = self.limits.refs.get();
        if refs.len() > limit {
            return Err(FetchErrorKind::TooManyRefs { refs: refs.len(), limit });
        }
        let mut diff = RefDiff::new(&refs, &self.wanted, &local);
        for update in std::mem::take(&mut diff.commits) {
            match clone_dir.bare().has_commit(update.id) {
                true => diff.updates.push(update),
                false => diff.missing.push(missing(&update, "there is no such commit".into())),
            }
        }
        finish(clone_dir, diff, FetchProgress::default())
    }

    /// Fetches, unless the server has asked to be left alone.
    fn unless_busy(&self, transport: &dyn SmartTransport, shallow: bool) -> Result<Fetched, FetchErrorKind> {
        if let Some(left) = busy_server::time_left(self.dir) {
            return Err(FetchErrorKind::Busy { host: transport.host(), left });
        }
        self.remote(transport, shallow).map_err(|kind| match kind {
            _ if self.cancel.is_set() => FetchErrorKind::Cancelled,
            FetchErrorKind::Network(NetworkError::Busy { wait, .. }) => {
                busy_server::remember(self.dir, wait);
                kind
            }
            kind => kind,
        })
    }

    fn remote(&self, transport: &dyn SmartTransport, shallow: bool) -> Result<Fetched, FetchErrorKind> {
        let history = self.wanted.history;
        let objects = if history { ObjectStorage::OwnWithHistory } else { ObjectStorage::Own };
        let clone_dir = CloneDir::open_or_create(self.dir, &objects, self.limits.tree, self.cancel)?;
        let clone = clone_dir.bare();
        let local = self.local_refs(clone)?;
        let filter = RefFilter::new(self.wanted.extra_refs, &local);
        let connect = || Session::open(transport, &filter, self.limits.refs.get(), self.cancel);
        let mut session = connect()?;
        let mut diff = RefDiff::new(&session.refs, &self.wanted, &local);
        // A shallow clone stays shallow, because its commits lack their history.
        let shallow = !history && (clone.repository().is_shallow() || (shallow && clone_dir.is_new()));
        let mut download = Download::new(self, clone, &local, shallow);
        download.receive(&mut session, diff.updates.iter().map(|update| update.id))?;
        session.end();
        for update in std::mem::take(&mut diff.commits) {
            if clone.has_commit(update.id) {
                diff.updates.push(update);
                continue;
            }
            let mut session = connect()?;
            match download.receive(&mut session, [update.id]) {
                Ok(()) if clone.has_commit(update.id) => diff.updates.push(update),
                Ok(()) => diff.missing.push(missing(&update, "it is not a commit".into())),
                // The remote refuses this commit, which says nothing about the others.
                Err(
                    kind @ (FetchErrorKind::Remote { .. }
                    | FetchErrorKind::Network(NetworkError::Status { .. })),
                ) => diff.missing.push(missing(&update, kind.to_string())),
                Err(kind) => return Err(kind),
            }
            session.end();
        }
        let received = download.received();
        finish(clone_dir, diff, received)
    }

    fn local_refs(&self, clone: &BareClone) -> Result<BTreeMap<String, ObjectId>, FetchErrorKind> {
        let refs = clone.refs().map_err(|error| FetchErrorKind::clone_failed("read", self.dir, &error))?;
        Ok(refs.into_iter().map(|r| (r.name, r.id)).collect())
    }
}

/// Sets the refs: the last step, after which readers see the new state.
fn finish(clone_dir: CloneDir, diff: RefDiff, received: FetchProgress) -> Result<Fetched, FetchErrorKind> {
    if !diff.is_empty() {
        set_refs(clone_dir.bare(), &diff).map_err(FetchErrorKind::Git)?;
    }
    clone_dir.finish()?;
    let mut fetched = Fetched {
        deleted: diff.deleted,
        unchanged: diff.unchanged,
        missing: diff.missing,
        received_bytes: received.bytes,
        objects: received.objects,
        ..Fetched::default()
    };
    for RefUpdate { name, id, old, .. } in diff.updates {
        match old {
            Some(old) => fetched.moved.push(MovedRef { name, old, new: id }),
            None => fetched.new.push(Ref { name, id }),
        }
    }
    Ok(fetched)
}

/// Removes refs first: a deleted `refs/tags/1` makes room for a new `refs/tags/1/2`.
fn set_refs(clone: &BareClone, diff: &RefDiff) -> Result<(), git2::Error> {
    let repository = clone.repository();
    for removed in diff.deleted.iter().chain(&diff.dropped) {
        repository.find_reference(&removed.name)?.delete()?;
    }
    for update in &diff.updates {
        repository.reference(&update.name, update.id.to_git()?, true, "fetch")?;
    }
    Ok(())
}

fn missing(update: &RefUpdate, reason: String) -> MissingRef {
    MissingRef { requested: update.source.clone(), reason }
}
