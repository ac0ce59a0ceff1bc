//! Serves the newest snapshots on the volume, whichever process published them.

use std::mem;
use std::time::{Duration, Instant, SystemTime};

use crate::app::App;
use crate::app::site_builder::publish;
use crate::server::PublishedSite;
use crate::store::RepositoryStore;

/// How often new variants are picked up. Each time, the whole site is rebuilt.
const VARIANTS_INTERVAL: Duration = Duration::from_secs(10);

/// How long a newer snapshot may be missing before an older one is served. A builder that was overtaken appends its releases to those of
/// the other builder; until it publishes both, only its older snapshot is there.
const PATIENCE: Duration = Duration::from_secs(30);

/// The number of a snapshot, and when its variants last changed.
type SnapshotVersion = (Option<u64>, Option<SystemTime>);

/// What is served of one repository.
#[derive(Debug, Clone, Default)]
struct Served {
    version: SnapshotVersion,
    /// Since when only an older one is on the volume.
    older_since: Option<Instant>,
    /// Why the newest snapshot cannot be served. Each error is logged once.
    error: Option<String>,
}

pub(super) struct SnapshotFollower<'a> {
    app: &'a App,
    pub(super) stores: &'a [RepositoryStore],
    pub(super) published: &'a PublishedSite,
    /// By the index of the repository.
    served: Vec<Served>,
    /// Before that, the server still has the site of the previous configuration.
    has_published: bool,
    followed_at: Instant,
}

impl<'a> SnapshotFollower<'a> {
    pub(super) fn new(app: &'a App, stores: &'a [RepositoryStore], published: &'a PublishedSite) -> Self {
        Self {
            app,
            stores,
            published,
            served: vec![Served::default(); stores.len()],
            has_published: false,
            followed_at: Instant::now(),
        }
    }

    pub(super) fn serves(&self, repository: usize) -> bool {
        self.served[repository].version.0.is_some()
    }

    /// Follows if there is a newer snapshot, and from time to time for new variants. To be called every second. Returns
    /// whether another snapshot is served.
    pub(super) fn poll(&mut self) -> bool {
        let is_due = self.followed_at.elapsed() >= VARIANTS_INTERVAL
            || self.served.iter().all(|served| served.error.is_none()) && self.has_newer();
        is_due && self.follow()
    }

    fn has_newer(&self) -> bool {
        let mut served = self.stores.iter().zip(&self.served);
        served.any(|(store, served)| newest_number(store).is_ok_and(|newest| newest != served.version.0))
    }

    /// Serves the newest snapshots. Returns whether another snapshot is served.
    pub(super) fn follow(&mut self) -> bool {
        self.followed_at = Instant::now();
        let newest: Vec<_> =
            self.stores.iter().zip(&self.served).map(|(store, served)| newest(store, served)).collect();
        let has_changed = newest.iter().zip(&self.served).any(|(new, old)| new.version != old.version);
        let now = match has_changed || !self.has_published {
            true => self.publish(newest),
            false => newest,
        };
        let before = mem::replace(&mut self.served, now);
        for ((now, before), repository) in self.served.iter().zip(&before).zip(self.app.names()) {
            if let Some(error) = now.error.as_ref().filter(|_| now.error != before.error) {
                tracing::error!(
                    repository,
                    "failed to serve the newest snapshot, keeping the previous one: {error}"
                );
            }
        }
        before.iter().zip(&self.served).any(|(old, new)| old.version.0 != new.version.0)
    }

    /// Serves what is on the volume. Returns what is served now.
    fn publish(&mut self, newest: Vec<Served>) -> Vec<Served> {
        let text = |error: anyhow::Error| format!("{error:#}");
        let errors: Vec<_> = match publish(self.app, self.stores, self.published) {
            Ok(errors) => {
                self.has_published = true;
                errors.into_iter().map(|error| error.map(text)).collect()
            }
            Err(error) => vec![Some(text(error)); newest.len()],
        };
        let outcomes = newest.into_iter().zip(errors).zip(&self.served);
        let now = outcomes.map(|((newest, error), before)| match error {
            None => newest,
            Some(error) => Served { version: before.version, older_since: None, error: Some(error) },
        });
        now.collect()
    }
}

/// The newest snapshot of a repository, or why it is the one that is `served`.
fn newest(store: &RepositoryStore, served: &Served) -> Served {
    let (version, older_since, error) = match newest_number(store) {
        Ok(number) if number < served.version.0 => {
            let since = served.older_since.unwrap_or_else(Instant::now);
            match since.elapsed() < PATIENCE {
                true => (served.version, Some(since), None),
                false => ((number, store.variants_changed()), None, None),
            }
        }
        Ok(number) => ((number, store.variants_changed()), None, None),
        Err(error) => (served.version, None, Some(format!("{error:#}"))),
    };
    Served { version, older_since, error }
}

fn newest_number(store: &RepositoryStore) -> anyhow::Result<Option<u64>> {
    let newest = store.newest_snapshot()?;
    Ok(newest.map(|snapshot| snapshot.manifest.number))
}
