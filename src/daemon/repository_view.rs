//! What is seen of a repository's snapshots: the newest that could be read last, and why a newer one cannot.

use crate::store::RepositoryStore;
use crate::store::snapshot::Snapshot;

#[derive(Default)]
pub(super) struct SnapshotWatch {
    pub(super) snapshot: Option<Snapshot>,
    /// Why what is newest cannot be served; in words for everybody.
    pub(super) unserved: Option<String>,
}

impl SnapshotWatch {
    /// Looks again; answers whether anything is other than before.
    pub(super) fn refresh(&mut self, store: &RepositoryStore) -> bool {
        let number =
            |snapshot: &Option<Snapshot>| snapshot.as_ref().map(|s| (s.manifest.number, s.is_intact));
        match store.newest_snapshot() {
            Ok(snapshot) => {
                let is_other = number(&snapshot) != number(&self.snapshot) || self.unserved.is_some();
                *self = Self {
                    snapshot,
                    unserved: None,
                };
                is_other
            }
            Err(error) => {
                let because = Some(store.strip_volume_path(&format!("{error:#}")));
                let is_other = because != self.unserved;
                self.unserved = because;
                is_other
            }
        }
    }
}
