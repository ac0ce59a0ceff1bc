//! The objects of one repository in a bucket, and the two documents that say which of them are published. `docs::bucket` has the
//! protocol.
//!
//! ```text
//! <prefix><repository>/root                              which state is published: the only object that is ever replaced
//! <prefix><repository>/snapshots/<number>-<sha256>.json  a published state
//! <prefix><repository>/packages/…                        archives, by their public paths
//! <prefix><repository>/variants/<sha256>-<sha256 of the variant>.<br|zst|gz>  compressed copies of archives
//! <prefix><repository>/ledger/<first>-<last>-<sha256>.jsonl  lines of the ledger
//! <prefix><repository>/packs/<sha256>                    contents of small files, one after the other
//! <prefix><repository>/probe/<random>/…                  what the probe leaves if it is killed
//! ```

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::snapshot::SnapshotManifest;
use crate::store::variants::Variant;
use crate::util::compression::Coding;
use crate::util::digest::Sha256;

/// The version of both documents.
pub const FORMAT: u32 = 1;

/// `root`: names the published state. No two roots have the same bytes, so an entity tag never comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    pub format: u32,
    pub repository: String,
    /// 1 for the first root, and one more for each that replaces it.
    pub sequence: u64,
    /// Random, of the commit that wrote it.
    pub nonce: String,
    /// Where the state is.
    pub snapshot: StateObject,
    /// The digest of what is published, however it is divided into objects: see [`PublishedState::digest`].
    pub state: Sha256,
    pub ledger: LedgerEnd,
    /// The digest of the root that this one replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Sha256>,
    /// The roots before this one, the newest first: all that were replaced within the last day, and the last one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<ReplacedRoot>,
    /// The id of the volume that it was published from.
    pub volume: String,
    /// The program that wrote it.
    pub writer: String,
    pub time: Timestamp,
}

/// The object with a [`PublishedState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateObject {
    /// The number of the snapshot on the volume.
    pub number: u64,
    /// Of the object's bytes.
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
}

/// The end of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEnd {
    pub lines: u64,
    /// The SHA-256 of the last line.
    pub head: Sha256,
}

/// A root that was replaced. What its state names stays for a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedRoot {
    pub nonce: String,
    pub snapshot: StateObject,
    pub at: Timestamp,
}

/// A published state: everything that a server without a volume needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedState {
    pub format: u32,
    pub repository: String,
    /// The snapshot as it is on the volume.
    pub snapshot: SnapshotManifest,
    /// All lines of the ledger, in order. The snapshot may publish fewer.
    pub ledger: Vec<Segment>,
    /// Where contents are.
    pub packs: Vec<StoredFile>,
    /// By digest: the files of the snapshot, its report and its render cache, the records, and compressed copies of metadata.
    pub contents: BTreeMap<Sha256, Place>,
    /// Compressed copies, by the digest of what they are copies of. Those that `contents` lacks are objects of their own.
    pub variants: BTreeMap<Sha256, Vec<StoredVariant>>,
    /// Other files of the volume, by their names there.
    pub records: BTreeMap<String, StoredFile>,
}

/// Where a content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The position of the pack in the list of packs.
    pub pack: usize,
    /// Where it begins in the pack, in bytes.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// Lines of the ledger in one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The number of the first line, and of the last.
    pub first: u64,
    pub last: u64,
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
}

/// A compressed copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredVariant {
    #[serde(with = "coding")]
    pub coding: Coding,
    /// Of its own bytes.
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
}

/// Bytes, by their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
}

impl StateObject {
    pub fn key(&self, repository: &str) -> String {
        format!("{repository}/snapshots/{:08}-{}.json", self.number, self.sha256)
    }
}

impl Segment {
    pub fn key(&self, repository: &str) -> String {
        format!("{repository}/ledger/{:08}-{:08}-{}.jsonl", self.first, self.last, self.sha256)
    }
}

impl StoredVariant {
    /// `original` is the digest of what it is a copy of.
    pub fn key(&self, repository: &str, original: Sha256) -> String {
        format!("{repository}/variants/{original}-{}.{}", self.sha256, self.coding.extension())
    }
}

impl StoredFile {
    pub fn of(bytes: &[u8]) -> Self {
        Self { sha256: Sha256::digest(bytes), size: bytes.len() as u64 }
    }
}

impl From<&Variant> for StoredVariant {
    fn from(variant: &Variant) -> Self {
        Self { coding: variant.coding, sha256: variant.sha256, size: variant.size }
    }
}

/// The key of the root.
pub fn root_key(repository: &str) -> String {
    format!("{repository}/root")
}

/// The key of a pack.
pub fn pack_key(repository: &str, pack: StoredFile) -> String {
    format!("{repository}/packs/{}", pack.sha256)
}

/// The key of an archive with this public path.
pub fn archive_key(repository: &str, path: &str) -> String {
    format!("{repository}/{path}")
}

impl PublishedState {
    /// The digest of what is published, however it is divided into objects.
    pub fn digest(&self, ledger: LedgerEnd) -> serde_json::Result<Sha256> {
        let Self { format, repository, snapshot, variants, records, .. } = self;
        let parts = (format, repository, snapshot, ledger, variants, records);
        Ok(Sha256::digest(&serde_json::to_vec(&parts)?))
    }
}

/// A coding by its name in HTTP.
mod coding {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::util::compression::Coding;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(super) fn serialize<S: Serializer>(coding: &Coding, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(coding.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Coding, D::Error> {
        let name = String::deserialize(from)?;
        let coding = Coding::ALL.into_iter().find(|coding| coding.name() == name);
        coding.ok_or_else(|| serde::de::Error::custom(format!("the coding `{name}` is not known")))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A state without anything.
    pub(in crate::bucket) fn state() -> PublishedState {
        let zero = Sha256([0; 32]);
        let snapshot = serde_json::json!({
            "number": 1,
            "time": "2026-11-30T00:00:00Z",
            "base_url": "https://mirror.example.com/",
            "releases": 0,
            "ledger_head": zero,
            "files": {},
        });
        PublishedState {
            format: FORMAT,
            repository: "acme".to_owned(),
            snapshot: serde_json::from_value(snapshot).unwrap(),
            ledger: Vec::new(),
            packs: Vec::new(),
            contents: BTreeMap::new(),
            variants: BTreeMap::new(),
            records: BTreeMap::new(),
        }
    }

    #[test]
    fn digest_is_of_what_is_published_not_of_its_division() {
        let (first, end) = (state(), LedgerEnd { lines: 0, head: Sha256([0; 32]) });
        let segment = Segment { first: 1, last: 1, sha256: Sha256([1; 32]), size: 9 };
        let divided = PublishedState { ledger: vec![segment], packs: vec![StoredFile::of(b"a")], ..state() };
        assert_eq!(first.digest(end).unwrap(), divided.digest(end).unwrap());
        assert_ne!(first.digest(end).unwrap(), first.digest(LedgerEnd { lines: 1, ..end }).unwrap());
        let copy = StoredVariant { coding: Coding::Zstd, sha256: Sha256([2; 32]), size: 3 };
        let with_copy = PublishedState { variants: [(Sha256([1; 32]), vec![copy])].into(), ..state() };
        assert_ne!(first.digest(end).unwrap(), with_copy.digest(end).unwrap());
        let text = serde_json::to_string(&with_copy).unwrap();
        assert!(text.contains(r#""coding":"zstd""#), "{text}");
        assert_eq!(serde_json::from_str::<PublishedState>(&text).unwrap(), with_copy);
    }
}
