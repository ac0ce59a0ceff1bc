//! The page of one release of a product.

use maud::{Markup, html};

use super::context::View;
use super::format::day;
use super::layout::{copyable, package_path, page};
use super::product_release::{Changes, Contents, ProductRelease, changes, package_changes, previous};
use super::usage;
use crate::util::text::plural;

/// The relative path from a release's page to the base URL.
const ROOT: &str = "../../../";

/// The pages of all releases of all products, by path.
pub(super) fn render_all<'a>(view: &'a View<'a>) -> impl Iterator<Item = (String, Markup)> {
    view.products().flat_map(|product| {
        let releases = view.releases_of(product);
        let contents: Vec<_> = releases.iter().map(|release| view.contents(release)).collect();
        let pages =
            (0..releases.len()).map(|at| (releases[at].path(), render(view, &releases, &contents, at)));
        pages.collect::<Vec<_>>()
    })
}

fn render(view: &View<'_>, releases: &[ProductRelease<'_>], contents: &[Contents<'_>], at: usize) -> Markup {
    let (release, content) = (&releases[at], &contents[at]);
    let product = release.product;
    let before = previous(releases, at);
    let before = before.map(|before| {
        let index = releases.iter().position(|other| other.version == before.version).unwrap_or(at);
        (before, &contents[index])
    });
    let body = html! {
        h1 { (release.title()) }
        p.lead {
            "Released " time datetime=(day(release.committed)) { (day(release.committed)) } " · "
            (plural(content.packages.len(), "package"))
            @if !release.is_stable() { " · pre-release" }
        }
        @for note in view.notes.iter().filter(|note| note.applies_to(&product.package, release.version)) {
            p.doubt { (usage::note_text(note)) }
        }
        (install(view, release))
        dl.facts {
            @if let Some(php) = content.requirements.get("php") { dt { "PHP" } dd { (php) } }
            dt { "Package" } dd { a href={ (ROOT) (package_path(&product.package)) "#v" (release.version) } { (product.package) } }
            @if let Some((before, _)) = before { dt { "Release before" } dd { (link(before)) } }
            @if let Some(next) = at.checked_sub(1) { dt { "Next release" } dd { (link(&releases[next])) } }
        }
        @if at == 0 { (held_back(view, release)) }
        (missing(content))
        @if let Some((before, old)) = before {
            section aria-labelledby="changes" {
                h2 #changes { "Changes since " (before.version) }
                @let packages = package_changes(old, content);
                (change_summary(&packages))
                (change_table(view, "Packages", &packages))
                (change_table(view, "Other requirements", &changes(&old.requirements, &content.requirements)))
            }
        }
        (package_table(view, content))
        (requirements(view, content))
    };
    page(ROOT, view.info.site, &release.title(), &body)
}

/// The commands that install the release.
fn install(view: &View<'_>, release: &ProductRelease<'_>) -> Markup {
    let project = release.product.project.as_deref();
    let project = project.filter(|project| view.has_version(project, release.version));
    html! {
        @match project {
            Some(project) => (copyable(&usage::create_project(&view.info.base.to_string(), project, release.version))),
            None => (copyable(&format!("composer require {}:{}", release.product.package, release.version))),
        }
    }
}

fn link(release: &ProductRelease<'_>) -> Markup {
    html! { a href={ (ROOT) (release.path()) } { (release.title()) } }
}

/// What is newer and waits.
fn held_back(view: &View<'_>, release: &ProductRelease<'_>) -> Markup {
    html! {
        @for (version, row) in view.held_back(&release.product.package) {
            p.doubt { "Version " (version) " is held back: " (row.outcome.reason().unwrap_or_default()) }
        }
    }
}

fn missing(content: &Contents<'_>) -> Markup {
    html! {
        @if !content.missing.is_empty() {
            section aria-labelledby="missing" {
                h2 #missing { "Missing here" }
                p.doubt { "No source provides these packages, so the release cannot be installed from this mirror alone:" }
                ul.columns { @for (name, constraint) in &content.missing { li { (name) " " (constraint) } } }
            }
        }
    }
}

fn change_summary(changes: &Changes<'_>) -> Markup {
    let count = |is: fn(bool, bool) -> bool| {
        changes.iter().filter(|(_, before, now)| is(before.is_some(), now.is_some())).count()
    };
    html! {
        p {
            @if changes.is_empty() { "The packages are the same." } @else {
                (count(|before, now| before && now)) " changed, "
                (count(|before, now| !before && now)) " added, "
                (count(|before, now| before && !now)) " removed"
            }
        }
    }
}

fn change_table(view: &View<'_>, caption: &str, changes: &Changes<'_>) -> Markup {
    html! {
        @if !changes.is_empty() {
            div.wide role="region" aria-label={ "Changes: " (caption) } tabindex="0" {
                table {
                    caption { (caption) }
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Before" } th scope="col" { "Now" } } }
                    tbody {
                        @for (name, before, now) in changes {
                            tr {
                                th scope="row" { (package_link(view, name, None)) }
                                td { (before.unwrap_or("–")) }
                                td { @match now { Some(now) => (now), None => span.quiet { "removed" } } @if before.is_none() { " " span.good { "new" } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn package_table(view: &View<'_>, content: &Contents<'_>) -> Markup {
    html! {
        section aria-labelledby="packages" {
            h2 #packages { "Packages" }
            div.wide role="region" aria-label="Table of packages" tabindex="0" {
                table {
                    thead { tr { th scope="col" { "Package" } th scope="col" { "Version" } th scope="col" { "Through" } } }
                    tbody {
                        @for (name, included) in &content.packages {
                            tr {
                                th scope="row" { (package_link(view, name, Some(included.version))) }
                                td { (included.version) }
                                td { (included.through.unwrap_or_default()) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What comes from other repositories or leaves the version open.
fn requirements(view: &View<'_>, content: &Contents<'_>) -> Markup {
    html! {
        @if !content.requirements.is_empty() {
            section aria-labelledby="requirements" {
                h2 #requirements { "Also requires" }
                ul.columns {
                    @for (name, constraint) in &content.requirements { li { (package_link(view, name, None)) " " span.quiet { (constraint) } } }
                }
            }
        }
    }
}

/// A package's name, linked to its page, at a version, if it has one.
fn package_link(view: &View<'_>, name: &str, version: Option<&str>) -> Markup {
    html! {
        @match (view.has(name), version) {
            (true, Some(version)) => a href={ (ROOT) (package_path(name)) "#v" (version) } { (name) },
            (true, None) => a href={ (ROOT) (package_path(name)) } { (name) },
            (false, _) => (name),
        }
    }
}
