//! `mirror.json`: the state of a repository for monitors.
//!
//! Within one [`SCHEMA`] keys are only added. Times are RFC 3339 in UTC, and `null` where nothing is known:
//!
//! | key | meaning |
//! |---|---|
//! | `schema` | version of this form |
//! | `site.name`, `site.contact` | who runs the mirror |
//! | `software.name`, `software.version` | what runs it |
//! | `repository.kind`, `.name`, `.url` | `composer`, its name and its base URL |
//! | `repository.state` | `fresh`, `incomplete`, `stale`, `unknown`, `empty` at the time `as_of` |
//! | `repository.checked` | when the last cycle ended, whatever came of it |
//! | `repository.changed` | when what Composer reads last changed (`lastupdate`) |
//! | `repository.succeeded` | when the last cycle in which nothing failed began (`lastsync`) |
//! | `repository.running` | when the cycle began that has not ended |
//! | `repository.next_run` | the run due after the last; in the past when it was missed |
//! | `repository.stale_from` | from when the mirror is stale if no further check succeeds |
//! | `repository.error` | why the last cycle was given up |
//! | `repository.held_at` | the snapshot that a rollback holds |
//! | `repository.counts` | packages, releases, (ref, package) pairs by outcome, and damaged archives |
//! | `repository.ledger` | `lines` and `head`, the SHA-256 of the last line: equal for equal content |
//! | `repository.newest` | the newest releases |
//! | `repository.sources` | each source with its newest ref, counts and failure |

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::status_page::newest_ref;
use super::{StatusInput, stale_from};
use crate::cycle::SourceReport;

/// The version of the form.
pub const SCHEMA: u32 = 1;

/// Releases among the newest.
const NEWEST: usize = 20;

/// Renders `mirror.json`.
pub fn mirror_json(input: &StatusInput<'_>) -> Value {
    json!({
        "schema": SCHEMA,
        "as_of": input.now,
        "site": { "name": input.operator, "contact": input.contact },
        "software": { "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") },
        "repository": repository(input),
    })
}

fn repository(input: &StatusInput<'_>) -> Value {
    let manifest = input.snapshot.map(|snapshot| &snapshot.manifest);
    let checked = input.cycles.runs.iter().rev().find(|cycle| cycle.error.is_none());
    json!({
        "kind": "composer",
        "name": input.name,
        "url": input.base_url,
        "state": input.state().to_string(),
        "checked": input.checked(),
        "changed": input.changed(),
        "succeeded": input.cycles.succeeded,
        "running": input.cycles.running,
        "next_run": input.next_run(),
        "stale_from": checked.and_then(|cycle| stale_from(input.schedule, cycle.began)),
        "error": input.cycles.last().and_then(|cycle| cycle.error.as_ref()),
        "unserved": input.unserved,
        "held_at": input.rollback_target(),
        "counts": counts(input),
        "ledger": manifest.map(|m| json!({ "lines": m.releases, "head": m.ledger_head })),
        "newest": input.newest(NEWEST).map(|release| json!({
            "name": release.name,
            "version": release.version,
            "time": release.committed,
        })).collect::<Vec<_>>(),
        "sources": input.report.sources.iter().map(|(name, s)| (name.clone(), source(s))).collect::<Map<_, _>>(),
    })
}

fn counts(input: &StatusInput<'_>) -> Value {
    let packages: BTreeSet<_> = input.releases.iter().map(|release| &release.name).collect();
    json!({
        "packages": packages.len(),
        "releases": input.releases.len(),
        "published": input.count(|s| s.published),
        "excluded": input.count(|s| s.excluded.len()),
        "failed": input.count(|s| s.failed.len()),
        "failed_sources": input.count(|s| usize::from(s.error.is_some())),
        "diverged": input.count(|s| s.diverged.len()),
        "gaps": input.report.gaps.len(),
        "damaged": input.cycles.damaged.len(),
    })
}

fn source(report: &SourceReport) -> Value {
    json!({
        "newest_ref": newest_ref(report),
        "complete": report.is_complete(),
        "error": report.error,
        "published": report.published,
        "excluded": report.excluded.len(),
        "failed": report.failed.len(),
        "diverged": report.diverged.len(),
    })
}
