//! The pages for people: a main page and one for each package, made at publication from the same values as the metadata. Pure.
//!
//! Every text from upstream is escaped by the template crate. Scripts and styles are files of their own, because the policy
//! that pages are served under allows nothing inline. All links are relative: a page works below any base URL. Pages hold
//! no times of cycles; those are the status page's.

mod index;
mod layout;
mod package;
mod usage;
mod view;

use std::collections::BTreeMap;

pub use layout::{page, plain};
pub use view::{instant, size};

use self::view::View;
use super::{BaseUrl, PackageVersion};
use crate::digest::Sha256;
use crate::recipe::Note;

/// The files that all pages share, by path below the base URL.
pub const ASSETS: [(&str, &str); 2] = [
    ("pages/style.css", include_str!("style.css")),
    ("pages/script.js", include_str!("script.js")),
];

/// The path of a package's page below the base URL.
pub fn path_of(package: &str) -> String {
    format!("package/{package}.html")
}

/// Renders all pages of a repository; `packages` by name, `notes` about some of their versions.
pub fn render(
    base: &BaseUrl,
    packages: &BTreeMap<String, Vec<PackageVersion>>,
    notes: &[Note],
) -> BTreeMap<String, Vec<u8>> {
    let view = View::of(packages, notes);
    let mut files: BTreeMap<_, _> = ASSETS
        .iter()
        .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
        .collect();
    files.insert(
        "index.html".into(),
        index::render(base, &view).into_string().into_bytes(),
    );
    for package in &view.packages {
        files.insert(
            path_of(package.name),
            package::render(base, &view, package).into_string().into_bytes(),
        );
    }
    files
}

/// Whether published pages are of this version's making: `digest` answers that of a published file.
pub fn are_current(digest: impl Fn(&str) -> Option<Sha256>) -> bool {
    ASSETS
        .iter()
        .all(|(path, text)| digest(path) == Some(Sha256::of(text.as_bytes())))
}
