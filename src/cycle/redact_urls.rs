//! Error texts for the status page, `mirror.json` and notifications: rewritten URLs are replaced by the recipe's.
//!
//! The log keeps the URLs that were fetched. User names and passwords are in neither ([`redacted`]).

use std::cmp::Reverse;

use super::context::CycleContext;
use crate::net::redacted;

/// `error` with the recipe's URLs instead of those that they are rewritten to.
pub(super) fn with_recipe_urls(ctx: &CycleContext<'_>, error: &str) -> String {
    let urls = ctx.recipe.urls();
    let mut rewritten: Vec<_> =
        urls.map(|url| ((ctx.rewrite)(url), url)).filter(|(from, url)| from != url).collect();
    // One URL may be a prefix of another.
    rewritten.sort_by_key(|(from, _)| Reverse(from.len()));
    let mut text = error.to_owned();
    for (from, url) in rewritten {
        let url = redacted(url);
        text = text.replace(&redacted(&from), &url);
        // git names a local folder without the scheme.
        if let Some(folder) = from.strip_prefix("file://") {
            text = text.replace(folder.trim_end_matches('/'), &url);
        }
    }
    if text != error {
        text += "\nnote: fetched through `git.rewrite`; the log has the actual URL";
    }
    text
}
