//! The page of one package and its versions.

use maud::{Markup, html};
use serde_json::Value;

use super::context::View;
use super::format::{day, instant, size};
use super::layout::{copyable, package_path, page};
use super::usage;
use crate::metadata::package_summary::{PackageSummary, SHOWN};
use crate::metadata::version_entry::PackageVersion;
use crate::store::DivergenceCause;

/// The relative path from a package's page to the base URL.
const ROOT: &str = "../../";

/// `versions` are newest first.
pub(super) fn render(
    view: &View<'_>,
    name: &str,
    package: &PackageSummary,
    versions: &[PackageVersion],
) -> Markup {
    let newest = &package.newest;
    let body = html! {
        h1 { (name) }
        @if let Some(description) = &newest.description { p.lead { (description) } }
        @if let Some(abandoned) = &newest.abandoned { (abandoned_notice(view, abandoned)) }
        p {
            (newest.kind) " · " (versions.len())
            @if versions.len() == 1 { " version" } @else { " versions" }
        }
        (copyable(&format!("composer require {name}:{}", newest.version)))
        section aria-labelledby="versions" {
            h2 #versions { "Versions" }
            @for version in versions { (version_details(view, name, version)) }
        }
        (withdrawn(view, name))
        (required_by(view, name))
    };
    page(ROOT, &format!("{name} – Composer repository"), &body)
}

/// `abandoned` is true or names the replacement.
fn abandoned_notice(view: &View<'_>, abandoned: &Value) -> Markup {
    let replacement = abandoned.as_str().map(str::trim).filter(|name| !name.is_empty());
    html! {
        p.doubt {
            "This package is abandoned"
            @match replacement {
                Some(name) => { "; use " (link(view, name)) " instead." }
                None => { " and no replacement was suggested." }
            }
        }
    }
}

/// The page of a package of which every version is withdrawn.
pub(super) fn render_withdrawn(view: &View<'_>, name: &str) -> Markup {
    let body = html! { h1 { (name) } (withdrawn(view, name)) };
    page(ROOT, &format!("{name} – Composer repository"), &body)
}

fn withdrawn(view: &View<'_>, name: &str) -> Markup {
    html! {
        @if view.withdrawals(name).next().is_some() {
            section aria-labelledby="withdrawn" {
                h2 #withdrawn { "Withdrawn" }
                @for withdrawal in view.withdrawals(name) { p.doubt { (withdrawal) } }
            }
        }
    }
}

fn version_details(view: &View<'_>, package: &str, version: &PackageVersion) -> Markup {
    let id = version.version.to_string();
    html! {
        details #(format!("v{id}")) {
            summary { b { (id) } " " time datetime=(day(version.committed)) { (day(version.committed)) } " " span.size { (size(version.size)) } }
            @for note in view.notes.iter().filter(|note| note.applies_to(package, &id)) {
                p.doubt { (usage::note_text(note)) }
            }
            @for diverged in view.diverged(package).filter(|diverged| diverged.version == id) {
                p.doubt {
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
                (requirements(view, version))
            }
        }
    }
}

fn requirements(view: &View<'_>, version: &PackageVersion) -> Markup {
    html! {
        @for (kind, title) in SHOWN {
            @if version.links(kind).next().is_some() {
                dt { (title) }
                dd { ul {
                    @for (name, constraint) in version.links(kind) {
                        li { (link(view, name)) " " (constraint) }
                    }
                } }
            }
        }
    }
}

fn required_by(view: &View<'_>, name: &str) -> Markup {
    html! {
        @if let Some(others) = view.required_by.get(name) {
            section aria-labelledby="required-by" {
                h2 #required-by { "Required by" }
                ul { @for other in others { li { (link(view, other)) } } }
            }
        }
    }
}

/// A package's name, linked to its page if it has one.
fn link(view: &View<'_>, name: &str) -> Markup {
    html! {
        @if view.has(name) { a href={ (ROOT) (package_path(name)) } { (name) } } @else { (name) }
    }
}
