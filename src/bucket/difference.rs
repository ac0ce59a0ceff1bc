//! What a builder has to take over before it may publish, because another one has published first.

use anyhow::{bail, ensure};

use super::client::Bucket;
use super::reader::LoadedState;
use crate::ledger::{Ledger, Release};

/// Another builder was first: the bucket has something that this volume lacks.
#[derive(Debug, thiserror::Error)]
#[error(
    "another builder has published to `{0}` first, so nothing was uploaded: the next cycle takes that over"
)]
pub struct Overtaken(pub(super) String);

/// How the ledger of a volume differs from the published one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The number of lines that both begin with.
    pub common: u64,
    /// The lines that the volume has, and that are published.
    pub own: u64,
    pub published: u64,
    /// The releases that only the volume has. They follow what is published.
    pub kept: Vec<Release>,
}

impl Difference {
    /// Whether both have lines that the other one lacks.
    pub fn is_fork(&self) -> bool {
        self.common < self.own && self.common < self.published
    }

    /// Compares the ledger of a volume, whose mirror has this base URL, with the published one.
    ///
    /// # Errors
    /// The published one is of another mirror, or has a version with other bytes: bytes that were published never change.
    pub fn find(bucket: &Bucket, loaded: &LoadedState, own: &Ledger, base_url: &str) -> anyhow::Result<Self> {
        let place = bucket.object(&loaded.state.repository);
        let published = loaded.ledger();
        let common = own.common_lines(published);
        let mut found = Self { common, own: own.len(), published: published.len(), kept: Vec::new() };
        ensure!(
            !found.is_fork() || loaded.state.snapshot.base_url == base_url,
            "`{place}` was published from another ledger: line {} differs, and it is for {}, not {base_url}, so nothing was uploaded\nhint: choose another prefix in `bucket.url`, or restore the volume that published it",
            common + 1,
            loaded.state.snapshot.base_url
        );
        match own.lacking_in(published, common) {
            Ok(kept) => found.kept = kept,
            Err(conflict) => bail!(
                "`{place}` was published from another ledger: its line {} is {} with SHA-256 {}, and this volume has it with {}, so nothing was uploaded\nhint: published bytes never change; to go on with those in the bucket, give this builder an empty volume, which its next cycle restores; to keep those of the volume, choose another prefix in `bucket.url`",
                conflict.other.number,
                conflict.other.package(),
                conflict.other.sha256,
                conflict.own.sha256
            ),
        }
        Ok(found)
    }
}
