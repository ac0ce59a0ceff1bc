//! The main page: search, newest releases, how to use the mirror, and all packages.

use maud::{Markup, html};

use super::context::View;
use super::format::day;
use super::layout::{operator, package_path, page};
use super::product_release::ProductRelease;
use super::trial::trial;
use super::usage;
use crate::metadata::package_summary::PackageSummary;
use crate::util::text::plural;

/// The number of newest releases to show.
const NEWEST: usize = 8;

/// Characters of a description in the list; the package's page has all of it.
const EXCERPT: usize = 100;

pub(super) fn render(view: &View<'_>) -> Markup {
    let info = view.info;
    let heading = heading(view);
    let body = html! {
        h1 { (heading) }
        p.lead {
            "Composer repository " code { (info.base) }
            @if info.site.name.is_some() { ", run by " (operator(info.site)) }
        }
        p { (plural(view.packages.len(), "package")) " in " (plural(view.versions(), "version")) "." }
        @if info.is_trial { (trial()) }
        (search())
        div #else {
            section aria-labelledby="newest" {
                h2 #newest { "Newest releases" }
                @match view.products().next() {
                    Some(_) => (products(view)),
                    None => (newest(view)),
                }
            }
            (usage::render(view))
        }
        section aria-labelledby="packages" {
            h2 #packages { "Packages" }
            ul #list { @for (name, package) in view.packages { (row(name, package)) } }
        }
    };
    page("./", info.site, &format!("{heading} – Composer repository at {}", info.base.host()), &body)
}

/// What the repository has: its products, else whose packages these are.
fn heading(view: &View<'_>) -> String {
    let products: Vec<_> = view.products().map(|product| product.name.as_str()).collect();
    match (products.as_slice(), &view.info.site.name) {
        ([], Some(operator)) => format!("Packages of {operator}"),
        ([], None) => format!("Packages at {}", view.info.base.host()),
        (products, _) => products.join(" and "),
    }
}

/// The script shows and fills it in.
fn search() -> Markup {
    html! {
        form #search role="search" hidden {
            label for="query" { "Search by name, description or type" }
            input #query type="search" autocomplete="off" spellcheck="false" aria-controls="list";
            div.filters {
                label { "Vendor " select #vendor { option value="" { "all" } } }
                label { "Type " select #type { option value="" { "all" } } }
                label { "Sort by " select #sort { option value="" { "name" } option value="date" { "newest first" } } }
            }
            p #found role="status" aria-live="polite" {}
        }
    }
}

/// The newest releases of all products, the others folded, and what is held back.
fn products(view: &View<'_>) -> Markup {
    let mut releases: Vec<_> = view.products().flat_map(|product| view.releases_of(product)).collect();
    let has_stable = releases.iter().any(ProductRelease::is_stable);
    releases
        .sort_by_key(|release| (has_stable && !release.is_stable(), std::cmp::Reverse(release.committed)));
    let (newest, others) = releases.split_at(releases.len().min(NEWEST));
    html! {
        (release_list(newest))
        @for product in view.products() {
            @for (version, row) in view.held_back(&product.package) {
                p.doubt { (product.name) " " (version) " is held back: " (row.outcome.reason().unwrap_or_default()) }
            }
        }
        @if !others.is_empty() {
            details { summary { (plural(others.len(), "other release")) } (release_list(others)) }
        }
    }
}

fn release_list(releases: &[ProductRelease<'_>]) -> Markup {
    html! {
        ul.newest {
            @for release in releases {
                li {
                    a href=(release.path()) { (release.title()) } " "
                    time datetime=(day(release.committed)) { (day(release.committed)) }
                }
            }
        }
    }
}

fn newest(view: &View<'_>) -> Markup {
    html! {
        ul.newest {
            @for (name, package) in view.newest(NEWEST) {
                @let newest = &package.newest;
                li {
                    a href=(package_path(name)) { (name) } " " b { (newest.version) } " "
                    time datetime=(day(newest.committed)) { (day(newest.committed)) }
                }
            }
        }
    }
}

fn row(name: &str, package: &PackageSummary) -> Markup {
    let newest = &package.newest;
    html! {
        li {
            a href=(package_path(name)) { (name) } " " b { (newest.version) } " " time { (day(newest.committed)) } " " i { (newest.kind) }
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
