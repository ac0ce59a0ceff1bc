//! `mirror build`: one cycle of each repository.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::anyhow;
use serde_json::{Map, Value, json};

use super::{json_rows, summary_table};
use crate::app::App;
use crate::app::bucket_upload::BucketJob;
use crate::app::compress::make_variants;
use crate::app::cycle_runner::{NO_OBSERVER, OpenRepository, record_failed_run};
use crate::app::exit::Exit;
use crate::app::progress_bar::ProgressBars;
use crate::bucket::difference::Overtaken;
use crate::bucket::publish::Published;
use crate::cycle::{CycleResult, ProgressEvent};
use crate::status::{diverged_version, source_status};
use crate::store::Volume;
use crate::util::cancel::CancelFlag;
use crate::util::clock::now;

/// How often a repository is built while others publish it, too.
const ATTEMPTS: u32 = 3;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Build this repository only
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn build(app: &App, arguments: &Arguments) -> anyhow::Result<Exit> {
    let repositories = app.chosen(arguments.repository.as_deref())?;
    let volume = Volume::open(&app.config.data)?;
    volume.log_warnings();
    app.log_warnings();
    volume.warn_orphaned_repositories(app.names());
    let (mut complete, mut published) = (true, false);
    let mut documents = Vec::new();
    for repository in repositories {
        let began = Instant::now();
        let store = volume.repository(&repository.name);
        let built = match &store {
            Ok(store) => build_repository(&OpenRepository { app, volume: &volume, repository, store }),
            Err(error) => {
                record_failed_run(&volume.reader(&repository.name), now(), error);
                Err(anyhow!("{error:#}"))
            }
        };
        complete &= built.as_ref().is_ok_and(Built::is_complete);
        let mut document = match &built {
            Ok(built) => {
                published |= built.is_published;
                built.to_json()
            }
            Err(error) => {
                tracing::error!(repository = repository.name, "{error:#}");
                json!({ "error": format!("{error:#}"), "complete": false })
            }
        };
        document["name"] = repository.name.clone().into();
        document["url"] = repository.base_url.to_string().into();
        document["seconds"] = began.elapsed().as_secs_f64().into();
        documents.push(document);
    }
    if arguments.json {
        json_rows::print(&documents)?;
    }
    Ok(match (complete, published) {
        (true, _) => Exit::Complete,
        (false, true) => Exit::Incomplete,
        (false, false) => Exit::Failed,
    })
}

/// A cycle that ended, the archives that are damaged after it, with the reasons, and what became of the bucket.
struct Built {
    result: CycleResult,
    damaged: BTreeMap<String, String>,
    /// `None` without a bucket; or why it does not have what is published.
    bucket: Option<Result<Published, String>>,
    is_published: bool,
    rollback: Option<u64>,
}

/// Builds and publishes, again if another builder has published to the bucket meanwhile.
fn build_repository(opened: &OpenRepository<'_>) -> anyhow::Result<Built> {
    let (mut attempt, mut new) = (1, 0);
    loop {
        let (mut built, is_overtaken) = build_once(opened)?;
        new += built.result.published;
        built.result.published = new;
        if !is_overtaken {
            return Ok(built);
        }
        let repository = &opened.repository.name;
        if attempt == ATTEMPTS {
            tracing::error!(
                repository,
                "failed to publish to the bucket, where the last state stays: other builders have published first {ATTEMPTS} times"
            );
            return Ok(built);
        }
        tracing::info!(repository, "another builder has published first, so this one continues after it");
        attempt += 1;
    }
}

/// Runs the cycle, compresses what it published, and uploads that; returns whether another builder was first.
fn build_once(opened: &OpenRepository<'_>) -> anyhow::Result<(Built, bool)> {
    let (repository, store) = (opened.repository, opened.store);
    let (began, cancel) = (Instant::now(), CancelFlag::default());
    let result = opened.run_cycle(NO_OBSERVER, &cancel)?;
    summary_table::print(&repository.name, &result, began.elapsed());
    let damaged = store.run_history().damaged;
    for (file, reason) in &damaged {
        if !result.damaged.contains_key(file) {
            tracing::error!(repository = repository.name, file, "archive {reason}");
        }
    }
    // Here, because servers that mount the volume read-only cannot compress.
    if let Err(error) = make_variants(repository, store, opened.app.config.serve.compression, &cancel) {
        let repository = &repository.name;
        tracing::warn!(repository, "failed to compress files, serving uncompressed: {error:#}");
    }
    let volume_id = opened.volume.id();
    let bars = ProgressBars::new();
    let observer = &|event: ProgressEvent<'_>| bars.update(event);
    let job =
        BucketJob { app: opened.app, repository, store, volume_id: &volume_id, probes: false, observer };
    let uploaded = job.run(&cancel);
    drop(bars);
    let is_overtaken = uploaded.as_ref().is_err_and(anyhow::Error::is::<Overtaken>);
    let bucket = uploaded.map_err(|error| format!("{error:#}")).transpose();
    if let Some(Err(error)) = bucket.as_ref().filter(|_| !is_overtaken) {
        let repository = &repository.name;
        tracing::error!(repository, "failed to publish to the bucket, where the last state stays: {error}");
    }
    let is_published = store.newest_snapshot()?.is_some_and(|s| s.manifest.releases > 0);
    let rollback = json_rows::rollback_target(store.latest_snapshot()?.as_ref());
    Ok((Built { result, damaged, bucket, is_published, rollback }, is_overtaken))
}

impl Built {
    /// Whether nothing failed and no archive is damaged.
    fn is_complete(&self) -> bool {
        let is_uploaded = self.bucket.as_ref().is_none_or(Result::is_ok);
        self.result.report.is_complete() && self.damaged.is_empty() && is_uploaded
    }

    fn to_json(&self) -> Value {
        let (result, report) = (&self.result, &self.result.report);
        let failed = report.sources.values().flat_map(|source| &source.failed);
        json!({
            "error": null,
            "complete": self.is_complete(),
            "rollback_to": self.rollback,
            "snapshot": result.snapshot.as_ref().map(|snapshot| snapshot.manifest.number),
            "new": result.published,
            "published": result.versions.values().sum::<usize>(),
            "sources": report.sources.iter().map(|(name, source)| {
                let published = result.versions.get(name).copied().unwrap_or_default();
                (name.clone(), source_status(source, published))
            }).collect::<Map<_, _>>(),
            "failed": failed.map(json_rows::outcome).collect::<Vec<_>>(),
            "diverged": report.diverged().map(diverged_version).collect::<Vec<_>>(),
            "gaps": report.gaps,
            "damaged": self.damaged,
            "bucket": self.bucket.as_ref().map(|bucket| match bucket {
                Ok(published) => json!({
                    "error": null,
                    "snapshot": published.snapshot,
                    "sequence": published.sequence,
                    "objects": published.sent.objects,
                    "bytes": published.sent.bytes,
                }),
                Err(error) => json!({ "error": error }),
            }),
        })
    }
}
