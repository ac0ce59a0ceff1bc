//! The main page: search, newest releases, how to use the mirror, and all packages.

use maud::{Markup, html};

use super::context::View;
use super::format::day;
use super::layout::{package_path, page};
use super::trial::trial;
use super::usage;
use crate::metadata::package_summary::PackageSummary;

/// The number of newest releases to show.
const NEWEST: usize = 12;

/// Characters of a description in the list; the package's page has all of it.
const EXCERPT: usize = 100;

pub(super) fn render(view: &View<'_>) -> Markup {
    let base = view.info.base;
    let count = view.packages.len();
    let body = html! {
        h1 { "Composer repository" }
        p.lead { (base) }
        p { (count) " packages in " (view.versions()) " versions." }
        @if view.info.is_trial { (trial()) }
        div #search hidden {
            label for="query" { "Search by name, description or type" }
            input #query type="search" autocomplete="off" spellcheck="false" aria-controls="list" placeholder="Press / to search";
            p #found role="status" aria-live="polite" {}
        }
        div #else {
            section aria-labelledby="newest" {
                h2 #newest { "Newest releases" }
                ul.newest {
                    @for (name, newest) in view.newest(NEWEST) {
                        li {
                            a href=(package_path(name)) { (name) } " " b { (newest.version) } " "
                            time datetime=(day(newest.committed)) { (day(newest.committed)) }
                        }
                    }
                }
            }
            (usage::render(view))
        }
        section aria-labelledby="packages" {
            h2 #packages { "Packages" }
            ul #list { @for (name, package) in view.packages { (row(name, package)) } }
        }
    };
    page("./", &format!("Composer repository at {base}"), &body)
}

fn row(name: &str, package: &PackageSummary) -> Markup {
    let newest = &package.newest;
    html! {
        li {
            a href=(package_path(name)) { (name) } " " b { (newest.version) } " " i { (newest.kind) }
            @if let Some(text) = &newest.description { p { (excerpt(text)) } }
        }
    }
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
