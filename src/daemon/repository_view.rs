//! The state of a repository as the threads of the daemon observe it: its newest snapshot, its history and its report.

use crate::app::bucket_upload::bucket_record;
use crate::app::{App, Repository};
use crate::cycle::Report;
use crate::status::StatusInput;
use crate::store::snapshot::Snapshot;
use crate::store::{RepositoryStore, RunHistory};
use crate::util::clock::now;

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
            operator: app.config.site.name.as_deref(),
            contact: app.config.site.contact.as_deref(),
            name: &repository.name,
            base_url: repository.base_url.to_string(),
            schedule: &repository.schedule,
            snapshot,
            // The status page is public.
            unserved: error.map(|error| store.strip_volume_path(error)),
            report: Report::last(snapshot, &history),
            history,
            bucket: app.config.bucket.as_ref().map(|config| bucket_record(config, store)),
            releases: &[],
            space: None,
            planned: None,
            now: now(),
        }
    }

    fn version(&self) -> Option<(u64, bool)> {
        let snapshot = self.snapshot.as_ref();
        snapshot.map(|snapshot| (snapshot.manifest.number, snapshot.is_intact))
    }
}
