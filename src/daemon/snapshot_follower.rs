//! Serves the newest snapshots on the volume, whichever process published them.

use std::time::{Duration, Instant, SystemTime};

use crate::app::App;
use crate::app::site_builder::publish;
use crate::server::PublishedSite;
use crate::store::RepositoryStore;

/// How often new variants are picked up. Each time, the whole site is rebuilt.
const VARIANTS_INTERVAL: Duration = Duration::from_secs(10);

/// The number of a snapshot, and when its variants last changed.
type ServedVersion = (Option<u64>, Option<SystemTime>);

pub(super) struct SnapshotFollower<'a> {
    app: &'a App,
    pub(super) stores: &'a [RepositoryStore],
    pub(super) published: &'a PublishedSite,
    served: Vec<ServedVersion>,
    /// Before that, the server still has the site of the previous configuration.
    has_published: bool,
    followed_at: Instant,
    /// Why the newest snapshot of each repository cannot be served. Each error is logged once.
    errors: Vec<Option<String>>,
}

impl<'a> SnapshotFollower<'a> {
    pub(super) fn new(app: &'a App, stores: &'a [RepositoryStore], published: &'a PublishedSite) -> Self {
        Self {
            app,
            stores,
            published,
            served: vec![(None, None); stores.len()],
            has_published: false,
            followed_at: Instant::now(),
            errors: vec![None; stores.len()],
        }
    }

    pub(super) fn serves(&self, repository: usize) -> bool {
        self.served[repository].0.is_some()
    }

    /// Whether the repository has a snapshot, served or not.
    pub(super) fn is_published(&self, repository: usize) -> bool {
        newest_number(&self.stores[repository]).is_ok_and(|newest| newest.is_some())
    }

    /// Follows if there is a newer snapshot, and from time to time for new variants. To be called every second. Returns
    /// whether another snapshot is served.
    pub(super) fn poll(&mut self) -> bool {
        let is_due = self.followed_at.elapsed() >= VARIANTS_INTERVAL
            || self.errors.iter().all(Option::is_none) && self.has_newer();
        is_due && self.follow()
    }

    fn has_newer(&self) -> bool {
        let mut served = self.stores.iter().zip(&self.served);
        served.any(|(store, served)| newest_number(store).is_ok_and(|newest| newest != served.0))
    }

    /// Serves the newest snapshots. Returns whether another snapshot is served.
    pub(super) fn follow(&mut self) -> bool {
        self.followed_at = Instant::now();
        let (mut newest, mut errors) = (Vec::new(), Vec::new());
        for (store, served) in self.stores.iter().zip(&self.served) {
            let (version, error) = match newest_number(store) {
                Ok(number) => ((number, store.variants_changed()), None),
                Err(error) => (*served, Some(format!("{error:#}"))),
            };
            newest.push(version);
            errors.push(error);
        }
        let before = self.served.clone();
        if newest != before || !self.has_published {
            match publish(self.app, self.stores, self.published) {
                Ok(failed) => {
                    self.has_published = true;
                    for (i, error) in failed.into_iter().enumerate() {
                        match error {
                            None => self.served[i] = newest[i],
                            Some(error) => errors[i] = Some(format!("{error:#}")),
                        }
                    }
                }
                Err(error) => errors.fill(Some(format!("{error:#}"))),
            }
        }
        self.log_changes(errors);
        before.iter().zip(&self.served).any(|(old, new)| old.0 != new.0)
    }

    /// Logs each error that is new or different.
    fn log_changes(&mut self, errors: Vec<Option<String>>) {
        for (i, repository) in self.app.repositories.iter().enumerate() {
            if let Some(error) = errors[i].as_ref().filter(|_| errors[i] != self.errors[i]) {
                let repository = &repository.name;
                tracing::error!(
                    repository,
                    "failed to serve the newest snapshot, keeping the previous one: {error}"
                );
            }
        }
        self.errors = errors;
    }
}

fn newest_number(store: &RepositoryStore) -> anyhow::Result<Option<u64>> {
    let newest = store.newest_snapshot()?;
    Ok(newest.map(|snapshot| snapshot.manifest.number))
}
