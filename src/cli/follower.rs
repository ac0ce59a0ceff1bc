//! Follows what is published on the volume, by this process or by another one, and puts it before the server.

use std::time::{Duration, Instant, SystemTime};

use super::publisher::publish;
use super::setup::Setup;
use crate::serve::Published;
use crate::store::Repository;

/// How often it is looked for new variants, each of which means to publish everything anew.
const VARIANTS: Duration = Duration::from_secs(10);

/// The number of a snapshot, and when its variants last came or went.
type State = (Option<u64>, Option<SystemTime>);

/// Puts what is newest on the volume before the server.
pub(super) struct Follower<'a> {
    setup: &'a Setup,
    pub(super) stores: &'a [Repository],
    pub(super) published: &'a Published,
    /// What is served of each repository.
    served: Vec<State>,
    looked: Instant,
    /// What is newest could not be served.
    failed: bool,
}

impl<'a> Follower<'a> {
    pub(super) fn new(setup: &'a Setup, stores: &'a [Repository], published: &'a Published) -> Self {
        Self {
            setup,
            stores,
            published,
            served: vec![(None, None); stores.len()],
            looked: Instant::now(),
            failed: false,
        }
    }

    pub(super) fn serves(&self, repository: usize) -> bool {
        self.served[repository].0.is_some()
    }

    /// Whether there is a snapshot, served or not.
    pub(super) fn is_published(&self, repository: usize) -> bool {
        self.stores[repository]
            .newest_snapshot()
            .is_ok_and(|newest| newest.is_some())
    }

    /// Follows if there is another snapshot, and else now and then; to be called every second. Answers as
    /// [`Follower::follow`].
    pub(super) fn keep_up(&mut self) -> bool {
        let is_behind = |(store, served): (&Repository, &State)| {
            let newest = store.newest_snapshot();
            newest.is_ok_and(|newest| newest.map(|s| s.manifest.number) != served.0)
        };
        let is_behind = || self.stores.iter().zip(&self.served).any(is_behind);
        let is_due = self.looked.elapsed() >= VARIANTS || !self.failed && is_behind();
        is_due && self.follow()
    }

    /// Answers whether another snapshot is served than before.
    pub(super) fn follow(&mut self) -> bool {
        self.looked = Instant::now();
        let mut newest = Vec::new();
        for (store, served) in self.stores.iter().zip(&self.served) {
            newest.push(match store.newest_snapshot() {
                Ok(snapshot) => (snapshot.map(|s| s.manifest.number), store.variants_changed()),
                Err(error) => {
                    tracing::error!("what was served before stays: {error:#}");
                    *served
                }
            });
        }
        self.failed = newest != self.served && !publish(self.setup, self.stores, self.published);
        if self.failed || newest == self.served {
            return false;
        }
        let others = newest.iter().zip(&self.served).any(|(new, old)| new.0 != old.0);
        self.served = newest;
        others
    }
}
