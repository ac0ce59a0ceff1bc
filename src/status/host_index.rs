//! The page at the root of a host where every repository has a path of its own: a list of the repositories.

use maud::{Markup, html};

use super::state::State;
use crate::metadata::pages;

/// A repository in the list.
pub struct IndexEntry<'a> {
    pub name: &'a str,
    /// The path of its base URL: `/mage-os/`.
    pub path: &'a str,
    pub state: State,
}

/// Renders the page; `None` if there is nothing to list.
pub fn host_index(operator: Option<&str>, repositories: &[IndexEntry<'_>]) -> Option<Markup> {
    let first = repositories.first()?;
    let title = match operator {
        Some(name) => format!("Composer repositories of {name}"),
        None => "Composer repositories".to_owned(),
    };
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
