//! What is said of an error outside of the machine: on the status page, in `mirror.json` and in notifications.
//!
//! Where a source is fetched from is the operator's affair: a rewritten URL, which may be the path of a local folder, is told
//! as the recipe has it. The log has it as it is. User names and passwords are in neither ([`redacted`]).

use std::cmp::Reverse;

use super::CycleContext;
use crate::net::redacted;

/// `error` with the recipe's URLs in place of those that they are rewritten to.
pub(super) fn outward(job: &CycleContext<'_>, error: &str) -> String {
    let urls = job.recipe.git_urls();
    let mut rewritten: Vec<_> = urls
        .map(|url| ((job.rewrite)(url), url))
        .filter(|(from, url)| from != url)
        .collect();
    // One may be the beginning of another.
    rewritten.sort_by_key(|(from, _)| Reverse(from.len()));
    let mut text = error.to_owned();
    for (from, url) in rewritten {
        let url = redacted(url);
        text = text.replace(&redacted(&from), &url);
        // git names the folder alone.
        if let Some(folder) = from.strip_prefix("file://") {
            text = text.replace(folder.trim_end_matches('/'), &url);
        }
    }
    if text != error {
        text += "\nnote: it is fetched through `git.rewrite`, and the log has the address";
    }
    text
}
