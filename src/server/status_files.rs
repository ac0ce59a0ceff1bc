//! Files about the mirror itself, such as `mirror.json`. They change without a new snapshot, so they are kept in memory
//! apart from the [`Site`](super::Site), and served for paths that it does not have.

use std::collections::HashMap;

use serde_json::Value;

use super::content_kind::ContentKind;
use super::site::Entry;

/// Where the local socket serves all documents of [`StatusFiles::documents`].
pub const STATUS: &str = "/-/status";

/// A file about the mirror.
#[derive(Clone)]
pub struct StatusFile {
    /// The path of its URL, decoded: `/mirror/mirror.json`.
    pub path: String,
    pub kind: ContentKind,
    pub bytes: Vec<u8>,
}

/// All status files by path, each with the Unix time of its last change.
#[derive(Default)]
pub(super) struct StatusFiles(HashMap<String, (Entry, i64)>);

impl StatusFiles {
    /// The files at the Unix time `now`. A date changes exactly when the bytes do: some clients compare nothing else
    /// (RFC 9110 section 8.8.2).
    pub(super) fn new(files: Vec<StatusFile>, previous: &Self, now: i64) -> Self {
        let files = files.into_iter().map(|file| {
            let since = match previous.0.get(&file.path) {
                Some((entry, since)) if entry.has_bytes(&file.bytes) => *since,
                Some((_, since)) => now.max(since + 1),
                None => now,
            };
            let entry = Entry::in_memory(file.kind, file.bytes, since);
            (file.path, (entry, since))
        });
        Self(files.collect())
    }

    /// `mirror.json` and `progress.json` of all repositories, private ones as well, as one JSON object by path.
    pub(super) fn documents(&self) -> Vec<u8> {
        let mut paths: Vec<_> = self.0.keys().collect();
        paths.sort();
        let documents = paths.into_iter().filter_map(|path| {
            let (entry, _) = self.0.get(path)?;
            let bytes = entry.bytes().filter(|_| entry.kind == ContentKind::Metadata)?;
            Some([Value::from(path.as_str()).to_string().as_bytes(), b": ", bytes].concat())
        });
        [b"{", documents.collect::<Vec<_>>().join(&b","[..]).as_slice(), b"}"].concat()
    }

    pub(super) fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(path).map(|(entry, _)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_changes_exactly_when_bytes_do() {
        let files = |text: &str, previous: &StatusFiles, now: i64| {
            let file = StatusFile {
                path: "/mirror.json".to_owned(),
                kind: ContentKind::Metadata,
                bytes: text.into(),
            };
            StatusFiles::new(vec![file], previous, now)
        };
        let mut all = StatusFiles::default();
        for (text, now, since) in
            [("a", 5, 5), ("a", 7, 5), ("b", 7, 7), ("c", 7, 8), ("a", 7, 9), ("b", 20, 20)]
        {
            all = files(text, &all, now);
            assert_eq!(all.0["/mirror.json"].1, since, "{text} at {now}");
        }
    }
}
