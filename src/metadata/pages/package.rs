//! The page of one package.

use maud::{Markup, html};
use serde_json::Value;

use super::context::View;
use super::format::day;
use super::layout::{copyable, is_web, link_to, package_path, page};
use super::{package_versions, usage};
use crate::composer::{Stability, Version};
use crate::metadata::package_summary::PackageSummary;
use crate::metadata::version_entry::PackageVersion;
use crate::util::text::plural;

/// The relative path from a package's page to the base URL.
pub(super) const ROOT: &str = "../../";

/// `versions` are newest first.
pub(super) fn render(
    view: &View<'_>,
    name: &str,
    package: &PackageSummary,
    versions: &[PackageVersion],
) -> Markup {
    let newest = &package.newest;
    let described = versions.iter().find(|version| version.version.to_string() == newest.version);
    let body = html! {
        h1 { (name) }
        @if let Some(description) = &newest.description { p.lead { (description) } }
        @if let Some(abandoned) = &newest.abandoned { (abandoned_notice(view, abandoned)) }
        (copyable(&install_command(view, name, package)))
        dl.facts {
            dt { "Newest" } dd { a href={ "#v" (newest.version) } { (newest.version) } ", " (day(newest.committed)) ", of " (plural(versions.len(), "version")) }
            dt { "Type" } dd { (newest.kind) }
            @if let Some(version) = described { (facts(view, version)) }
        }
        @for (version, row) in view.held_back(name) {
            p.doubt { "Version " (version) " is held back: " (row.outcome.reason().unwrap_or_default()) }
        }
        (package_versions::render(view, name, versions))
        (withdrawn(view, name))
        (required_by(view, name))
    };
    page(ROOT, view.info.site, &format!("{name} – Composer repository"), &body)
}

/// Without a version, Composer chooses the newest stable one and a constraint that allows its successors.
fn install_command(view: &View<'_>, name: &str, package: &PackageSummary) -> String {
    let newest = &package.newest;
    match newest.version.parse::<Version>().map(|version| version.stability()) {
        _ if newest.kind == "project" => {
            usage::create_project(&view.info.base.to_string(), name, &newest.version)
        }
        Ok(Stability::Stable) => format!("composer require {name}"),
        _ => format!("composer require {name}:{}", newest.version),
    }
}

/// What the manifest of a version says of the package.
fn facts(view: &View<'_>, version: &PackageVersion) -> Markup {
    let manifest = &version.manifest.0;
    let (licences, keywords) = (texts(manifest.get("license")), texts(manifest.get("keywords")));
    let authors = authors(manifest.get("authors"));
    let homepage = version.text("homepage");
    let upstream = view.info.recipe.public_page(&version.source);
    let support: Vec<_> = manifest.get("support").and_then(Value::as_object).into_iter().flatten().collect();
    html! {
        @if !licences.is_empty() { dt { "License" } dd { (licences.join(", ")) } }
        @if !authors.is_empty() {
            dt { "Authors" }
            dd { @for (i, (name, page)) in authors.iter().enumerate() {
                @if i > 0 { ", " }
                @match page.filter(|page| is_web(page)) {
                    Some(page) => a href=(page) rel="noopener noreferrer" { (name) },
                    None => (name),
                }
            } }
        }
        @if !keywords.is_empty() { dt { "Keywords" } dd { (keywords.join(", ")) } }
        @if let Some(homepage) = homepage { dt { "Homepage" } dd { (link_to(homepage)) } }
        @if let Some(upstream) = upstream { dt { "Upstream" } dd { (link_to(upstream)) } }
        @for (kind, place) in support {
            @if let Some(place) = place.as_str().filter(|place| !place.trim().is_empty()) {
                dt { "Support: " (kind) } dd { (link_to(place)) }
            }
        }
    }
}

/// A text or a list of texts.
fn texts(value: Option<&Value>) -> Vec<&str> {
    let one = value.and_then(Value::as_str);
    let many = value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    one.into_iter().chain(many).map(str::trim).filter(|text| !text.is_empty()).collect()
}

/// Names and pages of authors.
fn authors(value: Option<&Value>) -> Vec<(&str, Option<&str>)> {
    let authors = value.and_then(Value::as_array).into_iter().flatten();
    let named = authors.filter_map(|author| Some((author.get("name")?.as_str()?, author)));
    named.map(|(name, author)| (name, author.get("homepage").and_then(Value::as_str))).collect()
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
    page(ROOT, view.info.site, &format!("{name} – Composer repository"), &body)
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

fn required_by(view: &View<'_>, name: &str) -> Markup {
    html! {
        @if let Some(others) = view.required_by.get(name) {
            section aria-labelledby="required-by" {
                h2 #required-by { "Required by" }
                ul.columns { @for other in others { li { (link(view, other)) } } }
            }
        }
    }
}

/// A package's name, linked to its page if it has one.
pub(super) fn link(view: &View<'_>, name: &str) -> Markup {
    html! {
        @if view.has(name) { a href={ (ROOT) (package_path(name)) } { (name) } } @else { (name) }
    }
}
