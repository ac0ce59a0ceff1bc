//! What is said about the mirror itself, held in memory: it changes without a new snapshot, so it stands beside the
//! [`Site`](super::Site), and is asked only where that has no answer.

use std::collections::HashMap;

use super::content_kind::ContentKind;
use super::site::Entry;

/// A text under the full path of its URL, decoded: `/mirror/mirror.json`.
#[derive(Clone)]
pub struct StatusFile {
    pub path: String,
    pub kind: ContentKind,
    pub bytes: Vec<u8>,
}

/// All such texts, each with the Unix second in which it became what it is.
#[derive(Default)]
pub(super) struct StatusFiles(HashMap<String, (Entry, i64)>);

impl StatusFiles {
    /// What is said from the second `now` on. The date of a text moves with its bytes, and always when they do, since a client
    /// has nothing else to tell by (RFC 9110 section 8.8.2).
    pub fn new(texts: Vec<StatusFile>, before: &Self, now: i64) -> Self {
        let texts = texts.into_iter().map(|text| {
            let since = match before.0.get(&text.path) {
                Some((entry, since)) if entry.has_bytes(&text.bytes) => *since,
                Some((_, since)) => now.max(since + 1),
                None => now,
            };
            let entry = Entry::in_memory(text.kind, text.bytes, since);
            (text.path, (entry, since))
        });
        Self(texts.collect())
    }

    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(path).map(|(entry, _)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_moves_exactly_with_the_bytes() {
        let texts = |text: &str, before: &StatusFiles, now: i64| {
            let live = StatusFile {
                path: "/mirror.json".to_owned(),
                kind: ContentKind::Metadata,
                bytes: text.into(),
            };
            StatusFiles::new(vec![live], before, now)
        };
        let mut all = StatusFiles::default();
        for (text, now, since) in [
            ("a", 5, 5),
            ("a", 7, 5),
            ("b", 7, 7),
            ("c", 7, 8),
            ("a", 7, 9),
            ("b", 20, 20),
        ] {
            all = texts(text, &all, now);
            assert_eq!(all.0["/mirror.json"].1, since, "{text} at {now}");
        }
    }
}
