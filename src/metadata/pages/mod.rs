//! The pages for people: a main page and one for each package, made at publication from the same values as the metadata. Pure.
//!
//! Every text from upstream is escaped by the template crate. Scripts and styles are files of their own, because the policy
//! that pages are served under allows nothing inline. All links are relative: a page works below any base URL. Pages hold
//! no times of cycles; those are the status page's.

mod context;
mod index;
mod layout;
mod package;
mod usage;

use maud::Markup;

pub use context::{View, instant, size};
pub use layout::{page, plain};

use super::{Files, PackageVersion};
use crate::util::digest::Sha256;

/// The files that all pages share, by path below the base URL.
pub const ASSETS: [(&str, &str); 2] = [
    ("pages/style.css", include_str!("style.css")),
    ("pages/script.js", include_str!("script.js")),
];

/// The path of a package's page below the base URL.
pub fn path_of(package: &str) -> String {
    format!("package/{package}.html")
}

/// Renders all pages of a repository, `None` where one is as before; `versions` answers those of a package, newest first,
/// where its page is to be made.
pub fn render<'v>(view: &View<'_>, versions: impl Fn(&str) -> Option<&'v [PackageVersion]>) -> Files {
    let bytes = |page: Markup| page.into_string().into_bytes();
    let mut files: Files = ASSETS
        .iter()
        .map(|(path, text)| ((*path).to_owned(), Some(text.as_bytes().to_vec())))
        .collect();
    files.insert("index.html".into(), Some(bytes(index::render(view))));
    for (name, package) in view.packages {
        let page = versions(name).map(|versions| bytes(package::render(view, name, package, versions)));
        files.insert(path_of(name), page);
    }
    files
}

/// Whether published pages are of this version's making: `digest` answers that of a published file.
pub fn are_current(digest: impl Fn(&str) -> Option<Sha256>) -> bool {
    ASSETS
        .iter()
        .all(|(path, text)| digest(path) == Some(Sha256::digest(text.as_bytes())))
}
