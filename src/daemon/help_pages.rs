//! The handbook as it is served below `/-/help/`.

use maud::html;

use crate::help::{PATH, TOPICS};
use crate::metadata::pages;
use crate::server::{ContentKind, StatusFile};

/// The list of topics, and each topic as text. The list has the style of the repository at the path `public`.
pub(super) fn help_pages(public: Option<&str>) -> impl Iterator<Item = StatusFile> {
    let body = html! {
        h1 { "Help" }
        ul {
            @for topic in &TOPICS {
                li { a href=(topic.name) { (topic.name) } ": " (topic.summary) }
            }
        }
    };
    let root = public.map_or("./".to_owned(), |path| format!("../..{path}"));
    let list = StatusFile {
        path: PATH.to_owned(),
        kind: ContentKind::Page,
        bytes: pages::plain(&root, "Help of this mirror", &body).into_string().into(),
    };
    let topics = TOPICS.iter().map(|topic| StatusFile {
        path: format!("{PATH}{}", topic.name),
        kind: ContentKind::Text,
        bytes: topic.text.into(),
    });
    std::iter::once(list).chain(topics)
}
