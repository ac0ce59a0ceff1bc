//! The state of a repository as the threads of the daemon observe it: its newest snapshot, its history and its report.

use std::sync::Arc;
use std::time::SystemTime;

use super::configuration::Configuration;
use super::configured_status::configured_status;
use super::replica::{Replica, ReplicaState};
use crate::app::bucket_upload::bucket_record;
use crate::app::{App, Repository};
use crate::bucket::reader::LoadedState;
use crate::cycle::Report;
use crate::ledger::Release;
use crate::status::StatusInput;
use crate::store::snapshot::Snapshot;
use crate::store::{RepositoryStore, RunHistory, Volume};

/// The newest snapshot that could be read, and the error of a newer one.
#[derive(Default)]
pub(super) struct SnapshotWatch {
    pub(super) snapshot: Option<Snapshot>,
    pub(super) error: Option<String>,
}

impl SnapshotWatch {
    /// Looks for a newer snapshot. Returns whether the snapshot or the error changed.
    pub(super) fn refresh(&mut self, store: &RepositoryStore) -> bool {
        let before = (self.version(), self.error.take());
        match store.newest_snapshot() {
            Ok(snapshot) => self.snapshot = snapshot,
            Err(error) => self.error = Some(format!("{error:#}")),
        }
        before.0 != self.version() || before.1 != self.error
    }

    /// The status of the repository now, without releases, free space and the planned cycle.
    pub(super) fn status_input<'a>(
        &'a self,
        app: &'a App,
        repository: &'a Repository,
        store: &RepositoryStore,
        history: RunHistory,
    ) -> StatusInput<'a> {
        let (snapshot, error) = (self.snapshot.as_ref(), self.error.as_ref());
        StatusInput {
            snapshot,
            // The status page is public.
            unserved: error.map(|error| store.strip_volume_path(error)),
            report: Report::last(snapshot, &history),
            history,
            bucket: app.config.bucket.as_ref().map(|config| bucket_record(config, store)),
            ..configured_status(app, repository)
        }
    }

    fn version(&self) -> Option<(u64, bool)> {
        let snapshot = self.snapshot.as_ref();
        snapshot.map(|snapshot| (snapshot.manifest.number, snapshot.is_intact))
    }
}

/// A repository whose status is published.
pub(super) enum RepositoryView<'a> {
    Volume(VolumeView<'a>),
    Bucket { replica: &'a Replica, state: Arc<ReplicaState> },
}

/// A repository on the volume, and when what is recorded of it last changed.
pub(super) struct VolumeView<'a> {
    store: &'a RepositoryStore,
    watch: SnapshotWatch,
    history_changed: Option<SystemTime>,
    bucket_changed: Option<SystemTime>,
}

impl<'a> RepositoryView<'a> {
    /// All repositories of a configuration.
    pub(super) fn all(configuration: &'a Configuration) -> Vec<Self> {
        let stores = configuration.stores.iter().map(|store| {
            Self::Volume(VolumeView {
                store,
                watch: SnapshotWatch::default(),
                history_changed: None,
                bucket_changed: None,
            })
        });
        let replicas = configuration.replicas.iter();
        stores.chain(replicas.map(|replica| Self::Bucket { replica, state: replica.state() })).collect()
    }

    /// Looks again. Returns whether anything changed.
    pub(super) fn refresh(&mut self) -> bool {
        match self {
            Self::Volume(view) => {
                let history = view.store.run_history_modified();
                let bucket = view.store.bucket_record_modified();
                let before = (view.history_changed, view.bucket_changed);
                (view.history_changed, view.bucket_changed) = (history, bucket);
                view.watch.refresh(view.store) || before != (history, bucket)
            }
            Self::Bucket { replica, state } => {
                let before = std::mem::replace(state, replica.state());
                !Arc::ptr_eq(&before, state)
            }
        }
    }

    /// Whether it has a snapshot.
    pub(super) fn is_published(&self) -> bool {
        match self {
            Self::Volume(view) => view.watch.snapshot.is_some(),
            Self::Bucket { state, .. } => state.snapshot.is_some(),
        }
    }

    /// The published releases, in the order of their publication.
    pub(super) fn releases(&self, base_url: &str) -> Vec<Release> {
        match self {
            Self::Volume(view) => view.store.published_releases(view.watch.snapshot.as_ref(), base_url),
            Self::Bucket { state, .. } => {
                let published = |loaded: &LoadedState| {
                    loaded.state.snapshot.published_releases(loaded.ledger(), base_url)
                };
                state.contents.as_deref().map(published).unwrap_or_default()
            }
        }
    }

    /// The status now, without releases and the planned cycle.
    pub(super) fn status_input<'s>(&'s self, app: &'s App, repository: &'s Repository) -> StatusInput<'s> {
        match self {
            Self::Volume(view) => StatusInput {
                space: Volume::open_read_only(&app.config.data).and_then(|volume| volume.space()).ok(),
                ..view.watch.status_input(app, repository, view.store, view.store.run_history())
            },
            Self::Bucket { state, .. } => state.status_input(app, repository),
        }
    }
}
