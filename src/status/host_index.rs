//! The page at the root of a host where every repository has a path of its own: an overview of the repositories.

use jiff::Timestamp;
use maud::{Markup, html};

use super::input::StatusInput;
use super::state::State;
use crate::config::Site;
use crate::metadata::pages;

/// A repository in the overview.
pub struct IndexEntry<'a> {
    pub name: &'a str,
    /// The path of its base URL: `/mage-os/`.
    pub path: &'a str,
    /// `None` before its status is known.
    pub overview: Option<&'a Overview>,
}

/// What the overview shows of a repository.
#[derive(Debug, Clone)]
pub struct Overview {
    state: State,
    packages: usize,
    versions: usize,
    checked: Option<String>,
    changed: Option<String>,
}

impl Overview {
    pub fn new(input: &StatusInput<'_>) -> Self {
        let time = |time: Option<Timestamp>| time.map(|time| input.time(time));
        Self {
            state: input.state(),
            packages: input.packages(),
            versions: input.releases.len(),
            checked: time(input.checked()),
            changed: time(input.changed()),
        }
    }
}

/// Renders the page; `None` if there is nothing to list.
pub fn host_index(site: &Site, repositories: &[IndexEntry<'_>]) -> Option<Markup> {
    let first = repositories.first()?;
    let title = match &site.name {
        Some(name) => format!("Composer repositories of {name}"),
        None => "Composer repositories".to_owned(),
    };
    let body = html! {
        h1 { (title) }
        @if site.contact.is_some() { p { "Run by " (pages::operator(site)) } }
        table.cards {
            thead { tr { th scope="col" { "Repository" } th scope="col" { "State" } th scope="col" { "Packages" } th scope="col" { "Versions" } th scope="col" { "Last check" } th scope="col" { "Last change" } } }
            tbody { @for entry in repositories { (row(entry)) } }
        }
        p { a href="./-/help/" { "Help" } }
    };
    Some(pages::plain(&format!(".{}", first.path), &title, &body))
}

fn row(IndexEntry { name, path, overview }: &IndexEntry<'_>) -> Markup {
    let time = |time: &Option<String>| time.clone().unwrap_or_else(|| "not known".to_owned());
    html! {
        tr {
            th scope="row" { a href={ "." (path) } { (name) } }
            @match overview {
                Some(Overview { state, packages, versions, checked, changed }) => {
                    td data-label="State" { a class=(state.class()) href={ "." (path) "status.html" } { (state) } }
                    td data-label="Packages" { (packages) }
                    td data-label="Versions" { (versions) }
                    td data-label="Last check" { (time(checked)) }
                    td data-label="Last change" { (time(changed)) }
                }
                None => td data-label="State" colspan="5" { a href={ "." (path) "status.html" } { "unknown" } },
            }
        }
    }
}
