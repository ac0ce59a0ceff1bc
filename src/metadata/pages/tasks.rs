//! What a user of the mirror does with Composer from day to day, with names and versions of this mirror filled in.

use maud::{Markup, html};

use super::context::View;
use super::layout::copyable;
use crate::metadata::package_summary::PackageSummary;

/// The commands in a project that uses the mirror.
pub(super) fn render(view: &View<'_>) -> Markup {
    html! {
        @if let Some((name, package)) = example(view) {
            h3 { "Finding packages and versions" }
            (copyable(&format!("composer search {}\ncomposer show --all {name}", short(name))))
            h3 { "Adding a package" }
            (copyable(&format!("composer require {name}")))
            @if let Some(older) = older(package) {
                h3 { "Going back to an earlier version" }
                (copyable(&format!("composer require {name}:{older} --with-all-dependencies")))
            }
        }
        h3 { "Checking for known vulnerabilities" }
        p { "This mirror has no security advisories of its own; Composer asks Packagist for them." }
        (copyable("composer audit"))
    }
}

/// How a project comes here from another repository, and goes back.
pub(super) fn switching(add: &str) -> Markup {
    html! {
        h3 { "Switching a project from another mirror" }
        p { "Remove the old repository by its name in composer.json, here OLD, and add this one. Then update the download URLs in composer.lock, which would go on asking the old host:" }
        (copyable(&format!("composer config --unset repositories.OLD\n{add}\ncomposer update mirrors")))
        p { "Only URLs should have changed. If " code { "git diff composer.lock" } " shows another " code { "shasum" } ", the old mirror had other bytes for that version." }
        h3 { "Switching back" }
        p { "Give the entry the URL of the other repository, here OLD-URL:" }
        (copyable("composer config repositories.mirror composer OLD-URL\ncomposer update mirrors"))
    }
}

/// The package to show the commands with: a product if there is one, with several versions if possible.
fn example<'a>(view: &View<'a>) -> Option<(&'a str, &'a PackageSummary)> {
    let rank = |package: &PackageSummary| {
        (older(package).is_some(), package.newest.kind == "metapackage", package.newest.committed)
    };
    let others = view.packages.iter().filter(|(_, package)| package.newest.kind != "project");
    let best = others.max_by(|(a, first), (b, second)| rank(first).cmp(&rank(second)).then_with(|| b.cmp(a)));
    best.map(|(name, package)| (name.as_str(), package))
}

/// The version before the newest one.
fn older(package: &PackageSummary) -> Option<&str> {
    let mut versions = package.versions.iter().skip_while(|version| **version != package.newest.version);
    versions.nth(1).map(String::as_str)
}

/// The name without the vendor.
fn short(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, short)| short)
}
