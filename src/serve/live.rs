//! What is said about the mirror itself, held in memory: it changes without a new snapshot, so it stands beside the
//! [`Site`](super::Site), and is asked only where that has no answer.

use std::collections::HashMap;

use super::kind::Kind;
use super::site::Entry;

/// A text under the full path of its URL, decoded: `/mirror/mirror.json`.
#[derive(Clone)]
pub struct Live {
    pub path: String,
    pub kind: Kind,
    pub bytes: Vec<u8>,
    /// In Unix seconds.
    pub last_modified: i64,
}

/// All such texts.
#[derive(Default)]
pub(super) struct Texts(HashMap<String, Entry>);

impl Texts {
    pub fn new(texts: Vec<Live>) -> Self {
        let texts = texts.into_iter().map(|text| {
            let entry = Entry::in_memory(text.kind, text.bytes, text.last_modified);
            (text.path, entry)
        });
        Self(texts.collect())
    }

    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(path)
    }
}
