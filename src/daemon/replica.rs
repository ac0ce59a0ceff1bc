//! A repository of a server without a volume: what the bucket had when it was last read, and since when it cannot be read.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use arc_swap::ArcSwap;

use super::configured_status::configured_status;
use crate::app::published_contents::BucketContents;
use crate::app::{App, Repository};
use crate::bucket::Bucket;
use crate::bucket::history::{self, StoredHistory};
use crate::bucket::reader::{Loaded, LoadedState, load};
use crate::config;
use crate::cycle::Report;
use crate::server::ArchiveBucket;
use crate::status::StatusInput;
use crate::store::snapshot::{Snapshot, SnapshotManifest};
use crate::store::{BucketFailure, BucketRecord, BucketUpload};
use crate::util::cancel::CancelFlag;
use crate::util::clock::now;
use crate::util::heap;
use crate::util::text::without_error_numbers;

/// One repository in the bucket.
pub(super) struct Replica {
    name: String,
    /// For the metadata; its requests end with the configuration.
    bucket: Bucket,
    /// For requests of clients, which end by themselves.
    archives: Arc<ArchiveBucket>,
    current: ArcSwap<ReplicaState>,
}

/// What is known of it.
pub(super) struct ReplicaState {
    /// What is served; `None` before the first publication.
    pub(super) contents: Option<Arc<LoadedState>>,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) record: BucketRecord,
    history: Arc<StoredHistory>,
}

impl Replica {
    /// All repositories of a configuration; sends no request. What `before` has read of the same bucket is kept.
    pub(super) fn open_all(app: &App, before: &[Self], stop: &CancelFlag) -> anyhow::Result<Vec<Self>> {
        let config = app.config.bucket.as_ref().context("there is neither a volume nor a bucket")?;
        app.repositories.iter().map(|repository| Self::open(app, config, repository, before, stop)).collect()
    }

    fn open(
        app: &App,
        config: &config::Bucket,
        repository: &Repository,
        before: &[Self],
        stop: &CancelFlag,
    ) -> anyhow::Result<Self> {
        let server = config.endpoint.as_ref().map_or("", |url| url.as_str());
        let known = before.iter().find(|replica| {
            let record = &replica.current.load().record;
            replica.name == repository.name && record.bucket == config.url() && record.server == server
        });
        let unknown = || {
            let record =
                BucketRecord { bucket: config.url(), server: server.to_owned(), ..BucketRecord::default() };
            Arc::new(ReplicaState { contents: None, snapshot: None, record, history: Arc::default() })
        };
        let (git, never) = (&app.config.git, CancelFlag::default());
        let archives = Bucket::open(config, git, &never)?;
        Ok(Self {
            name: repository.name.clone(),
            bucket: Bucket::open(config, git, stop)?,
            archives: ArchiveBucket::new(archives, &config.redirect, repository.is_private),
            current: ArcSwap::new(known.map_or_else(unknown, Self::state)),
        })
    }

    pub(super) fn state(&self) -> Arc<ReplicaState> {
        self.current.load_full()
    }

    /// What the site is built from; `None` before the first publication.
    pub(super) fn contents<'a>(&'a self, state: &'a ReplicaState) -> Option<BucketContents<'a>> {
        let loaded = state.contents.as_deref()?;
        Some(BucketContents { loaded, archives: &self.archives })
    }

    /// Asks the bucket whether there is anything new, and reads it; may take as long as the bucket. Returns whether other contents
    /// are to be served.
    pub(super) fn poll(&self, stop: &CancelFlag) -> bool {
        let state = self.state();
        let loaded = self.load(state.contents.as_deref());
        let read = loaded.and_then(|loaded| {
            let history = history::read(&self.bucket, &self.name, &state.history)?;
            Ok((loaded, history))
        });
        match read {
            _ if stop.is_set() => false,
            Ok((None, None)) if state.record.failure.is_none() => false,
            Ok((loaded, history)) => {
                if state.record.failure.is_some() {
                    tracing::info!(repository = self.name, "the bucket can be read again");
                }
                let is_new = loaded.is_some();
                self.current.store(Arc::new(state.with(loaded, history)));
                heap::trim();
                is_new
            }
            Err(error) => {
                self.fail(&state, &format!("{error:#}"));
                false
            }
        }
    }

    fn load(&self, known: Option<&LoadedState>) -> anyhow::Result<Option<LoadedState>> {
        let loaded = match (load(&self.bucket, &self.name, known)?, known) {
            (Loaded::New(loaded), _) => loaded,
            (Loaded::Unchanged, _) | (Loaded::Nothing, None) => return Ok(None),
            (Loaded::Nothing, Some(_)) => bail!("`{}` has nothing any more", self.bucket.object(&self.name)),
        };
        let is_continued = known.is_none_or(|known| {
            let known = known.ledger();
            known.is_empty() || loaded.ledger().head_at(known.len()) == Some(known.head())
        });
        ensure!(
            is_continued,
            "the ledger in `{}` does not continue the one that is served\nhint: if it was replaced on purpose, restart this replica",
            self.bucket.object(&self.name)
        );
        Ok(Some(*loaded))
    }

    /// Records why the bucket cannot be read; logs each error once.
    fn fail(&self, state: &ReplicaState, error: &str) {
        let before = state.record.failure.as_ref();
        // The status page is public.
        let public = without_error_numbers(error);
        if before.is_some_and(|before| before.error == public) {
            return;
        }
        let repository = &self.name;
        let consequence = match &state.contents {
            Some(_) => "serving what it had before",
            None => "there is nothing to serve yet",
        };
        tracing::error!(repository, "failed to read the bucket, {consequence}: {error}");
        let since = before.map_or_else(now, |before| before.since);
        self.current.store(Arc::new(state.with_failure(Some(BucketFailure { since, error: public }))));
    }
}

impl ReplicaState {
    /// The state after what was read; `None` is what is known.
    fn with(&self, loaded: Option<LoadedState>, history: Option<StoredHistory>) -> Self {
        let mut state = self.with_failure(None);
        if let Some(loaded) = loaded {
            let root = loaded.root();
            let (sequence, snapshot) = (root.sequence, root.snapshot.number);
            state.record.published = Some(BucketUpload { sequence, snapshot, at: root.time });
            let manifest = Arc::new(loaded.state.snapshot.clone());
            state.snapshot = Some(Snapshot { folder: PathBuf::new(), manifest, is_intact: true });
            state.contents = Some(Arc::new(loaded));
        }
        if let Some(history) = history {
            state.history = Arc::new(history);
        }
        state
    }

    /// The status of the repository, without releases.
    pub(super) fn status_input<'a>(&'a self, app: &'a App, repository: &'a Repository) -> StatusInput<'a> {
        let history = self.history.history.clone();
        let published = self.contents.as_deref().and_then(|loaded| {
            let SnapshotManifest { number, report, .. } = loaded.state.snapshot;
            let read = loaded.content(report?).context("the state in the bucket lacks it");
            Some(Report::parse(number, read))
        });
        StatusInput {
            snapshot: self.snapshot.as_ref(),
            report: Report::unpublished(&history).or(published).unwrap_or_default(),
            history,
            bucket: Some(self.record.clone()),
            is_replica: true,
            ..configured_status(app, repository)
        }
    }

    fn with_failure(&self, failure: Option<BucketFailure>) -> Self {
        Self {
            contents: self.contents.clone(),
            snapshot: self.snapshot.clone(),
            record: BucketRecord { failure, ..self.record.clone() },
            history: Arc::clone(&self.history),
        }
    }
}
