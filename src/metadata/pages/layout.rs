//! The parts that all pages share: head, navigation, and blocks of text to copy.

use maud::{DOCTYPE, Markup, html};

/// The path of a package's page below the base URL.
pub fn package_path(package: &str) -> String {
    format!("package/{package}.html")
}

/// A page of a repository; `root` is the relative path to the base URL (`./`, `../../`).
pub fn page(root: &str, title: &str, body: &Markup) -> Markup {
    let script = html! { script src={ (root) "pages/script.js" } defer data-root=(root) {} };
    let body = html! {
        a.skip href="#main" { "Skip to the content" }
        header {
            nav aria-label="This mirror" {
                a href=(root) { "Packages" }
                a href={ (root) "#use" } { "How to use" }
                a href={ (root) "status.html" } { "Status" }
                span #state role="status" {}
            }
        }
        main #main { (body) }
        footer {
            p {
                "Machine-readable: "
                a href={ (root) "packages.json" } { "packages.json" } " · "
                a href={ (root) "mirror.json" } { "mirror.json" }
                span #operator {}
            }
        }
    };
    document(root, title, &script, &body)
}

/// A page that belongs to no repository, with the style of the one at `root`.
pub fn plain(root: &str, title: &str, body: &Markup) -> Markup {
    document(root, title, &html! {}, &html! { main #main { (body) } })
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
