//! The keys of packages.json for `hints` in the configuration: other mirrors of the archives, and messages for users
//! (`ComposerRepository::loadRootServerFile`, `HttpDownloader::outputWarnings`).

use serde_json::{Map, Value, json};

use crate::config::{Hints, Message};

/// The keys that hints may set.
pub(super) const KEYS: [&str; 3] = ["mirrors", "warnings", "infos"];

/// The keys that these hints set, in the order of [`KEYS`].
pub(super) fn to_keys(hints: &Hints) -> Map<String, Value> {
    let messages = |messages: &[Message]| {
        let message = |m: &Message| json!({ "message": m.message, "versions": m.versions });
        messages.iter().map(message).collect::<Vec<_>>()
    };
    let mirrors = hints.mirrors.iter().map(|m| json!({ "dist-url": m.dist_url, "preferred": m.preferred }));
    let values = [mirrors.collect(), messages(&hints.warnings), messages(&hints.infos)];
    KEYS.into_iter()
        .zip(values)
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect()
}
