//! Follows what is published on the volume, by this process or by another one, and puts it before the server.

use std::time::{Duration, Instant, SystemTime};

use crate::app::App;
use crate::app::site_builder::publish;
use crate::server::PublishedSite;
use crate::store::RepositoryStore;

/// How often it is looked for new variants, each of which means to publish everything anew.
const VARIANTS: Duration = Duration::from_secs(10);

/// The number of a snapshot, and when its variants last came or went.
type ServedVersion = (Option<u64>, Option<SystemTime>);

/// Puts what is newest on the volume before the server.
pub(super) struct SnapshotFollower<'a> {
    app: &'a App,
    pub(super) stores: &'a [RepositoryStore],
    pub(super) published: &'a PublishedSite,
    /// What is served of each repository.
    served: Vec<ServedVersion>,
    /// Whether anything was put before the server: until then it serves what another configuration had.
    has_begun: bool,
    looked: Instant,
    /// Why what is newest of a repository could not be served, as it was said.
    failed: Vec<Option<String>>,
}

impl<'a> SnapshotFollower<'a> {
    pub(super) fn new(app: &'a App, stores: &'a [RepositoryStore], published: &'a PublishedSite) -> Self {
        Self {
            app,
            stores,
            published,
            served: vec![(None, None); stores.len()],
            has_begun: false,
            looked: Instant::now(),
            failed: vec![None; stores.len()],
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
    /// [`SnapshotFollower::follow`].
    pub(super) fn poll(&mut self) -> bool {
        let is_behind = |(store, served): (&RepositoryStore, &ServedVersion)| {
            let newest = store.newest_snapshot();
            newest.is_ok_and(|newest| newest.map(|s| s.manifest.number) != served.0)
        };
        let is_behind = || self.stores.iter().zip(&self.served).any(is_behind);
        let is_well = self.failed.iter().all(Option::is_none);
        let is_due = self.looked.elapsed() >= VARIANTS || is_well && is_behind();
        is_due && self.follow()
    }

    /// Answers whether another snapshot is served than before.
    pub(super) fn follow(&mut self) -> bool {
        self.looked = Instant::now();
        let (mut newest, mut failed) = (Vec::new(), Vec::new());
        for (store, served) in self.stores.iter().zip(&self.served) {
            let (state, error) = match store.newest_snapshot() {
                Ok(snapshot) => (
                    (snapshot.map(|s| s.manifest.number), store.variants_changed()),
                    None,
                ),
                Err(error) => (*served, Some(format!("{error:#}"))),
            };
            newest.push(state);
            failed.push(error);
        }
        let before = self.served.clone();
        if newest != before || !self.has_begun {
            match publish(self.app, self.stores, self.published) {
                Ok(errors) => {
                    self.has_begun = true;
                    for (i, error) in errors.into_iter().enumerate() {
                        match error {
                            None => self.served[i] = newest[i],
                            Some(error) => failed[i] = Some(format!("{error:#}")),
                        }
                    }
                }
                Err(error) => failed = vec![Some(format!("{error:#}")); failed.len()],
            }
        }
        self.log_changes(failed);
        before.iter().zip(&self.served).any(|(old, new)| old.0 != new.0)
    }

    /// Says once what is wrong with each repository, however often it is tried.
    fn log_changes(&mut self, failed: Vec<Option<String>>) {
        for (i, repository) in self.app.repositories.iter().enumerate() {
            if let Some(error) = failed[i].as_ref().filter(|_| failed[i] != self.failed[i]) {
                let repository = &repository.name;
                tracing::error!(repository, "what was served of it before stays: {error}");
            }
        }
        self.failed = failed;
    }
}
