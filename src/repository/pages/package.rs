//! The page of one package: its versions with all that is published about them.

use maud::{Markup, html};

use super::super::{BaseUrl, PackageVersion};
use super::layout::{copyable, page};
use super::usage;
use super::view::{Package, View, day, instant, links, size};

/// From a package's page to the base URL.
const ROOT: &str = "../../";

pub(super) fn render(base: &BaseUrl, view: &View<'_>, package: &Package<'_>) -> Markup {
    let newest = package.newest();
    let body = html! {
        h1 { (package.name) }
        @if let Some(description) = newest.text("description") { p.lead { (description) } }
        p {
            (newest.kind()) " · " (package.versions.len())
            @if package.versions.len() == 1 { " version" } @else { " versions" }
        }
        (copyable(&command(package, newest)))
        section aria-labelledby="versions" {
            h2 #versions { "Versions" }
            @for version in &package.versions { (one(base, view, package.name, version)) }
        }
        (required_by(view, package.name))
    };
    page(ROOT, &format!("{} – Composer repository", package.name), &body)
}

fn command(package: &Package<'_>, newest: &PackageVersion) -> String {
    format!("composer require {}:{}", package.name, newest.version)
}

fn one(base: &BaseUrl, view: &View<'_>, package: &str, version: &PackageVersion) -> Markup {
    let id = version.version.to_string();
    html! {
        details #(format!("v{id}")) {
            summary { b { (id) } " " time datetime=(day(version.committed)) { (day(version.committed)) } " " span.size { (size(version.size)) } }
            @for note in view.notes.iter().filter(|note| note.is_about(package, &id)) {
                p.doubt { (usage::text(note)) }
            }
            dl {
                dt { "Archive" } dd { a href=(base.join(&version.path)) { (version.path) } ", " (version.size) " bytes" }
                dt { "SHA-1" } dd { code { (version.sha1) } }
                dt { "Commit" } dd { code { (version.commit) } ", " (instant(version.committed)) }
                dt { "Source" } dd { (version.source) }
                dt { "Published here" } dd { (instant(version.published)) }
                (requirements(view, version))
            }
        }
    }
}

fn requirements(view: &View<'_>, version: &PackageVersion) -> Markup {
    html! {
        @for (kind, title) in [("require", "Requires"), ("replace", "Replaces"), ("conflict", "Conflicts with")] {
            @if links(version, kind).next().is_some() {
                dt { (title) }
                dd { ul {
                    @for (name, constraint) in links(version, kind) {
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

/// A package's name, leading to its page if it has one.
fn link(view: &View<'_>, name: &str) -> Markup {
    html! {
        @if view.has(name) { a href={ (ROOT) (super::path_of(name)) } { (name) } } @else { (name) }
    }
}
