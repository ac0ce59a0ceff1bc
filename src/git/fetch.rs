//! Bringing a clone up to date: list, select, compare, download the difference, set the refs.
//!
//! The refs are set last and only after every download succeeded, so readers see nothing of a failed fetch. Refs that
//! the clone already has are not requested: libgit2 would download a shallow tag again each time.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use git2::{AutotagOption, Direction, FetchOptions, RemoteCallbacks, RemoteConnection};

use super::clone::BareClone;
use super::clone_dir::{CloneDir, ObjectStorage};
use super::error::{FetchError, FetchErrorKind, reason};
use super::memory_limit::{Allowance, MemoryLimit, Refused};
use super::object_id::{ObjectId, Ref};
use super::ref_diff::{MissingRef, RefDiff, RefSelection, RefUpdate};
use super::transport::{self, SmartTransport, TransportScope};
use super::url::{GitUrl, GitUrlError};
use super::{alternates, libgit2};
use crate::config::{Git, Limits};
use crate::net::{NetworkError, RootCertificates, redacted};
use crate::util::cancel::CancelFlag;

/// How long a line of the list of refs may be on average: refs have 40 digits, and names of 40 characters.
const BYTES_PER_REF: usize = 256;

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
struct Fetch<'a> {
    dir: &'a Path,
    select: &'a dyn Fn(&[Ref]) -> RefSelection,
    cancel: &'a CancelFlag,
    progress: &'a dyn Fn(FetchProgress),
    limits: &'a Limits,
    /// Whether the clone needs the history of its refs.
    history: bool,
}

impl Fetcher {
    /// A fetcher that holds remotes to these limits.
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

    /// Brings the bare clone in `dir` up to date with the refs of `url` that `select` chooses; clones if there is none.
    /// Refs that are no longer selected are removed. Blocks.
    pub fn fetch(
        &self,
        dir: &Path,
        url: &str,
        select: &dyn Fn(&[Ref]) -> RefSelection,
        cancel: &CancelFlag,
        progress: &dyn Fn(FetchProgress),
    ) -> Result<Fetched, FetchError> {
        self.fetch_from(url, &Fetch { dir, select, cancel, progress, limits: &self.limits, history: false })
    }

    /// The same for a clone with the whole history of its refs, whatever `git.shallow` says.
    pub fn fetch_with_history(
        &self,
        dir: &Path,
        url: &str,
        select: &dyn Fn(&[Ref]) -> RefSelection,
        cancel: &CancelFlag,
        progress: &dyn Fn(FetchProgress),
    ) -> Result<Fetched, FetchError> {
        self.fetch_from(url, &Fetch { dir, select, cancel, progress, limits: &self.limits, history: true })
    }

    fn fetch_from(&self, url: &str, fetch: &Fetch<'_>) -> Result<Fetched, FetchError> {
        self.run(url, fetch).map_err(|kind| FetchError { url: redacted(url), kind })
    }

    fn run(&self, url: &str, fetch: &Fetch<'_>) -> Result<Fetched, FetchErrorKind> {
        let url = GitUrl::parse(url)?;
        match (&url, transport::for_url(&url, &self.git, &self.roots, fetch.cancel)?) {
            (_, Some(transport)) => fetch.remote(&transport, self.git.shallow),
            (GitUrl::Local(path), _) => fetch.local(path),
            (_, None) => Err(FetchErrorKind::NotFound),
        }
    }
}

impl Fetch<'_> {
    fn local(&self, path: &Path) -> Result<Fetched, FetchErrorKind> {
        let source = alternates::SourceRepository::open(path)?;
        let advertised = source.refs()?;
        let objects = ObjectStorage::Alternates(source.objects()?);
        let clone_dir = CloneDir::open_or_create(self.dir, &objects, self.limits.tree, self.cancel)?;
        let mut diff = self.diff(&advertised, clone_dir.bare())?;
        for update in std::mem::take(&mut diff.commits) {
            match clone_dir.bare().has_commit(update.id) {
                true => diff.updates.push(update),
                false => diff.missing.push(missing(&update, "there is no such commit".into())),
            }
        }
        finish(clone_dir, diff, FetchProgress::default())
    }

    fn remote(&self, transport: &Arc<dyn SmartTransport>, shallow: bool) -> Result<Fetched, FetchErrorKind> {
        let objects = if self.history { ObjectStorage::OwnWithHistory } else { ObjectStorage::Own };
        let clone_dir = CloneDir::open_or_create(self.dir, &objects, self.limits.tree, self.cancel)?;
        let clone = clone_dir.bare();
        // A shallow clone stays shallow: the server must know that the history of its commits is missing.
        let shallow = clone.repository().is_shallow() || (shallow && clone_dir.is_new() && !self.history);
        let mut download = Download {
            fetch: self,
            clone_dir: &clone_dir,
            transport,
            shallow,
            received: FetchProgress::default(),
        };
        let mut diff = download.with_connection(|download, connection| {
            let diff = self.diff(&advertised(connection)?, clone)?;
            if !diff.updates.is_empty() {
                download.receive(connection, &diff.updates)?;
            }
            Ok(diff)
        })?;
        for update in std::mem::take(&mut diff.commits) {
            match download.fetch_commit(&update)? {
                Ok(()) => diff.updates.push(update),
                Err(reason) => diff.missing.push(missing(&update, reason)),
            }
        }
        let received = download.received;
        finish(clone_dir, diff, received)
    }

    fn diff(&self, advertised: &[Ref], clone: &BareClone) -> Result<RefDiff, FetchErrorKind> {
        let refs = clone.refs().map_err(|error| FetchErrorKind::clone_failed("read", self.dir, &error))?;
        let local: BTreeMap<_, _> = refs.into_iter().map(|r| (r.name, r.id)).collect();
        let limit = self.limits.refs.get();
        if advertised.len() > limit {
            return Err(FetchErrorKind::TooManyRefs { refs: advertised.len(), limit });
        }
        Ok(RefDiff::new(advertised, &(self.select)(advertised), &local))
    }
}

/// The downloads of one fetch. They set no ref.
struct Download<'a> {
    fetch: &'a Fetch<'a>,
    clone_dir: &'a CloneDir,
    transport: &'a Arc<dyn SmartTransport>,
    shallow: bool,
    received: FetchProgress,
}

/// An error of libgit2, which may stand for a typed one, or an error of our own.
enum DownloadError {
    Git(git2::Error),
    Kind(FetchErrorKind),
}

impl From<git2::Error> for DownloadError {
    fn from(error: git2::Error) -> Self {
        Self::Git(error)
    }
}

impl From<FetchErrorKind> for DownloadError {
    fn from(kind: FetchErrorKind) -> Self {
        Self::Kind(kind)
    }
}

impl Download<'_> {
    /// Runs `work` on a connection of its own.
    fn with_connection<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &mut RemoteConnection<'_, '_, '_>) -> Result<T, DownloadError>,
    ) -> Result<T, FetchErrorKind> {
        let Limits { object, fetch_memory, refs, .. } = *self.fetch.limits;
        let max_advertisement = refs.get().saturating_mul(BYTES_PER_REF);
        let scope = TransportScope::new(self.transport.clone(), self.fetch.cancel, max_advertisement);
        let memory = MemoryLimit::new(Allowance { object, total: fetch_memory });
        let clone = self.clone_dir.bare();
        let result =
            clone.repository().remote_anonymous(TransportScope::URL).map_err(DownloadError::Git).and_then(
                |mut remote| {
                    let mut connection = remote.connect_auth(Direction::Fetch, None, None)?;
                    work(self, &mut connection)
                },
            );
        result.map_err(|error| match error {
            _ if self.fetch.cancel.is_set() => FetchErrorKind::Cancelled,
            DownloadError::Kind(kind) => kind,
            DownloadError::Git(error) => {
                match self.limit_error(&memory).unwrap_or_else(|| scope.error_kind(error)) {
                    // Damaged data from the remote gives the same errors, so the clone is checked.
                    FetchErrorKind::Git(error) if is_object_error(&error) && !clone.is_readable() => {
                        FetchErrorKind::Damaged { path: self.fetch.dir.to_owned(), reason: reason(&error) }
                    }
                    kind => kind,
                }
            }
        })
    }

    /// The limit that the download went beyond.
    fn limit_error(&self, memory: &MemoryLimit) -> Option<FetchErrorKind> {
        let Limits { object, fetch_memory, .. } = *self.fetch.limits;
        memory.take_refused().map(|refused| match refused {
            Refused::Object(size) => FetchErrorKind::ObjectTooLarge { size, limit: object },
            Refused::Total => FetchErrorKind::TooMuchMemory { limit: fetch_memory },
            Refused::Process => FetchErrorKind::OutOfMemory,
        })
    }

    fn receive(
        &mut self,
        connection: &mut RemoteConnection<'_, '_, '_>,
        updates: &[RefUpdate],
    ) -> Result<(), DownloadError> {
        let before = self.received;
        let fetch = self.fetch;
        let limit = fetch.limits.pack;
        let is_too_large = Cell::new(false);
        let mut callbacks = RemoteCallbacks::new();
        callbacks.transfer_progress(|stats| {
            let received = before.plus(&stats);
            (fetch.progress)(received);
            is_too_large.set(received.bytes > limit as u64);
            !fetch.cancel.is_set() && !is_too_large.get()
        });
        let mut options = FetchOptions::new();
        options.remote_callbacks(callbacks).download_tags(AutotagOption::None);
        if self.shallow {
            options.depth(1);
        }
        let specs: Vec<_> = updates.iter().map(RefUpdate::refspec).collect();
        let downloaded = connection.remote().download(&specs, Some(&mut options));
        drop(options);
        if is_too_large.get() {
            return Err(FetchErrorKind::PackTooLarge { limit }.into());
        }
        downloaded?;
        self.received = before.plus(&connection.remote().stats());
        Ok(())
    }

    /// Downloads the commit of `update` unless the clone has it; the inner error is the reason why the remote refuses.
    fn fetch_commit(&mut self, update: &RefUpdate) -> Result<Result<(), String>, FetchErrorKind> {
        if self.clone_dir.bare().has_commit(update.id) {
            return Ok(Ok(()));
        }
        let updates = std::slice::from_ref(update);
        match self.with_connection(|download, connection| download.receive(connection, updates)) {
            Ok(()) if self.clone_dir.bare().has_commit(update.id) => Ok(Ok(())),
            Ok(()) => Ok(Err("it is not a commit".into())),
            Err(
                kind @ (FetchErrorKind::Git(_)
                | FetchErrorKind::Remote { .. }
                | FetchErrorKind::Network(NetworkError::Status { .. })),
            ) => Ok(Err(kind.to_string())),
            Err(kind) => Err(kind),
        }
    }
}

impl FetchProgress {
    fn plus(self, stats: &git2::Progress<'_>) -> Self {
        Self {
            objects: self.objects + stats.received_objects(),
            total: self.total + stats.total_objects(),
            bytes: self.bytes + stats.received_bytes() as u64,
        }
    }
}

fn is_object_error(error: &git2::Error) -> bool {
    use git2::ErrorClass::{Object, Odb, Zlib};
    matches!(error.class(), Object | Odb | Zlib)
}

/// The remote's refs, without peeled ones (`^{}`) and other names that are not refs.
fn advertised(connection: &RemoteConnection<'_, '_, '_>) -> Result<Vec<Ref>, git2::Error> {
    let valid = |head: &git2::RemoteHead<'_>| {
        let name = head_name(head).filter(|name| git2::Reference::is_valid_name(name))?;
        name.starts_with("refs/").then(|| Ref { name, id: head.oid().into() })
    };
    Ok(connection.list()?.iter().filter_map(valid).collect())
}

/// git2 panics on a ref whose name is not UTF-8; one such ref must not stop the others.
fn head_name(head: &git2::RemoteHead<'_>) -> Option<String> {
    catch_unwind(AssertUnwindSafe(|| head.name().to_owned())).ok()
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
