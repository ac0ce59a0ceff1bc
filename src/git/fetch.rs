//! Bringing a clone up to date: list, select, compare, download the difference, set the refs.
//!
//! The refs are set last and only after every download succeeded, so a failed fetch changes nothing that a reader
//! sees. Nothing is asked for that is there already: libgit2 would download a shallow tag again each time.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use git2::{AutotagOption, Direction, FetchOptions, RemoteCallbacks, RemoteConnection};

use super::clone::BareClone;
use super::clone_dir::{CloneDir, ObjectStorage, failed};
use super::error::{FetchError, FetchErrorKind};
use super::object_id::{ObjectId, Ref};
use super::ref_diff::{MissingRef, RefDiff, RefSelection, RefUpdate};
use super::transport::{RootCertificates, SmartTransport, TransportScope, carrier, prepare_libgit2};
use super::url::{GitUrl, redacted};
use super::{Settings, alternates};
use crate::util::cancel::CancelFlag;

/// Fetches from remotes with one set of settings. Many threads may use it, each for its own clone.
pub struct Fetcher {
    settings: Settings,
    trust: RootCertificates,
}

/// What a fetch changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    pub new: Vec<Ref>,
    pub moved: Vec<MovedRef>,
    /// Refs that the remote no longer has; their objects stay in the clone.
    pub deleted: Vec<Ref>,
    pub unchanged: usize,
    /// What was wanted and is not there.
    pub missing: Vec<MissingRef>,
    pub received_bytes: u64,
    pub objects: usize,
}

/// A ref that points elsewhere than at the last fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedRef {
    pub name: String,
    pub old: ObjectId,
    pub new: ObjectId,
}

/// How far a download is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub objects: usize,
    pub total: usize,
    pub bytes: u64,
}

/// One call of [`Fetcher::fetch`].
struct Fetch<'a> {
    dir: &'a Path,
    select: &'a dyn Fn(&[Ref]) -> RefSelection,
    cancel: &'a CancelFlag,
    progress: &'a dyn Fn(Progress),
    most_refs: usize,
}

impl Fetcher {
    pub fn new(settings: Settings) -> Self {
        prepare_libgit2();
        let trust = RootCertificates::new(settings.ca_file.clone());
        Self { settings, trust }
    }

    /// Brings the bare clone in `dir` up to date with the refs of `url` that `select` chooses, and makes it if
    /// there is none. Refs that are no longer selected are removed. Blocks.
    pub fn fetch(
        &self,
        dir: &Path,
        url: &str,
        select: &dyn Fn(&[Ref]) -> RefSelection,
        cancel: &CancelFlag,
        progress: &dyn Fn(Progress),
    ) -> Result<Fetched, FetchError> {
        let fetch = Fetch {
            dir,
            select,
            cancel,
            progress,
            most_refs: self.settings.refs,
        };
        self.run(url, &fetch).map_err(|kind| FetchError {
            url: redacted(url),
            kind,
        })
    }

    fn run(&self, url: &str, fetch: &Fetch<'_>) -> Result<Fetched, FetchErrorKind> {
        let address = GitUrl::parse(url)?;
        match (&address, carrier(&address, &self.settings, &self.trust)?) {
            (_, Some(carrier)) => fetch.remote(&carrier, self.settings.shallow),
            (GitUrl::Local(path), _) => fetch.local(path),
            (_, None) => Err(FetchErrorKind::NotFound),
        }
    }
}

impl Fetch<'_> {
    fn local(&self, path: &Path) -> Result<Fetched, FetchErrorKind> {
        let source = alternates::Source::open(path)?;
        let advertised = source.refs()?;
        let place = CloneDir::open_or_create(self.dir, &ObjectStorage::Alternates(source.objects()?))?;
        let mut plan = self.plan(&advertised, place.bare())?;
        let commits = std::mem::take(&mut plan.commits);
        for step in commits {
            match place.bare().has_commit(step.id) {
                true => plan.steps.push(step),
                false => plan
                    .missing
                    .push(missing(&step, "there is no such commit".into())),
            }
        }
        finish(place, plan, Progress::default())
    }

    fn remote(&self, carrier: &Arc<dyn SmartTransport>, shallow: bool) -> Result<Fetched, FetchErrorKind> {
        let place = CloneDir::open_or_create(self.dir, &ObjectStorage::Own)?;
        let clone = place.bare();
        // A server that is told of a shallow clone's commits must be told that they are shallow, too.
        let shallow = clone.repository().is_shallow() || (shallow && place.is_new());
        let mut download = Download {
            fetch: self,
            place: &place,
            carrier,
            shallow,
            received: Progress::default(),
        };
        let mut plan = download.connected(|download, connection| {
            let plan = self.plan(&advertised(connection)?, clone)?;
            if !plan.steps.is_empty() {
                download.receive(connection, &plan.steps)?;
            }
            Ok(plan)
        })?;
        for step in std::mem::take(&mut plan.commits) {
            match download.commit(&step)? {
                Ok(()) => plan.steps.push(step),
                Err(reason) => plan.missing.push(missing(&step, reason)),
            }
        }
        let received = download.received;
        finish(place, plan, received)
    }

    fn plan(&self, advertised: &[Ref], clone: &BareClone) -> Result<RefDiff, FetchErrorKind> {
        let refs = clone.refs().map_err(|error| failed("read", self.dir, error))?;
        let local: BTreeMap<_, _> = refs.into_iter().map(|r| (r.name, r.id)).collect();
        if advertised.len() > self.most_refs {
            return Err(FetchErrorKind::TooManyRefs {
                refs: advertised.len(),
                most: self.most_refs,
            });
        }
        Ok(RefDiff::new(advertised, &(self.select)(advertised), &local))
    }
}

/// The downloads of one fetch. They set no ref.
struct Download<'a> {
    fetch: &'a Fetch<'a>,
    place: &'a CloneDir,
    carrier: &'a Arc<dyn SmartTransport>,
    shallow: bool,
    received: Progress,
}

/// An error on its way out of libgit2, which may stand for a better one, or one of our own.
enum Failure {
    Git(git2::Error),
    Ours(FetchErrorKind),
}

impl From<git2::Error> for Failure {
    fn from(error: git2::Error) -> Self {
        Self::Git(error)
    }
}

impl From<FetchErrorKind> for Failure {
    fn from(cause: FetchErrorKind) -> Self {
        Self::Ours(cause)
    }
}

impl Download<'_> {
    /// Runs `work` on a connection of its own.
    fn connected<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &mut RemoteConnection<'_, '_, '_>) -> Result<T, Failure>,
    ) -> Result<T, FetchErrorKind> {
        let wire = TransportScope::new(self.carrier.clone(), self.fetch.cancel);
        let clone = self.place.bare();
        let result = clone
            .repository()
            .remote_anonymous(TransportScope::URL)
            .map_err(Failure::Git)
            .and_then(|mut remote| {
                let mut connection = remote.connect_auth(Direction::Fetch, None, None)?;
                work(self, &mut connection)
            });
        result.map_err(|failure| match failure {
            _ if self.fetch.cancel.is_set() => FetchErrorKind::Cancelled,
            Failure::Git(error) => match wire.cause(error) {
                // What comes from the remote may be broken in the same words.
                FetchErrorKind::Git(error) if is_about_objects(&error) && !clone.is_readable() => {
                    FetchErrorKind::Damaged {
                        path: self.fetch.dir.to_owned(),
                        reason: error.to_string(),
                    }
                }
                cause => cause,
            },
            Failure::Ours(cause) => cause,
        })
    }

    fn receive(
        &mut self,
        connection: &mut RemoteConnection<'_, '_, '_>,
        steps: &[RefUpdate],
    ) -> Result<(), Failure> {
        let before = self.received;
        let fetch = self.fetch;
        let mut callbacks = RemoteCallbacks::new();
        callbacks.transfer_progress(|stats| {
            (fetch.progress)(before.plus(&stats));
            !fetch.cancel.is_set()
        });
        let mut options = FetchOptions::new();
        options
            .remote_callbacks(callbacks)
            .download_tags(AutotagOption::None);
        if self.shallow {
            options.depth(1);
        }
        let specs: Vec<_> = steps.iter().map(RefUpdate::refspec).collect();
        connection.remote().download(&specs, Some(&mut options))?;
        self.received = before.plus(&connection.remote().stats());
        Ok(())
    }

    /// Makes sure that the clone has the commit of `step`, or says why the remote does not give it.
    fn commit(&mut self, step: &RefUpdate) -> Result<Result<(), String>, FetchErrorKind> {
        if self.place.bare().has_commit(step.id) {
            return Ok(Ok(()));
        }
        let steps = std::slice::from_ref(step);
        match self.connected(|download, connection| download.receive(connection, steps)) {
            Ok(()) if self.place.bare().has_commit(step.id) => Ok(Ok(())),
            Ok(()) => Ok(Err("it is not a commit".into())),
            Err(
                cause @ (FetchErrorKind::Git(_)
                | FetchErrorKind::Remote { .. }
                | FetchErrorKind::Status { .. }),
            ) => Ok(Err(cause.to_string())),
            Err(cause) => Err(cause),
        }
    }
}

impl Progress {
    fn plus(self, stats: &git2::Progress<'_>) -> Self {
        Self {
            objects: self.objects + stats.received_objects(),
            total: self.total + stats.total_objects(),
            bytes: self.bytes + stats.received_bytes() as u64,
        }
    }
}

/// Whether an object could not be read.
fn is_about_objects(error: &git2::Error) -> bool {
    use git2::ErrorClass::{Object, Odb, Zlib};
    matches!(error.class(), Object | Odb | Zlib)
}

/// The remote's refs, without the peeled `^{}` and other names that are none.
fn advertised(connection: &RemoteConnection<'_, '_, '_>) -> Result<Vec<Ref>, git2::Error> {
    let valid = |head: &git2::RemoteHead<'_>| {
        let name = head_name(head).filter(|name| git2::Reference::is_valid_name(name))?;
        name.starts_with("refs/").then(|| Ref {
            name,
            id: head.oid().into(),
        })
    };
    Ok(connection.list()?.iter().filter_map(valid).collect())
}

/// git2 panics on a ref whose name is not UTF-8; one such ref must not stop the others.
fn head_name(head: &git2::RemoteHead<'_>) -> Option<String> {
    catch_unwind(AssertUnwindSafe(|| head.name().to_owned())).ok()
}

/// Sets the refs: the last step, after which readers see the new state.
fn finish(place: CloneDir, plan: RefDiff, received: Progress) -> Result<Fetched, FetchErrorKind> {
    if !plan.is_empty() {
        set_refs(place.bare(), &plan).map_err(FetchErrorKind::Git)?;
    }
    place.finish()?;
    let mut fetched = Fetched {
        deleted: plan.deleted,
        unchanged: plan.unchanged,
        missing: plan.missing,
        received_bytes: received.bytes,
        objects: received.objects,
        ..Fetched::default()
    };
    for RefUpdate { name, id, old, .. } in plan.steps {
        match old {
            Some(old) => fetched.moved.push(MovedRef { name, old, new: id }),
            None => fetched.new.push(Ref { name, id }),
        }
    }
    Ok(fetched)
}

/// Removes first: a deleted `refs/tags/1` makes room for a new `refs/tags/1/2`.
fn set_refs(clone: &BareClone, plan: &RefDiff) -> Result<(), git2::Error> {
    let repository = clone.repository();
    for gone in plan.deleted.iter().chain(&plan.dropped) {
        repository.find_reference(&gone.name)?.delete()?;
    }
    for step in &plan.steps {
        repository.reference(&step.name, step.id.to_git()?, true, "fetch")?;
    }
    Ok(())
}

fn missing(step: &RefUpdate, reason: String) -> MissingRef {
    MissingRef {
        wanted: step.source.clone(),
        reason,
    }
}
