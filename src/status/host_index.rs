//! The page at the root of a host whose repositories all have paths of their own: what there is, and where.

use maud::{Markup, html};

use super::State;
use crate::metadata::pages;

/// A repository that everybody may know of.
pub struct IndexEntry<'a> {
    pub name: &'a str,
    /// The path of its base URL: `/mage-os/`.
    pub path: &'a str,
    pub state: State,
}

/// Renders the page; `None` where there is nothing to list.
pub fn host_index(operator: Option<&str>, repositories: &[IndexEntry<'_>]) -> Option<Markup> {
    let first = repositories.first()?;
    let title = operator.map_or_else(
        || "Composer repositories".to_owned(),
        |name| format!("Composer repositories of {name}"),
    );
    let body = html! {
        h1 { (title) }
        ul {
            @for IndexEntry { name, path, state } in repositories {
                li { a href={ "." (path) } { (name) } ": " a href={ "." (path) "status.html" } { (state) } }
            }
        }
    };
    Some(pages::plain(&format!(".{}", first.path), &title, &body))
}
