//! The status page: the state at a glance, then the details.

use jiff::Timestamp;
use maud::{Markup, html};

use super::charts;
use super::input::StatusInput;
use super::next_run::early_name;
use super::problems::{not_published, problems};
use super::state::State;
use crate::composer::Version;
use crate::cycle::{ImportReport, SourceReport};
use crate::metadata::pages::{self, size};
use crate::store::BucketRecord;
use crate::util::text::plural;

pub fn status_page(input: &StatusInput<'_>) -> Markup {
    let body = html! {
        h1 { "Status" }
        (verdict(input))
        @if input.is_trial { (pages::trial()) }
        section aria-labelledby="now" { h2 #now { "Now" } (times(input)) }
        (problems(input))
        section aria-labelledby="published" { h2 #published { "What is published" } (counts(input)) }
        section { h2 #sources { "Sources" } div.wide role="region" aria-labelledby="sources" tabindex="0" { (sources(input)) } }
        section aria-labelledby="cycles" { h2 #cycles { "Cycles" } (charts::cycles(input)) }
        section aria-labelledby="releases" { h2 #releases { "Releases by month" } (charts::releases(input)) }
        (not_published(input))
    };
    pages::page("./", input.site, &format!("Status of {}", input.base_url), &body)
}

fn verdict(input: &StatusInput<'_>) -> Markup {
    let (class, text) = match input.state() {
        State::Fresh => ("good", "Fresh and complete".to_owned()),
        State::Incomplete => ("doubt", format!("Checked on schedule; {}", shortfall(input))),
        State::Stale => ("bad", "Stale: scheduled checks were missed".to_owned()),
        State::Unknown => ("doubt", "The time of the last successful check is not known".to_owned()),
        State::Empty if input.unserved.is_some() => {
            ("bad", "The newest snapshot cannot be served".to_owned())
        }
        State::Empty if input.last_failed() => {
            ("bad", "Nothing is published yet: the last cycle had nothing to publish".to_owned())
        }
        State::Empty => ("bad", "Nothing is published yet".to_owned()),
    };
    html! {
        p class={ "verdict " (class) } { (text) }
        p { "As of " (time(input, Some(input.now))) }
        @if let Some(error) = input.history.last().and_then(|run| run.error.as_ref()) {
            p.bad { "The last cycle failed: " (error) }
        }
        @if let Some(reason) = &input.unserved {
            p.bad { "The newest snapshot cannot be served: " (reason) }
        }
        @if let Some(failure) = input.bucket_failure() {
            @let what = if input.is_replica { "The bucket that this replica serves from cannot be read" } else { "Replicas do not get what is published here" };
            p.bad { (what) " since " (time(input, Some(failure.since))) ": " (failure.error) }
        }
        @if let Some(snapshot) = input.rollback_target() {
            p.doubt { "A rollback to snapshot " (snapshot) " is active; `mirror rollback --end` ends it." }
        }
        @if input.has_ended_rollback() {
            p.doubt { "A rollback has ended; the next cycle publishes current metadata." }
        }
    }
}

/// Why the state is not complete: the most important reason.
fn shortfall(input: &StatusInput<'_>) -> String {
    let packages = input.count(SourceReport::failed_versions);
    match (input.failed_sources(), packages, input.history.damaged.len()) {
        (0, 0, 0) if input.bucket_failure().is_some() => match input.is_replica {
            true => "the bucket cannot be read".to_owned(),
            false => "the upload to the bucket failed".to_owned(),
        },
        (0, 0, 0) if input.rollback_target().is_some() => "a rollback is active".to_owned(),
        (0, 0, 0) if input.has_ended_rollback() => "a rollback has ended".to_owned(),
        (0, 0, 0) => "the last cycle was incomplete".to_owned(),
        (0, 0, damaged) => format!("{} damaged", plural(damaged, "archive")),
        (0, packages, _) => format!("{} failed", plural(packages, "package version")),
        (sources, ..) => format!("{} failed", plural(sources, "source")),
    }
}

/// A time, and an empty element in which the script shows its age.
fn time(input: &StatusInput<'_>, time: Option<Timestamp>) -> Markup {
    html! {
        @match time {
            Some(time) => { time.age datetime=(time) { (input.time(time)) } span {} }
            None => "not known",
        }
    }
}

/// The time of the next run; for a retry, also that of the regular run.
fn next_run(input: &StatusInput<'_>) -> Markup {
    let next = input.next_run();
    html! {
        @match next.regular.filter(|_| next.is_early()) {
            Some(regular) => { (early_name(input.last_failed())) " " (time(input, next.at)) "; regular run " (input.time(regular)) }
            None => (time(input, next.at)),
        }
    }
}

fn times(input: &StatusInput<'_>) -> Markup {
    html! {
        dl {
            dt { "Last check" } dd { (time(input, input.checked())) }
            dt { "Last complete check" } dd { (time(input, input.history.succeeded)) }
            dt { "Last change" } dd { (time(input, input.changed())) }
            dt { "Next run" } dd { (next_run(input)) ", " (input.schedule.describe()) }
            @if let Some(running) = input.history.running { dt { "Running" } dd { "since " (time(input, Some(running))) } }
            // The script fills this in from progress.json.
            dt #progress-name hidden { "Right now" } dd #progress aria-live="off" hidden {}
        }
    }
}

/// What the bucket had when it was last checked.
fn bucket(input: &StatusInput<'_>, record: &BucketRecord) -> Markup {
    html! {
        @match &record.published {
            Some(published) => { "snapshot " (published.snapshot) ", checked " (time(input, Some(published.at))) }
            None => "nothing is uploaded yet",
        }
    }
}

fn counts(input: &StatusInput<'_>) -> Markup {
    let diverged = match input.report.diverged().count() {
        0 => "0".to_owned(),
        1 => "1 version differs upstream now; the published archive is kept".to_owned(),
        many => format!("{many} versions differ upstream now; the published archives are kept"),
    };
    let held_back = input.count(SourceReport::held_back_versions);
    let unlisted = input.count(|source| source.unlisted.len());
    let manifest = input.snapshot.map(|snapshot| &snapshot.manifest);
    html! {
        dl {
            dt { "Published" } dd { (plural(input.releases.len(), "package version")) }
            dt { "Excluded by rule" } dd { (plural(input.count(SourceReport::excluded_versions), "package version")) ", " (plural(input.count(|s| s.passed_over.len()), "tag")) " not released" }
            dt { "Failed" } dd { (plural(input.count(SourceReport::failed_versions), "package version")) ", " (plural(input.failed_sources(), "source")) }
            @if held_back > 0 { dt { "Held back" } dd { (plural(held_back, "package version")) ", until what they need exists" } }
            dt { "Diverged" } dd { (diverged) }
            @if unlisted > 0 { dt { "No longer listed" } dd { (plural(unlisted, "package version")) " that upstream has removed or flagged; published archives are kept" } }
            @if let Some(imports) = &input.report.imports { dt { "Restored" } dd { (restored(imports)) } }
            @if let Some(absent) = input.snapshot.map(|s| s.manifest.absent()).filter(|absent| *absent > 0) { dt { "Not here" } dd { (plural(absent, "release")) " of the ledger: only a part was imported" } }
            @if !input.history.damaged.is_empty() { dt { "Damaged" } dd { (plural(input.history.damaged.len(), "archive")) } }
            dt { "Missing dependencies" } dd { (input.report.gaps.len()) " (required by metapackages, provided by no source)" }
            @if let Some(manifest) = manifest {
                dt { "Snapshot" } dd { (manifest.number) }
                dt { "Ledger" } dd { (manifest.releases) " lines, head " code { (manifest.ledger_head) } }
            }
            @if let Some(record) = &input.bucket { dt { "Bucket" } dd { (record.bucket) ", " (bucket(input, record)) } }
            @if let Some(space) = input.space { dt { "Disk" } dd { (size(space.free)) " free of " (size(space.total)) } }
            dt { "Software" } dd { (env!("CARGO_PKG_NAME")) " " (env!("CARGO_PKG_VERSION")) }
        }
    }
}

/// What is not confirmed of the releases that were restored.
fn restored(imports: &ImportReport) -> String {
    let waiting = match imports.unconfirmed {
        0 => None,
        count => Some(format!("{} to be built again from git", plural(count, "release"))),
    };
    let impossible = match imports.impossible.len() {
        0 => None,
        count => Some(format!("{} that git does not give", plural(count, "release"))),
    };
    let different = match imports.different.len() {
        0 => None,
        count => Some(format!("{} of which git gives other bytes", plural(count, "release"))),
    };
    waiting.into_iter().chain(impossible).chain(different).collect::<Vec<_>>().join(", ")
}

fn sources(input: &StatusInput<'_>) -> Markup {
    let published = input.published_by_source();
    html! {
        table.cards {
            caption { "Counts of package versions. The tags of a source may hold a version several times: that many tag entries." }
            thead { tr { th scope="col" { "Source" } th scope="col" { "Newest" } th scope="col" { "State" } th scope="col" { "Published" } th scope="col" { "Excluded" } th scope="col" { "Failed" } th scope="col" { "Tag entries" } } }
            tbody {
                @for (name, report) in &input.report.sources {
                    tr {
                        th scope="row" { (name) }
                        td data-label="Newest" { (newest_ref(report).unwrap_or("–")) }
                        td data-label="State" {
                            @match &report.error {
                                Some(error) => { span.bad { (input.without_internal_urls(error)) } }
                                None if report.failed.is_empty() => { span.good { "complete" } }
                                None => { span.doubt { "some packages failed" } }
                            }
                        }
                        td data-label="Published" { (published.get(name.as_str()).copied().unwrap_or_default()) }
                        td data-label="Excluded" { (report.excluded_versions()) }
                        td data-label="Failed" { (report.failed_versions()) }
                        td data-label="Tag entries" { (report.published + report.excluded.len() + report.failed.len()) }
                    }
                }
            }
        }
    }
}

/// The ref with the highest version. Refs that are not versions rank below all that are.
pub(super) fn newest_ref(report: &SourceReport) -> Option<&str> {
    let version = |tag: &&String| tag.trim_start_matches('v').parse::<Version>().ok();
    let newest = report.refs.keys().max_by(|a, b| match (version(a), version(b)) {
        (Some(a), Some(b)) => a.precedence(&b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    });
    newest.map(String::as_str)
}
