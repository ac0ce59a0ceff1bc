//! What every stage of a cycle works with: the repository's settings, its store, and the caller's callbacks.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::bail;
use url::Url;

use crate::bucket::reader::LoadedState;
use crate::bucket::{Bucket, UploadEvent};
use crate::config::{Git, Hints, Limits, Metadata, Site};
use crate::git::{FetchProgress, Fetcher};
use crate::metadata::{BaseUrl, RepositoryInfo};
use crate::recipe::Recipe;
use crate::store::snapshot::Snapshot;
use crate::store::{RepositoryStore, SnapshotRetention};
use crate::util::cancel::CancelFlag;

/// The repository that a cycle is for, and how to run it.
#[derive(Clone)]
pub struct CycleContext<'a> {
    pub store: &'a RepositoryStore,
    /// The folder of the clones.
    pub clones: PathBuf,
    /// All recipes that share the clones, this one included.
    pub recipes: &'a [&'a Recipe],
    pub base_url: &'a BaseUrl,
    /// Whether packages.json holds the versions of all packages.
    pub metadata: Metadata,
    pub hints: &'a Hints,
    /// Whether only configured users may read the repository.
    pub is_private: bool,
    /// Whether it runs without a configuration.
    pub is_trial: bool,
    /// Empty for a repository that follows other mirrors.
    pub recipe: &'a Recipe,
    /// The base URLs of the mirrors that it follows instead of a recipe, in the order in which they are asked.
    pub follow: &'a [Url],
    /// The published state in the bucket, while the volume takes it over.
    pub bucket: Option<PublishedBucket<'a>>,
    /// How they are reached.
    pub network: &'a Git,
    /// Who runs the mirror.
    pub site: &'a Site,
    /// The newest snapshot of another repository of the configuration; `None` if it has published nothing.
    pub other: &'a (dyn Fn(&str) -> anyhow::Result<Option<Snapshot>> + Sync),
    /// The id of the volume.
    pub volume_id: &'a str,
    /// Maps a recipe's git URL to the URL to fetch from.
    pub rewrite: &'a (dyn Fn(&str) -> String + Sync),
    pub fetcher: &'a Fetcher,
    /// Stops running fetches, and the cycle before its next source.
    pub cancel: &'a CancelFlag,
    /// Called from any thread.
    pub progress: &'a (dyn Fn(ProgressEvent<'_>) + Sync),
    /// Sources fetched at the same time.
    pub fetches: usize,
    /// Packages built at the same time.
    pub workers: usize,
    pub limits: &'a Limits,
    /// When the source that is being planned and built has to be done.
    pub deadline: Option<Instant>,
    /// The percentage of published versions that may disappear from the metadata at once.
    pub max_removed: f64,
    /// Which snapshots to keep.
    pub retention: SnapshotRetention,
}

impl CycleContext<'_> {
    /// The settings that metadata and pages depend on.
    pub(super) fn repository_info(&self) -> RepositoryInfo<'_> {
        RepositoryInfo {
            base: self.base_url,
            metadata: self.metadata,
            hints: self.hints,
            site: self.site,
            recipe: self.recipe,
            is_private: self.is_private,
            is_trial: self.is_trial,
        }
    }

    /// Whether it has a recipe, and not the ledger of a mirror that it follows or was imported from.
    pub(super) fn builds(&self) -> bool {
        self.follow.is_empty() && self.recipe.source_names().next().is_some()
    }

    /// The context for planning and building one source, which have to be done within `limits.source_deadline`.
    pub(super) fn for_source(&self) -> Self {
        Self { deadline: Instant::now().checked_add(self.limits.source_deadline), ..self.clone() }
    }

    /// Fails if the cycle was cancelled, if the ledger can no longer be trusted, or if the source takes too long.
    pub(super) fn ensure_can_continue(&self) -> anyhow::Result<()> {
        if self.cancel.is_set() {
            bail!(Cancelled);
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let limit = self.limits.source_deadline;
            bail!(
                "planning and building its source took longer than {limit:?}\nhint: raise `limits.source_deadline`"
            );
        }
        self.store.ensure_writable()
    }
}

/// What is published in the bucket.
#[derive(Clone, Copy)]
pub struct PublishedBucket<'a> {
    pub bucket: &'a Bucket,
    pub loaded: &'a LoadedState,
}

/// Progress of a cycle.
#[derive(Debug, Clone, Copy)]
pub enum ProgressEvent<'a> {
    /// Fetching begins.
    Started {
        clones: u64,
    },
    Fetching {
        source: &'a str,
        progress: FetchProgress,
    },
    /// A source is up to date, or could not be fetched.
    Fetched {
        source: &'a str,
    },
    /// The work on one source begins, or has ended. If the process dies, this is why.
    Working {
        source: Option<&'a str>,
    },
    /// Building the package versions of one source begins.
    Building {
        source: &'a str,
        packages: u64,
    },
    /// One package version was built.
    Built,
    /// All sources are built; metadata and pages are being rendered.
    Publishing,
    /// What is published is uploaded to the bucket, after the cycle.
    Uploading(UploadEvent),
}

/// The cycle was cancelled. What it has built is kept and published by the next cycle.
#[derive(Debug, thiserror::Error)]
#[error("the cycle was cancelled")]
pub struct Cancelled;
