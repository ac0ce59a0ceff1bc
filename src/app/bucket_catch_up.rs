//! Before a cycle: takes over what the bucket has and the volume lacks. A builder with an empty volume is restored by that, and
//! one that another builder has overtaken catches up, so it publishes after it.

use std::time::Instant;

use anyhow::Context as _;

use super::bucket_upload::bucket_record;
use super::cycle_runner::OpenRepository;
use crate::bucket::commit::read_root;
use crate::bucket::difference::Difference;
use crate::bucket::reader::{Loaded, LoadedState, load};
use crate::bucket::root::Root;
use crate::bucket::{Bucket, history};
use crate::config;
use crate::cycle::{Cancelled, CycleContext, PublishedBucket, take_over_published};
use crate::ledger::Ledger;
use crate::store::{BucketFailure, BucketRecord, BucketUpload, RunHistory};
use crate::util::clock::now;
use crate::util::text::plural;

impl OpenRepository<'_> {
    /// Takes over what is new in the bucket. If that fails, what is on the volume is built on; a volume without a snapshot stays
    /// empty, because a new ledger could not be published.
    pub(super) fn catch_up(&self, ctx: &CycleContext<'_>) -> anyhow::Result<()> {
        let Some(config) = &self.app.config.bucket else { return Ok(()) };
        // An upload that runs says itself whether another builder was first.
        let Some(_lock) = self.store.lock_upload()? else { return Ok(()) };
        let mut record = bucket_record(config, self.store);
        let taken = self.take_over(ctx, config, &mut record);
        let Err(error) = taken else { return Ok(()) };
        if ctx.cancel.is_set() {
            return Err(error.context(Cancelled));
        }
        let since = record.failure.take().map_or_else(now, |failure| failure.since);
        let text = self.store.strip_volume_path(&format!("{error:#}"));
        record.failure = Some(BucketFailure { since, error: text });
        self.write(&record);
        if self.store.latest_snapshot()?.is_none() {
            return Err(error.context(format!(
                "`{}` continues on an empty volume what the bucket has, and that was not restored, so nothing was built",
                self.repository.name
            )));
        }
        tracing::warn!(
            "failed to take over what the bucket has, building on what is on the volume: {error:#}"
        );
        Ok(())
    }

    fn take_over(
        &self,
        ctx: &CycleContext<'_>,
        config: &config::Bucket,
        record: &mut BucketRecord,
    ) -> anyhow::Result<()> {
        let name = &self.repository.name;
        let bucket = Bucket::open(config, &self.app.config.git, ctx.cancel)?;
        let Some(current) = read_root(&bucket, name)? else { return Ok(()) };
        if self.continues(&current.root, ctx.volume_id, record)? {
            return Ok(());
        }
        let Loaded::New(loaded) = load(&bucket, name, None)? else { return Ok(()) };
        let base_url = ctx.base_url.to_string();
        let found = self.store.ledger(|own| Difference::find(&bucket, &loaded, own, &base_url))?;
        let (place, began) = (bucket.object(name), Instant::now());
        let lines = plural(usize::try_from(found.published - found.common)?, "release");
        match found.own {
            0 => tracing::info!("restoring {lines} from `{place}`"),
            _ => tracing::info!(kept = found.kept.len(), "taking over {lines} that `{place}` has"),
        }
        take_over_published(ctx, PublishedBucket { bucket: &bucket, loaded: &loaded }, &found)?;
        self.restore_history(&bucket)?;
        self.note(&loaded, record);
        let (releases, seconds) = (self.store.ledger(Ledger::len), began.elapsed().as_secs_f64());
        tracing::info!(releases, seconds, "the volume has what `{place}` has");
        Ok(())
    }

    /// Whether the volume continues what is published: it has published that itself, or taken it over.
    fn continues(&self, root: &Root, volume_id: &str, record: &BucketRecord) -> anyhow::Result<bool> {
        let is_taken_over = record.published.as_ref().is_some_and(|known| known.sequence == root.sequence);
        let head = self.store.ledger(|ledger| ledger.head_at(root.ledger.lines));
        let is_continued = (is_taken_over || root.volume == volume_id) && head == Some(root.ledger.head);
        Ok(is_continued && self.store.latest_snapshot()?.is_some())
    }

    /// Restores the record of cycles, if there is none here.
    fn restore_history(&self, bucket: &Bucket) -> anyhow::Result<()> {
        let own = self.store.run_history();
        if !own.runs.is_empty() {
            return Ok(());
        }
        let stored = history::read(bucket, &self.repository.name, &history::StoredHistory::default())?;
        let Some(stored) = stored else { return Ok(()) };
        let restored = RunHistory { running: own.running, damaged: own.damaged, ..stored.history };
        self.store.record_history(&restored).context("failed to restore the record of cycles")
    }

    fn note(&self, loaded: &LoadedState, record: &mut BucketRecord) {
        let root = loaded.root();
        let (sequence, snapshot) = (root.sequence, root.snapshot.number);
        record.published = Some(BucketUpload { sequence, snapshot, at: now() });
        record.failure = None;
        self.write(record);
    }

    fn write(&self, record: &BucketRecord) {
        if let Err(error) = self.store.record_bucket(record) {
            tracing::warn!("failed to record for the status page what the bucket has: {error:#}");
        }
    }
}
