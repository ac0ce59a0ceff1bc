//! The HTML pages: a main page, one for each package and one for each release of a product, rendered at publication from the same values as the metadata.
//!
//! The template crate escapes all texts from upstream. Scripts and styles are separate files, because the pages' content
//! security policy allows nothing inline. All links are relative, so a page works below any base URL. Pages hold no times
//! of cycles; those are on the status page.

mod context;
mod format;
mod index;
mod layout;
mod package;
mod package_versions;
mod product_release;
mod release;
mod tasks;
mod trial;
mod usage;

use maud::Markup;

pub use context::{Findings, View};
pub use format::{instant, instant_in, size};
pub use layout::{operator, package_path, page, plain};
pub use trial::trial;

use super::render_cache::Files;
use super::version_entry::PackageVersion;
use crate::util::digest::Sha256;

/// The files that all pages use, by path below the base URL.
pub const ASSETS: [(&str, &str); 2] =
    [("pages/style.css", include_str!("style.css")), ("pages/script.js", include_str!("script.js"))];

/// Renders all pages. `versions` returns the versions of a package, newest first, or `None` if its page has not changed.
pub fn render(
    view: &View<'_>,
    versions: impl Fn(&str) -> serde_json::Result<Option<Vec<PackageVersion>>>,
) -> serde_json::Result<Files> {
    let bytes = |page: Markup| page.into_string().into_bytes();
    let mut files: Files =
        ASSETS.iter().map(|(path, text)| ((*path).to_owned(), Some(text.as_bytes().to_vec()))).collect();
    files.insert("index.html".into(), Some(bytes(index::render(view))));
    files.extend(release::render_all(view).map(|(path, page)| (path, Some(bytes(page)))));
    for (name, package) in view.packages {
        let page = versions(name)?.map(|versions| bytes(package::render(view, name, package, &versions)));
        files.insert(package_path(name), page);
    }
    for withdrawal in view.findings.withdrawals.iter().filter(|withdrawal| !view.has(&withdrawal.name)) {
        let page = package::render_withdrawn(view, &withdrawal.name);
        files.insert(package_path(&withdrawal.name), Some(bytes(page)));
    }
    Ok(files)
}

/// Whether the published pages use this program's assets; `digest` returns the digest of a published file.
pub fn are_current(digest: impl Fn(&str) -> Option<Sha256>) -> bool {
    ASSETS.iter().all(|(path, text)| digest(path) == Some(Sha256::digest(text.as_bytes())))
}
