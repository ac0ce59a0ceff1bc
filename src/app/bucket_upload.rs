//! Uploads what a repository has published to the bucket of the configuration, and records how that ended.
//!
//! The volume is published before the upload, so a failing bucket takes nothing from it. Log, status and metrics report the failure.

use std::cell::Cell;
use std::time::Duration;

use anyhow::Context as _;
use jiff::SignedDuration;

use super::cycle_runner::Observer;
use super::{App, Repository};
use crate::bucket::commit::GRACE;
use crate::bucket::difference::Overtaken;
use crate::bucket::probe::{probe, require};
use crate::bucket::publish::{Published, Publisher};
use crate::bucket::{Bucket, garbage, history};
use crate::config;
use crate::cycle::ProgressEvent;
use crate::store::{BucketFailure, BucketRecord, BucketUpload, RepositoryStore};
use crate::util::cancel::CancelFlag;
use crate::util::clock::now;

/// How often objects that nothing refers to are removed.
const COLLECTION_INTERVAL: SignedDuration = SignedDuration::from_hours(24);

/// How often an upload looks whether another one has ended.
const LOCK_INTERVAL: Duration = Duration::from_millis(200);

/// One upload of one repository.
pub(crate) struct BucketJob<'a> {
    pub(crate) app: &'a App,
    pub(crate) repository: &'a Repository,
    pub(crate) store: &'a RepositoryStore,
    /// Of the volume.
    pub(crate) volume_id: &'a str,
    /// Whether the bucket is tried again although it was before.
    pub(crate) probes: bool,
    pub(crate) observer: Observer<'a>,
}

impl BucketJob<'_> {
    /// Uploads what the bucket lacks, after another process of this mirror that does so; `None` if there is no bucket, or if
    /// nothing is published yet.
    ///
    /// # Errors
    /// [`Overtaken`] is no failure: the next cycle takes over what another builder has published.
    pub(crate) fn run(&self, cancel: &CancelFlag) -> anyhow::Result<Option<Published>> {
        let Some(config) = &self.app.config.bucket else { return Ok(None) };
        let _lock = loop {
            match self.store.lock_upload()? {
                Some(lock) => break lock,
                None if cancel.is_set() => return Ok(None),
                None => cancel.wait(LOCK_INTERVAL),
            }
        };
        let mut record = bucket_record(config, self.store);
        let result = self.upload(config, &mut record, cancel);
        match &result {
            Ok(None) => return Ok(None),
            Ok(Some(published)) => {
                record.failure = None;
                let Published { sequence, snapshot, .. } = *published;
                record.published = Some(BucketUpload { sequence, snapshot, at: now() });
            }
            Err(error) if cancel.is_set() || error.is::<Overtaken>() => return result,
            Err(error) => {
                let since = record.failure.map_or_else(now, |failure| failure.since);
                record.failure =
                    Some(BucketFailure { since, error: self.store.strip_volume_path(&format!("{error:#}")) });
            }
        }
        if let Err(error) = self.store.record_bucket(&record) {
            tracing::warn!("failed to record the upload for the status page: {error:#}");
        }
        result
    }

    fn upload(
        &self,
        config: &config::Bucket,
        record: &mut BucketRecord,
        cancel: &CancelFlag,
    ) -> anyhow::Result<Option<Published>> {
        let name = &self.repository.name;
        let bucket = Bucket::open(config, &self.app.config.git, cancel)?;
        // Another server may be behind the same name since a refusal.
        let known = record.is_conditional.filter(|known| !self.probes && (*known || config.single_writer));
        let found = Cell::new(known);
        let is_conditional = || match found.get() {
            Some(known) => Ok(known),
            None => {
                let abilities = probe(&bucket, name).context("failed to find out what the bucket can do")?;
                require(&abilities, &bucket, config.single_writer)?;
                if !abilities.compares_digests {
                    tracing::warn!(
                        "`{}` does not compare uploads with their digests, so damage on the way would not be noticed there",
                        bucket.url()
                    );
                }
                let is_conditional = abilities.unconditional.is_none();
                found.set(Some(is_conditional));
                Ok(is_conditional)
            }
        };
        if self.probes {
            is_conditional()?;
        }
        let publisher = Publisher {
            bucket: &bucket,
            repository: name,
            is_private: self.repository.is_private,
            volume: self.volume_id,
            known: record.published.as_ref().map(|published| published.sequence),
            is_conditional: &is_conditional,
            grace: GRACE,
            observer: &|event| (self.observer)(ProgressEvent::Uploading(event)),
        };
        let published = publisher.publish(self.store);
        record.is_conditional = found.get();
        let published = published?;
        if published.is_some() {
            record.cycles = Some(history::write(&bucket, name, self.store.run_history(), record.cycles)?);
        }
        if let Some(published) = published.filter(|published| published.sent.objects > 0) {
            let sent = published.sent;
            tracing::info!(
                repository = name,
                snapshot = published.snapshot,
                root = published.sequence,
                objects = sent.objects,
                bytes = sent.bytes,
                "published to the bucket"
            );
            self.collect(&bucket, record);
        }
        Ok(published)
    }

    /// Removes what nothing refers to, once a day. What is left is removed the next time.
    fn collect(&self, bucket: &Bucket, record: &mut BucketRecord) {
        let began = now();
        if record.collected.is_some_and(|last| began.duration_since(last) < COLLECTION_INTERVAL) {
            return;
        }
        match garbage::collect(bucket, &self.repository.name, GRACE) {
            Ok(removed) => {
                record.collected = Some(began);
                if removed > 0 {
                    tracing::info!(objects = removed, "removed what nothing refers to from the bucket");
                }
            }
            Err(error) => {
                tracing::warn!("failed to remove what nothing refers to from the bucket: {error:#}");
            }
        }
    }
}

/// What is known of the uploads to the bucket of the configuration.
pub(crate) fn bucket_record(config: &config::Bucket, store: &RepositoryStore) -> BucketRecord {
    let server = config.endpoint.as_ref().map_or("", |url| url.as_str());
    store.bucket_record(&config.url(), server)
}
