//! How to use this mirror, with its own URL and its own newest release.

use maud::{Markup, html};
use serde_json::json;

use super::context::View;
use super::layout::copyable;
use super::path_of;
use crate::recipe::Note;

pub(super) fn render(view: &View<'_>) -> Markup {
    let url = view.said.base.to_string();
    let add = format!("composer config repositories.mirror composer {url}");
    html! {
        section #use aria-labelledby="use-title" {
            h2 #use-title { "How to use this mirror" }
            @if url.starts_with("http://") {
                p { "This mirror is served without TLS, which Composer refuses until it is told otherwise:" }
                (copyable("composer config --global secure-http false"))
            }
            @if view.said.is_private {
                p { "This mirror is private. Composer keeps the user name and the password that its operator gave you, or asks for them:" }
                (copyable(&format!("composer config --global --auth http-basic.{} USER PASSWORD", view.said.base.origin())))
            }
            @for (name, project) in view.packages.iter().filter(|(_, project)| project.newest.kind == "project") {
                h3 { "A new project from " (name) }
                (copyable(&format!("composer create-project --repository={url} {name}={} shop", project.newest.version)))
            }
            h3 { "In a project that is there" }
            p { "Adds the repository to its composer.json:" }
            (copyable(&add))
            h3 { "Together with the Marketplace" }
            p { "In composer.json; " code { "only" } " keeps the Marketplace to the vendors that you buy from:" }
            (copyable(&marketplace(&url)))
            h3 { "Switching a project from another mirror" }
            p { "Put the new URL in the place of the old one, then let the lock file take its addresses from here. Versions and checksums stay:" }
            (copyable(&format!("{add}\ncomposer update mirrors")))
            @if !view.notes.is_empty() {
                h3 { "Versions that need a work-around" }
                ul {
                    @for note in &view.notes {
                        li { a href=(path_of(&note.package)) { (note.package) } " " (note.versions_text()) ": " (text(note)) }
                    }
                }
            }
            h3 { "In continuous integration" }
            (copyable("composer validate --no-check-publish\ncomposer install --no-interaction --prefer-dist"))
            p { "Archives never change under their URL: keep Composer's cache folder (" code { "composer config --global cache-dir" } ") between runs." }
        }
    }
}

/// A note, with the page where upstream says so.
pub(super) fn text(note: &Note) -> Markup {
    html! {
        (note.note)
        @if let Some(see) = &note.see { " " a href=(see) rel="noopener noreferrer" { "What upstream says" } "." }
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
