//! The bridge between libgit2's smart protocol and our own transports.
//!
//! libgit2 looks up transports by URL scheme in a process-wide table, and returns errors as text only. So one scheme is
//! registered once, a [`TransportScope`] sets the transport of the current thread's fetch, and typed errors
//! bypass libgit2. It never sees a URL or a password.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};

use super::super::error::FetchErrorKind;
use crate::net::NetworkError;
use crate::util::cancel::CancelFlag;

const SCHEME: &str = "mirror";

/// Carries git's smart protocol to one repository.
pub(crate) trait SmartTransport: Send + Sync + 'static {
    /// Whether each round is a request of its own (http), instead of all going through one stream (ssh).
    fn is_stateless(&self) -> bool;
    /// The host, for messages.
    fn host(&self) -> String;
    fn open(&self, service: Service) -> Result<Box<dyn RemoteStream>, FetchErrorKind>;
}

/// One exchange with the remote. Unlike those of `io::Read`, its errors are typed.
pub(crate) trait RemoteStream: Send {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, FetchErrorKind>;
    fn write(&mut self, bytes: &[u8]) -> Result<(), FetchErrorKind>;
}

/// Holds an error while it passes through a library as text.
#[derive(Clone, Default)]
pub(super) struct ErrorSlot(Arc<Mutex<Option<FetchErrorKind>>>);

impl ErrorSlot {
    pub(super) fn take(&self) -> Option<FetchErrorKind> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn set(&self, error: FetchErrorKind) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// The fetch that runs on this thread.
#[derive(Clone)]
struct CurrentFetch {
    transport: Arc<dyn SmartTransport>,
    error: ErrorSlot,
    cancel: CancelFlag,
    /// Maximum size of the list of refs in bytes.
    max_advertisement: usize,
}

thread_local! {
    /// libgit2 creates a transport on the thread that connects.
    static CURRENT: RefCell<Option<CurrentFetch>> = const { RefCell::new(None) };
}

/// While it lives, connections of this thread to [`TransportScope::URL`] use its transport.
pub(crate) struct TransportScope {
    error: ErrorSlot,
}

impl TransportScope {
    pub(crate) const URL: &str = "mirror://remote";

    pub(crate) fn new(
        transport: Arc<dyn SmartTransport>,
        cancel: &CancelFlag,
        max_advertisement: usize,
    ) -> Self {
        let error = ErrorSlot::default();
        let current =
            CurrentFetch { transport, error: error.clone(), cancel: cancel.clone(), max_advertisement };
        CURRENT.with_borrow_mut(|slot| *slot = Some(current));
        Self { error }
    }

    /// The typed error behind `error` if the transport failed, otherwise libgit2's own.
    pub(crate) fn error_kind(&self, error: git2::Error) -> FetchErrorKind {
        self.error.take().unwrap_or(FetchErrorKind::Git(error))
    }
}

impl Drop for TransportScope {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|slot| *slot = None);
    }
}

/// Registers the scheme with libgit2.
///
/// # Safety
/// No other thread may use libgit2 at the same time.
pub(crate) unsafe fn register_transport() -> Result<(), git2::Error> {
    // SAFETY: guaranteed by the caller.
    unsafe { git2::transport::register(SCHEME, create_transport) }
}

fn create_transport(remote: &git2::Remote<'_>) -> Result<Transport, git2::Error> {
    let current = CURRENT.with_borrow(Clone::clone);
    let current = current.ok_or_else(|| git2::Error::from_str("no transport is set on this thread"))?;
    Transport::smart(remote, current.transport.is_stateless(), Subtransport(current))
}

struct Subtransport(CurrentFetch);

impl SmartSubtransport for Subtransport {
    fn action(&self, _: &str, service: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let CurrentFetch { transport, error, cancel, max_advertisement } = &self.0;
        error.take();
        match transport.open(service) {
            Ok(stream) => Ok(Box::new(CancellableStream {
                stream,
                host: transport.host(),
                error: error.clone(),
                cancel: cancel.clone(),
                max_advertisement: *max_advertisement,
                advertised: Some(0),
            })),
            Err(kind) => {
                let text = git2::Error::from_str(&kind.to_string());
                error.set(kind);
                Err(text)
            }
        }
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// A stream that notices cancellation and keeps the typed error of a failure.
struct CancellableStream {
    stream: Box<dyn RemoteStream>,
    host: String,
    error: ErrorSlot,
    cancel: CancelFlag,
    max_advertisement: usize,
    /// How much was read; `None` from the first request on, when the list of refs is complete.
    advertised: Option<usize>,
}

impl CancellableStream {
    fn run<T>(
        &mut self,
        exchange: impl FnOnce(&mut dyn RemoteStream) -> Result<T, FetchErrorKind>,
    ) -> io::Result<T> {
        let result = match self.cancel.is_set() {
            true => Err(FetchErrorKind::Cancelled),
            false => exchange(&mut *self.stream),
        };
        result.map_err(|kind| {
            let text = io::Error::other(kind.to_string());
            self.error.set(kind);
            text
        })
    }
}

impl Read for CancellableStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let limit = self.max_advertisement;
        let advertised = self.advertised;
        let count = self.run(|stream| {
            let count = stream.read(into)?;
            match advertised {
                Some(before) if before + count > limit => Err(FetchErrorKind::RefsTooLong { limit }),
                _ => Ok(count),
            }
        })?;
        self.advertised = advertised.map(|before| before + count);
        if count == 0 {
            // The protocol tells libgit2 when to stop reading. If it still reports an error, this is the reason.
            let early = NetworkError::interrupted(&*self.host, &"the response ended too early");
            self.error.set(early.into());
        }
        Ok(count)
    }
}

impl Write for CancellableStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.advertised = None;
        self.run(|stream| stream.write(bytes)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
