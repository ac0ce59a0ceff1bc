//! The parts that all pages share: head, navigation, and blocks of text to copy.

use maud::{DOCTYPE, Markup, html};

use crate::config::Site;

/// The path of a package's page below the base URL.
pub fn package_path(package: &str) -> String {
    format!("package/{package}.html")
}

/// A page of a repository; `root` is the relative path to the base URL (`./`, `../../`).
pub fn page(root: &str, site: &Site, title: &str, body: &Markup) -> Markup {
    let script = html! { script src={ (root) "pages/script.js" } defer data-root=(root) {} };
    let body = html! {
        a.skip href="#main" { "Skip to the content" }
        header {
            nav aria-label="This mirror" {
                a href=(root) { "Packages" }
                a href={ (root) "#use" } { "How to use" }
                a href={ (root) "status.html" } { "Status" }
                // The script shows the state.
                a #state href={ (root) "status.html" } hidden {}
            }
        }
        main #main { (body) }
        footer {
            @if site.name.is_some() || site.contact.is_some() { p { "Run by " (operator(site)) } }
            p {
                "Machine-readable: "
                a href={ (root) "packages.json" } { "packages.json" } " · "
                a href={ (root) "mirror.json" } { "mirror.json" }
            }
        }
    };
    document(root, title, &script, &body)
}

/// A page that belongs to no repository, with the style of the one at `root`.
pub fn plain(root: &str, title: &str, body: &Markup) -> Markup {
    document(root, title, &html! {}, &html! { main #main { (body) } })
}

/// Who runs the mirror, with a link to the contact.
pub fn operator(site: &Site) -> Markup {
    html! {
        @match (&site.name, &site.contact) {
            (Some(name), Some(contact)) => { (name) ", " (link_to(contact)) }
            (None, Some(contact)) => (link_to(contact)),
            (name, None) => (name.as_deref().unwrap_or_default()),
        }
    }
}

/// A text as a link if it is the URL of a page or an e-mail address.
pub(super) fn link_to(text: &str) -> Markup {
    html! {
        @if is_web(text) {
            a href=(text) rel="noopener noreferrer" { (text) }
        } @else if is_email(text) {
            a href={ "mailto:" (text) } { (text) }
        } @else {
            (text)
        }
    }
}

/// Whether a text from a manifest can be linked to.
pub(super) fn is_web(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

fn is_email(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@.+-_".contains(c);
    text.chars().all(is_plain) && text.split_once('@').is_some_and(|(_, domain)| domain.contains('.'))
}

fn document(root: &str, title: &str, script: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="data:,";
                link rel="stylesheet" href={ (root) "pages/style.css" };
                (script)
            }
            body { (body) }
        }
    }
}

/// Text with a button that copies it. The button is shown by the script.
pub(super) fn copyable(text: &str) -> Markup {
    html! {
        div.copy {
            pre tabindex="0" { code { (text) } }
            button type="button" hidden { "Copy" }
        }
    }
}
