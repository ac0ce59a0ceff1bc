//! How many connections are served at once, and what happens to the others.
//!
//! A connection over the limit is still answered: probes as ever, so that a busy server is not taken for a dead
//! one, and everything else with 503, which sends Composer to try again. Only when these too are many does the
//! kernel's queue have to wait.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests at a time on one HTTP/2 connection.
pub(super) const STREAMS: u32 = 100;

/// Connections over the limit that are told so.
const SURPLUS: usize = 64;

/// The places for connections.
#[derive(Clone)]
pub(super) struct Places {
    regular: Arc<Semaphore>,
    surplus: Arc<Semaphore>,
}

/// A place, given back when it is dropped.
pub(super) struct Place {
    /// Whether the server has no room for this connection's requests.
    pub(super) over_limit: bool,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(connections: usize) -> Self {
        let places = connections.min(Semaphore::MAX_PERMITS);
        Self {
            regular: Arc::new(Semaphore::new(places)),
            surplus: Arc::new(Semaphore::new(SURPLUS)),
        }
    }

    /// A place for one more connection, when there is any; never fails, since no semaphore is ever closed.
    pub(super) async fn take(&self) -> Option<Place> {
        if let Ok(permit) = Arc::clone(&self.regular).try_acquire_owned() {
            return Some(Place {
                over_limit: false,
                _permit: permit,
            });
        }
        let permit = Arc::clone(&self.surplus).acquire_owned().await.ok()?;
        Some(Place {
            over_limit: true,
            _permit: permit,
        })
    }
}
