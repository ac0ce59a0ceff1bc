//! How to use this mirror, with its URL and its newest release filled in.

use maud::{Markup, html};
use serde_json::json;

use super::context::View;
use super::layout::{copyable, package_path};
use super::tasks;
use crate::recipe::Note;

pub(super) fn render(view: &View<'_>) -> Markup {
    let url = view.info.base.to_string();
    let add = format!("composer config repositories.mirror composer {url}");
    html! {
        section #use aria-labelledby="use-title" {
            h2 #use-title { "How to use this mirror" }
            @if url.starts_with("http://") {
                p { "This mirror uses plain HTTP, which Composer blocks by default. Allow it:" }
                (copyable("composer config --global secure-http false"))
            }
            @if view.info.is_private {
                p { "This mirror is private. Store the user name and password from its operator, or let Composer ask for them:" }
                (copyable(&format!("composer config --global --auth http-basic.{} USER PASSWORD", view.info.base.origin())))
            }
            @for (name, project) in view.packages.iter().filter(|(_, project)| project.newest.kind == "project") {
                h3 { "A new project from " (name) }
                (copyable(&create_project(&url, name, &project.newest.version)))
            }
            h3 { "In an existing project" }
            p { "Add the repository to its composer.json:" }
            (copyable(&add))
            p { "Other packages still come from Packagist, which has to be reachable. If you need none, switch it off: " code { "composer config repo.packagist false" } }
            @if !view.notes.is_empty() {
                h3 { "Versions that need a workaround" }
                ul {
                    @for note in &view.notes {
                        li { a href=(package_path(&note.affects.package)) { (note.affects.package) } " " (note.versions_text()) ": " (note_text(note)) }
                    }
                }
            }
            details {
                summary { "Switching from another mirror, continuous integration, daily commands" }
                (tasks::switching(&add))
                @if view.products().next().is_some() {
                    h3 { "Together with the Marketplace" }
                    p { "In composer.json; " code { "only" } " limits the Marketplace to the vendors that you buy from:" }
                    (copyable(&marketplace(&url)))
                }
                h3 { "In continuous integration" }
                (copyable("composer validate --no-check-publish\ncomposer install --no-interaction --prefer-dist"))
                p { "An archive's content never changes: keep Composer's cache folder (" code { "composer config --global cache-dir" } ") between runs." }
                (tasks::render(view))
            }
        }
    }
}

/// The command that begins a project with a version of a package.
pub(super) fn create_project(url: &str, package: &str, version: &str) -> String {
    format!("composer create-project --repository={url} {package}={version} shop")
}

/// A note, linked to the upstream page about it.
pub(super) fn note_text(note: &Note) -> Markup {
    html! {
        (note.note)
        @if let Some(see) = &note.see { " " a href=(see) rel="noopener noreferrer" { "Upstream's description" } "." }
    }
}

fn marketplace(url: &str) -> String {
    let repositories = json!({
        "repositories": {
            "mirror": { "type": "composer", "url": url },
            "marketplace": { "type": "composer", "url": "https://repo.magento.com/", "only": ["vendor/*"] },
        }
    });
    format!("{repositories:#}")
}
