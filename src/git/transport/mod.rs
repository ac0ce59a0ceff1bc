//! The bridge between libgit2's smart protocol and our own wires, [`http`] and [`ssh`].
//!
//! libgit2 looks transports up in a process-wide table by URL scheme and hands back error texts only. So one
//! scheme of our own is registered once, a [`TransportScope`] names the carrier of the current thread's fetch, and the typed
//! cause of a failure travels beside libgit2 instead of through it. URLs, and the passwords in them, never
//! reach libgit2.

mod client;
mod http;
mod known_hosts;
mod proxy;
mod ssh;
mod trust;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, Once, PoisonError};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};

use super::Settings;
use super::error::FetchErrorKind;
use crate::util::cancel::CancelFlag;

pub(super) use http::{Http, download, post};
pub(super) use ssh::Ssh;
pub(super) use trust::{RootCertificates, certificates};

const SCHEME: &str = "mirror";

/// How much of the packs libgit2 may keep mapped; its default is 8 GiB, and mapped pages count as ours in a container.
const MAPPED_LIMIT: usize = 64 << 20;

/// Carries git's smart protocol to one repository.
pub(super) trait SmartTransport: Send + Sync + 'static {
    /// Whether each round of the conversation is a request of its own (http) or all go through one stream (ssh).
    fn stateless(&self) -> bool;
    /// The host, for messages.
    fn host(&self) -> String;
    fn open(&self, service: Service) -> Result<Box<dyn Stream>, FetchErrorKind>;
}

/// One exchange with the remote; errors are typed, unlike those of `io::Read`.
pub(super) trait Stream: Send {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, FetchErrorKind>;
    fn write(&mut self, bytes: &[u8]) -> Result<(), FetchErrorKind>;
}

/// What the transport factory needs to know of the fetch on this thread.
#[derive(Clone)]
struct Current {
    carrier: Arc<dyn SmartTransport>,
    failure: Failure,
    cancel: CancelFlag,
}

type Failure = Arc<Mutex<Option<FetchErrorKind>>>;

thread_local! {
    /// libgit2 makes the transport on the thread that connects.
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// While it lives, a remote with the URL [`TransportScope::URL`] that connects on this thread speaks through its carrier.
pub(super) struct TransportScope {
    failure: Failure,
}

impl TransportScope {
    pub(super) const URL: &str = "mirror://remote";

    pub(super) fn new(carrier: Arc<dyn SmartTransport>, cancel: &CancelFlag) -> Self {
        let failure = Failure::default();
        let current = Current {
            carrier,
            failure: failure.clone(),
            cancel: cancel.clone(),
        };
        CURRENT.with_borrow_mut(|slot| *slot = Some(current));
        Self { failure }
    }

    /// The typed cause behind `error`, when it came over this wire; otherwise what libgit2 said.
    pub(super) fn cause(&self, error: git2::Error) -> FetchErrorKind {
        take(&self.failure).unwrap_or(FetchErrorKind::Git(error))
    }
}

impl Drop for TransportScope {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|slot| *slot = None);
    }
}

fn take(failure: &Failure) -> Option<FetchErrorKind> {
    failure.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn put(failure: &Failure, cause: FetchErrorKind) {
    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
}

/// Sets libgit2's process-wide options and registers our transport; does so once.
pub(super) fn prepare_libgit2() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Halves the time to read blobs; packs were verified when they were received.
        git2::opts::strict_hash_verification(false);
        // SAFETY: the options are process-wide and not synchronised; this runs once, before any other use of
        // libgit2, because everything in this stage calls it first.
        let set = unsafe {
            git2::opts::set_mwindow_mapped_limit(MAPPED_LIMIT)
                // The volume often belongs to another user than the one in the container.
                .and_then(|()| git2::opts::set_verify_owner_validation(false))
                .and_then(|()| ignore_configuration_of_the_machine())
                .and_then(|()| git2::transport::register(SCHEME, factory))
        };
        if let Err(error) = set {
            tracing::error!(%error, "failed to set up libgit2");
        }
    });
}

/// A `url.insteadOf` in somebody's `~/.gitconfig` must not change what is mirrored.
unsafe fn ignore_configuration_of_the_machine() -> Result<(), git2::Error> {
    use git2::ConfigLevel::{Global, ProgramData, System, XDG};
    for level in [System, Global, XDG, ProgramData] {
        // SAFETY: the caller's.
        unsafe { git2::opts::set_search_path(level, "")? };
    }
    Ok(())
}

fn factory(remote: &git2::Remote<'_>) -> Result<Transport, git2::Error> {
    let current = CURRENT.with_borrow(Clone::clone);
    let current = current.ok_or_else(|| git2::Error::from_str("no wire on this thread"))?;
    Transport::smart(remote, current.carrier.stateless(), Subtransport(current))
}

struct Subtransport(Current);

impl SmartSubtransport for Subtransport {
    fn action(&self, _: &str, service: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let Current {
            carrier,
            failure,
            cancel,
        } = &self.0;
        take(failure);
        match carrier.open(service) {
            Ok(stream) => Ok(Box::new(CancellableStream {
                stream,
                host: carrier.host(),
                failure: failure.clone(),
                cancel: cancel.clone(),
            })),
            Err(cause) => {
                let error = git2::Error::from_str(&cause.to_string());
                put(failure, cause);
                Err(error)
            }
        }
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// A stream that notices cancellation and keeps the typed cause of a failure.
struct CancellableStream {
    stream: Box<dyn Stream>,
    host: String,
    failure: Failure,
    cancel: CancelFlag,
}

impl CancellableStream {
    fn run<T>(
        &mut self,
        exchange: impl FnOnce(&mut dyn Stream) -> Result<T, FetchErrorKind>,
    ) -> io::Result<T> {
        let result = if self.cancel.is_set() {
            Err(FetchErrorKind::Cancelled)
        } else {
            exchange(&mut *self.stream)
        };
        result.map_err(|cause| {
            let error = io::Error::other(cause.to_string());
            put(&self.failure, cause);
            error
        })
    }
}

impl Read for CancellableStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.run(|stream| stream.read(into))?;
        if read == 0 {
            // Well-formed answers tell libgit2 when to stop reading. If it is not content with this end, this is why.
            let reason = "the answer ended too early".to_owned();
            put(
                &self.failure,
                FetchErrorKind::Interrupted {
                    host: self.host.clone(),
                    reason,
                },
            );
        }
        Ok(read)
    }
}

impl Write for CancellableStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.run(|stream| stream.write(bytes)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The carrier for a remote address, or `None` for a local one.
pub(super) fn carrier(
    address: &super::GitUrl,
    settings: &Settings,
    trust: &RootCertificates,
) -> Result<Option<Arc<dyn SmartTransport>>, FetchErrorKind> {
    Ok(match address {
        super::GitUrl::Http(url) => Some(Arc::new(Http::new(url, settings, trust)?)),
        super::GitUrl::Ssh(ssh) => Some(Arc::new(Ssh::new(ssh, settings))),
        super::GitUrl::Local(_) => None,
    })
}
