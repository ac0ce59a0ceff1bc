//! `mirror.json`: the state of a repository for monitors.
//!
//! Within one [`SCHEMA`], keys are only added. Times are RFC 3339 in UTC, and `null` if they are not known:
//!
//! | key | meaning |
//! |---|---|
//! | `schema` | version of this format |
//! | `site.name`, `site.contact` | who runs the mirror |
//! | `software.name`, `software.version` | the program |
//! | `repository.kind`, `.name`, `.url` | `composer`, its name and its base URL |
//! | `repository.state` | `fresh`, `incomplete`, `stale`, `unknown`, `empty` at the time `as_of` |
//! | `repository.checked` | when the last cycle ended, successful or not |
//! | `repository.changed` | when the metadata last changed (`lastupdate`) |
//! | `repository.succeeded` | when the last cycle without a failure began (`lastsync`) |
//! | `repository.running` | when the running cycle began |
//! | `repository.next_run` | when the next cycle begins: after a failure the retry, else the scheduled run; in the past if it was missed |
//! | `repository.regular_run` | the scheduled run after the last one |
//! | `repository.stale_from` | when the mirror becomes stale if no further check succeeds |
//! | `repository.error` | why the last cycle failed as a whole |
//! | `repository.unserved` | why the newest snapshot on the volume cannot be served |
//! | `repository.bucket` | the bucket that replicas serve from, or `null`: its `url`, the `snapshot` and the number of the root (`sequence`) that it had when that was last checked (`published`), and since when and why it lacks what is published here (`failing_since`, `error`) |
//! | `repository.held_at` | the snapshot that an active rollback serves |
//! | `repository.counts` | numbers of packages, of package versions by outcome (`releases` and `published` are the same), of sources that failed, gaps and damaged archives |
//! | `repository.counts.absent` | releases of the ledger that are not here, because only a part of them was imported |
//! | `repository.counts.imported`, `.not_confirmed` | restored releases that were not built again from git yet; those that git does not give (those of which it gives other bytes are diverged) |
//! | `repository.counts.unlisted` | published versions of a closure that upstream does not list any more, or flags: they are not in the metadata |
//! | `repository.counts.tag_entries` | (tag, package) pairs by outcome: a version in several tags counts several times |
//! | `repository.counts.lost`, `.notices`, `.passed_over` | tag entries whose version another tag has published with other contents; notices about published versions; tags that are not released |
//! | `repository.withdrawn` | the versions that were withdrawn: name, version, reason and time |
//! | `repository.held_back` | what waits for something that does not exist yet, with the reason |
//! | `repository.follows` | the mirror whose content was copied last, or the file that was imported; `null` if the repository is built by a recipe |
//! | `repository.ledger` | `lines` and `head`, the SHA-256 of the last line: equal for equal content |
//! | `repository.newest` | the newest releases |
//! | `repository.failures` | the first failed packages with tag and reason; a source that failed as a whole has its `error` in `sources` |
//! | `repository.damaged` | the first damaged archives, each with what is wrong with it |
//! | `repository.gaps` | the first versions of metapackages that need something that no source provides |
//! | `repository.diverged` | the published versions that moved tags would change now |
//! | `repository.sources` | each source with its newest ref, counts as above and failure, the tags of each manifest that no rule covers (`uncovered`), and `warnings`: that nothing is released, rules that match nothing, a followed mirror that gives no answer |

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::input::StatusInput;
use super::state::stale_from;
use super::status_page::newest_ref;
use crate::cycle::SourceReport;
use crate::package::plan::OutcomeRow;
use crate::store::{BucketRecord, Divergence};

/// The version of the format.
pub(super) const SCHEMA: u32 = 1;

/// How many of the newest releases are listed.
const MAX_NEWEST: usize = 20;

/// How many failures, damaged archives and gaps are listed. `counts` has all of them.
const MAX_LISTED: usize = 200;

/// Renders `mirror.json`.
pub fn mirror_json(input: &StatusInput<'_>) -> Value {
    json!({
        "schema": SCHEMA,
        "as_of": input.now,
        "site": { "name": input.site.name, "contact": input.site.contact },
        "software": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
        "repository": repository(input),
    })
}

fn repository(input: &StatusInput<'_>) -> Value {
    let manifest = input.snapshot.map(|snapshot| &snapshot.manifest);
    let checked = input.history.runs.iter().rev().find(|run| run.error.is_none());
    json!({
        "kind": "composer",
        "name": input.name,
        "url": input.base_url,
        "state": input.state().to_string(),
        "checked": input.checked(),
        "changed": input.changed(),
        "succeeded": input.history.succeeded,
        "running": input.history.running,
        "next_run": input.next_run().at,
        "regular_run": input.next_run().regular,
        "stale_from": checked.and_then(|run| stale_from(input.schedule, run.began)),
        "error": input.history.last().and_then(|run| run.error.as_ref()),
        "unserved": input.unserved,
        "bucket": input.bucket.as_ref().map(bucket),
        "held_at": input.rollback_target(),
        "counts": counts(input),
        "withdrawn": input.withdrawals(),
        "held_back": input.report.sources.values().flat_map(|s| &s.held_back).collect::<Vec<_>>(),
        "follows": input.report.followed.as_ref().map(|followed| &followed.origin),
        "ledger": manifest.map(|m| json!({ "lines": m.releases, "head": m.ledger_head })),
        "newest": input.newest(MAX_NEWEST).map(|release| json!({
            "name": release.name,
            "version": release.version,
            "time": input.report.committed(release),
        })).collect::<Vec<_>>(),
        "failures": input.report.sources.values().flat_map(|s| &s.failed).take(MAX_LISTED).map(|row| failure(input, row)).collect::<Vec<_>>(),
        "damaged": input.history.damaged.iter().take(MAX_LISTED).collect::<BTreeMap<_, _>>(),
        "gaps": input.report.gaps.iter().take(MAX_LISTED).collect::<Vec<_>>(),
        "diverged": input.report.diverged().map(diverged_version).collect::<Vec<_>>(),
        "sources": sources(input),
    })
}

/// A failed package, in the form of `held_back`.
fn failure(input: &StatusInput<'_>, row: &OutcomeRow) -> Value {
    let reason = row.outcome.reason().unwrap_or_default();
    json!({
        "source": row.source,
        "ref": row.tag,
        "package": row.package,
        "outcome": "failed",
        "because": input.without_internal_urls(reason),
    })
}

fn bucket(record: &BucketRecord) -> Value {
    let (published, failure) = (record.published.as_ref(), record.failure.as_ref());
    json!({
        "url": record.bucket,
        "snapshot": published.map(|published| published.snapshot),
        "sequence": published.map(|published| published.sequence),
        "published": published.map(|published| published.at),
        "failing_since": failure.map(|failure| failure.since),
        "error": failure.map(|failure| &failure.error),
    })
}

fn sources(input: &StatusInput<'_>) -> Map<String, Value> {
    let published = input.published_by_source();
    let sources = input.report.sources.iter();
    sources
        .map(|(name, report)| {
            let published = published.get(name.as_str()).copied().unwrap_or_default();
            let mut status = source_status(report, published);
            status["error"] = report.error.as_ref().map(|error| input.without_internal_urls(error)).into();
            (name.clone(), status)
        })
        .collect()
}

fn counts(input: &StatusInput<'_>) -> Value {
    json!({
        "packages": input.packages(),
        "releases": input.releases.len(),
        "published": input.releases.len(),
        "excluded": input.count(SourceReport::excluded_versions),
        "failed": input.count(SourceReport::failed_versions),
        "held_back": input.count(SourceReport::held_back_versions),
        "failed_sources": input.failed_sources(),
        "diverged": input.report.diverged().count(),
        "gaps": input.report.gaps.len(),
        "damaged": input.history.damaged.len(),
        "withdrawn": input.withdrawals().len(),
        "imported": input.report.imports.as_ref().map_or(0, |imports| imports.unconfirmed),
        "not_confirmed": input.report.imports.as_ref().map_or(0, |imports| imports.impossible.len()),
        "unlisted": input.count(|s| s.unlisted.len()),
        "absent": input.snapshot.map_or(0, |snapshot| snapshot.manifest.absent()),
        "lost": input.count(|s| s.lost().count()),
        "notices": input.count(|s| s.notices.len()),
        "passed_over": input.count(|s| s.passed_over.len()),
        "tag_entries": {
            "published": input.count(|s| s.published),
            "excluded": input.count(|s| s.excluded.len()),
            "failed": input.count(|s| s.failed.len()),
            "held_back": input.count(|s| s.held_back.len()),
        },
    })
}

/// A published version that a moved tag would change, as `mirror.json`, notifications and commands name it.
pub fn diverged_version(divergence: &Divergence) -> Value {
    json!({
        "source": divergence.source,
        "tag": divergence.tag,
        "package": divergence.name,
        "version": divergence.version,
        "published_commit": divergence.published.commit,
        "upstream_commit": divergence.attempted.commit,
        "since": divergence.time,
    })
}

/// The status of a source that has `published` package versions.
pub fn source_status(report: &SourceReport, published: usize) -> Value {
    json!({
        "newest_ref": newest_ref(report),
        "complete": report.is_complete(),
        "error": report.error,
        "published": published,
        "excluded": report.excluded_versions(),
        "failed": report.failed_versions(),
        "held_back": report.held_back_versions(),
        "uncovered": report.uncovered,
        "warnings": report.warnings().collect::<Vec<_>>(),
        "diverged": report.diverged.len(),
        "unlisted": report.unlisted.len(),
        "lost": report.lost().count(),
        "notices": report.notices.len(),
        "passed_over": report.passed_over.len(),
        "tag_entries": {
            "published": report.published,
            "excluded": report.excluded.len(),
            "failed": report.failed.len(),
            "held_back": report.held_back.len(),
        },
    })
}
