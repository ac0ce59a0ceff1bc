//! The status page: how the mirror is, at a glance, and then why.

use jiff::Timestamp;
use maud::{Markup, html};

use super::alerts::plural;
use super::{State, StatusInput, charts};
use crate::composer::Version;
use crate::cycle::SourceReport;
use crate::metadata::pages::{self, instant, size};
use crate::package::plan::Outcome;

/// Failures, damaged archives and gaps that are spelt out; the rest is counted.
const SPELT_OUT: usize = 50;

/// Renders the page.
pub fn status_page(input: &StatusInput<'_>) -> Markup {
    let body = html! {
        h1 { "Status" }
        (verdict(input))
        (times(input))
        (counts(input))
        section { h2 #sources { "Sources" } div.wide role="region" aria-labelledby="sources" tabindex="0" { (sources(input)) } }
        (problems(input))
        section aria-labelledby="cycles" { h2 #cycles { "Cycles" } (charts::cycles(input)) }
        section aria-labelledby="releases" { h2 #releases { "Releases by month" } (charts::releases(input)) }
    };
    pages::page("./", &format!("Status of {}", input.base_url), &body)
}

fn verdict(input: &StatusInput<'_>) -> Markup {
    let (class, words) = match input.state() {
        State::Fresh => ("good", "Fresh and complete"),
        State::Incomplete => ("doubt", "Checked as scheduled, but not complete"),
        State::Stale => ("bad", "Stale: scheduled checks were missed"),
        State::Unknown => ("doubt", "It is not known when a check last succeeded"),
        State::Empty if input.unserved.is_some() => ("bad", "What is published cannot be served"),
        State::Empty if input.last_failed() => (
            "bad",
            "Nothing is published yet: the last cycle found nothing that it could publish",
        ),
        State::Empty => ("bad", "Nothing is published yet"),
    };
    html! {
        p class={ "verdict " (class) } { (words) }
        p { "As of " (time(Some(input.now))) }
        @if let Some(error) = input.cycles.last().and_then(|cycle| cycle.error.as_ref()) {
            p.bad { "The last cycle was given up: " (error) }
        }
        @if let Some(because) = input.unserved {
            p.bad { "What is newest cannot be served: " (because) }
        }
        @if let Some(held) = input.rollback_target() {
            p.doubt { "A rollback holds the content of snapshot " (held) "; `mirror rollback --end` publishes again." }
        }
    }
}

/// A time, and a place for its age, which the script fills in.
fn time(time: Option<Timestamp>) -> Markup {
    html! {
        @match time {
            Some(time) => { time.age datetime=(time) { (instant(time)) } span {} }
            None => "not known",
        }
    }
}

fn times(input: &StatusInput<'_>) -> Markup {
    let manifest = input.snapshot.map(|snapshot| &snapshot.manifest);
    html! {
        dl {
            dt { "Last check" } dd { (time(input.checked())) }
            dt { "Last complete check" } dd { (time(input.cycles.succeeded)) }
            dt { "Last change" } dd { (time(input.changed())) }
            dt { "Next run" } dd { (time(input.next_run())) ", " (input.schedule.describe()) }
            @if let Some(running) = input.cycles.running { dt { "Running" } dd { "A cycle that began " (time(Some(running))) " has not ended." } }
            // What a cycle does in this moment, which no page can hold.
            dt #progress-name hidden { "In this moment" } dd #progress aria-live="off" hidden {}
            @if let Some(manifest) = manifest {
                dt { "Snapshot" } dd { (manifest.number) }
                dt { "Ledger" } dd { (manifest.releases) " lines, head " code { (manifest.ledger_head) } }
            }
            @if let Some(space) = input.space { dt { "Disk" } dd { (size(space.free)) " free of " (size(space.total)) } }
            dt { "Software" } dd { (env!("CARGO_PKG_NAME")) " " (env!("CARGO_PKG_VERSION")) }
            @if let Some(operator) = input.operator { dt { "Run by" } dd { (operator) } }
            @if let Some(contact) = input.contact { dt { "Contact" } dd { (contact) } }
        }
    }
}

fn counts(input: &StatusInput<'_>) -> Markup {
    html! {
        dl {
            dt { "Published" } dd { (input.releases.len()) " package versions" }
            dt { "Excluded by rule" } dd { (input.count(|s| s.excluded.len())) }
            dt { "Failed" } dd { (plural(input.count(|s| s.failed.len()), "package version")) " and " (plural(input.count(|s| usize::from(s.error.is_some())), "whole source")) }
            dt { "Diverged" } dd { (input.count(|s| s.diverged.len())) " (upstream would change them; the published bytes stay)" }
            @if !input.cycles.damaged.is_empty() { dt { "Damaged" } dd { (plural(input.cycles.damaged.len(), "archive")) } }
            dt { "Gaps" } dd { (input.report.gaps.len()) " (required by metapackages, provided by no source)" }
        }
    }
}

fn sources(input: &StatusInput<'_>) -> Markup {
    html! {
        table {
            caption { "Counts are of refs and the packages in them." }
            thead { tr { th scope="col" { "Source" } th scope="col" { "Newest" } th scope="col" { "State" } th scope="col" { "Published" } th scope="col" { "Excluded" } th scope="col" { "Failed" } } }
            tbody {
                @for (name, report) in &input.report.sources {
                    tr {
                        th scope="row" { (name) }
                        td { (newest_ref(report).unwrap_or("–")) }
                        td {
                            @match &report.error {
                                Some(error) => { span.bad { (error) } }
                                None if report.failed.is_empty() => { span.good { "complete" } }
                                None => { span.doubt { "some packages failed" } }
                            }
                        }
                        td { (report.published) } td { (report.excluded.len()) } td { (report.failed.len()) }
                    }
                }
            }
        }
    }
}

fn problems(input: &StatusInput<'_>) -> Markup {
    let failed: Vec<_> = input.report.sources.values().flat_map(|s| &s.failed).collect();
    let damaged = &input.cycles.damaged;
    html! {
        @if !damaged.is_empty() {
            section aria-labelledby="damaged" {
                h2 #damaged { "Damaged" }
                ul.lines { @for (path, because) in damaged.iter().take(SPELT_OUT) { li { (path) " " (because) } } }
                (more(damaged.len()))
            }
        }
        @if !failed.is_empty() {
            section aria-labelledby="failed" {
                h2 #failed { "Failed" }
                ul.lines {
                    @for line in failed.iter().take(SPELT_OUT) {
                        @if let Outcome::Failed { reason } = &line.outcome { li { (line.source) " " (line.tag) ": " (line.package) ": " (reason) } }
                    }
                }
                (more(failed.len()))
            }
        }
        @if !input.report.gaps.is_empty() {
            section aria-labelledby="gaps" {
                h2 #gaps { "Gaps" }
                ul.lines { @for gap in input.report.gaps.iter().take(SPELT_OUT) { li { (gap) } } }
                (more(input.report.gaps.len()))
            }
        }
    }
}

fn more(count: usize) -> Markup {
    html! { @if count > SPELT_OUT { p { "And " (count - SPELT_OUT) " more." } } }
}

/// The ref with the highest version; refs that are no versions come before all others.
pub(super) fn newest_ref(report: &SourceReport) -> Option<&str> {
    let version = |tag: &&String| tag.trim_start_matches('v').parse::<Version>().ok();
    let newest = report.refs.keys().max_by(|a, b| match (version(a), version(b)) {
        (Some(a), Some(b)) => a.precedence(&b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    });
    newest.map(String::as_str)
}
