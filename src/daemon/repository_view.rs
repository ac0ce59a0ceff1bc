//! What the threads of the daemon see of a repository: its newest snapshot, its history and its report.

use jiff::Timestamp;

use crate::app::{App, Repository};
use crate::cycle::Report;
use crate::ledger::Release;
use crate::status::StatusInput;
use crate::store::snapshot::Snapshot;
use crate::store::{RepositoryStore, RunHistory, Space};
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

    fn version(&self) -> Option<(u64, bool)> {
        let snapshot = self.snapshot.as_ref();
        snapshot.map(|snapshot| (snapshot.manifest.number, snapshot.is_intact))
    }
}

/// The state of a repository at one moment, from which its [`StatusInput`] is made.
pub(super) struct Observation<'a> {
    app: &'a App,
    repository: &'a Repository,
    snapshot: Option<&'a Snapshot>,
    base_url: String,
    unserved: Option<String>,
    report: Report,
    history: RunHistory,
    now: Timestamp,
}

impl<'a> Observation<'a> {
    pub(super) fn new(
        app: &'a App,
        repository: &'a Repository,
        store: &RepositoryStore,
        watch: &'a SnapshotWatch,
        history: RunHistory,
    ) -> Self {
        let snapshot = watch.snapshot.as_ref();
        let error = watch.error.as_ref();
        Self {
            app,
            repository,
            snapshot,
            base_url: repository.base_url.to_string(),
            // The status page is public.
            unserved: error.map(|error| store.strip_volume_path(error)),
            report: Report::last(snapshot, &history),
            history,
            now: now(),
        }
    }

    pub(super) fn status_input<'b>(
        &'b self,
        releases: &'b [Release],
        space: Option<Space>,
        planned: Option<Timestamp>,
    ) -> StatusInput<'b> {
        StatusInput {
            operator: self.app.config.site.name.as_deref(),
            contact: self.app.config.site.contact.as_deref(),
            name: &self.repository.name,
            base_url: &self.base_url,
            schedule: &self.repository.schedule,
            snapshot: self.snapshot,
            unserved: self.unserved.as_deref(),
            report: &self.report,
            history: &self.history,
            releases,
            space,
            planned,
            now: self.now,
        }
    }
}
