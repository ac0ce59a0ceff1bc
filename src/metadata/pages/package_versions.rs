//! The versions on a package's page: a table of all, then the details of each.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::context::View;
use super::format::{day, instant, size};
use super::package::{ROOT, link};
use super::product_release::{Changes, changes};
use super::usage;
use crate::metadata::package_summary::SHOWN;
use crate::metadata::version_entry::PackageVersion;
use crate::store::{Divergence, DivergenceCause};

pub(super) fn render(view: &View<'_>, name: &str, versions: &[PackageVersion]) -> Markup {
    let releases: Vec<_> = view
        .products()
        .filter(|product| product.package == name)
        .flat_map(|product| view.releases_of(product))
        .collect();
    html! {
        section aria-labelledby="versions" {
            h2 #versions { "Versions" }
            div.wide role="region" aria-label="Table of versions" tabindex="0" {
                table {
                    thead { tr { th scope="col" { "Version" } th scope="col" { "Date" } th scope="col" { "PHP" } th.roomy scope="col" { "Size" } th scope="col" { "Remarks" } } }
                    tbody {
                        @for version in versions {
                            @let id = version.version.to_string();
                            tr {
                                th scope="row" { a href={ "#v" (id) } { (id) } }
                                td { time datetime=(day(version.committed)) { (day(version.committed)) } }
                                td { (php(version)) }
                                td.roomy { (size(version.size)) }
                                td {
                                    @for release in releases.iter().filter(|release| release.version == id) {
                                        a href={ (ROOT) (release.path()) } { "contents" } " "
                                    }
                                    @for remark in remarks(view, name, version, &id) { span.doubt { (remark) } " " }
                                }
                            }
                        }
                    }
                }
            }
        }
        section aria-labelledby="details" {
            h2 #details { "Details" }
            @for (i, version) in versions.iter().enumerate() { (details(view, name, version, versions.get(i + 1))) }
        }
    }
}

fn php(version: &PackageVersion) -> &str {
    version.links("require").find(|(name, _)| *name == "php").map_or("", |(_, constraint)| constraint)
}

/// What is special about a version, in single words.
fn remarks(view: &View<'_>, package: &str, version: &PackageVersion, id: &str) -> Vec<&'static str> {
    let is_diverged = view.diverged(package).any(|diverged| diverged.version == id);
    let has_note = view.notes.iter().any(|note| note.applies_to(package, id));
    let all = [
        (!version.is_stable(), "pre-release"),
        (is_diverged, "diverged"),
        (has_note, "note"),
        (!version.manifest.omitted_fields().is_empty(), "incomplete metadata"),
    ];
    all.into_iter().filter_map(|(applies, remark)| applies.then_some(remark)).collect()
}

fn details(
    view: &View<'_>,
    package: &str,
    version: &PackageVersion,
    before: Option<&PackageVersion>,
) -> Markup {
    let id = version.version.to_string();
    html! {
        details #(format!("v{id}")) {
            summary { b { (id) } }
            @for note in view.notes.iter().filter(|note| note.applies_to(package, &id)) {
                p.doubt { (usage::note_text(note)) }
            }
            @for diverged in view.diverged(package).filter(|diverged| diverged.version == id) {
                p.doubt { (divergence(diverged)) }
            }
            @for problem in version.manifest.omitted_fields() {
                p.doubt { "The metadata leaves out what Composer cannot read: " (problem) }
            }
            dl {
                dt { "Archive" } dd { a href=(view.info.base.join(&version.path)) { (version.path) } ", " (version.size) " bytes" }
                dt { "SHA-1" } dd { code { (version.sha1) } }
                @if version.commit.is_empty() {
                    dt { "Date" } dd { (instant(version.committed)) }
                } @else {
                    dt { "Commit" } dd { code { (version.commit) } ", " (instant(version.committed)) }
                }
                dt { "Source" } dd { (version.source) }
                @if let Some(upstream) = &version.upstream {
                    dt { "Taken from" } dd { (upstream) }
                }
                dt { "Published here" } dd { (instant(version.published)) }
                @if let Some(before) = before { (changed(version, before)) }
                (requirements(view, version))
            }
        }
    }
}

fn divergence(diverged: &Divergence) -> Markup {
    html! {
        "Diverged: "
        @match diverged.cause {
            DivergenceCause::MovedTag => {
                "upstream moved tag " (diverged.tag) " to commit " code { (diverged.attempted.commit) }
            }
            DivergenceCause::ChangedArchive => {
                "upstream has another archive now, with SHA-1 " code { (diverged.attempted.sha1) }
            }
            DivergenceCause::Imported | DivergenceCause::BuiltFromGit => {
                "built from commit " code { (diverged.attempted.commit) } " it has SHA-1 " code { (diverged.attempted.sha1) }
            }
        }
        "; the published archive is kept."
    }
}

/// The requirements that are not those of the version before.
fn changed<'v>(version: &'v PackageVersion, before: &'v PackageVersion) -> Markup {
    let links =
        |version: &'v PackageVersion, kind| -> BTreeMap<&'v str, &'v str> { version.links(kind).collect() };
    let differing = SHOWN.map(|(kind, title)| (title, changes(&links(before, kind), &links(version, kind))));
    html! {
        dt { "Changed since " (before.version) }
        dd {
            @if differing.iter().all(|(_, changes)| changes.is_empty()) { "no requirement" }
            @for (title, changes) in differing.iter().filter(|(_, changes)| !changes.is_empty()) {
                (change_list(title, changes))
            }
        }
    }
}

fn change_list(title: &str, changes: &Changes<'_>) -> Markup {
    html! {
        (title) ":"
        ul.columns {
            @for (name, before, now) in changes {
                li {
                    (name) " "
                    @match (before, now) {
                        (Some(before), Some(now)) => { (before) " → " (now) }
                        (None, Some(now)) => { span.good { "new" } " " (now) }
                        (_, None) => span.bad { "removed" },
                    }
                }
            }
        }
    }
}

fn requirements(view: &View<'_>, version: &PackageVersion) -> Markup {
    html! {
        @for (kind, title) in SHOWN {
            @if version.links(kind).next().is_some() {
                dt { (title) }
                dd { ul.columns {
                    @for (name, constraint) in version.links(kind) {
                        li { (link(view, name)) " " span.quiet { (constraint) } }
                    }
                } }
            }
        }
    }
}
