//! Reads what is published: for servers without a volume, and for builders without a past.
//!
//! Everything that is read is compared with the digest that names it. A state names only what is in the bucket, so whoever has
//! read a root can read the rest; what it names stays for a day after it was replaced.

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;

use super::client::Bucket;
use super::commit::{CurrentRoot, read_root};
use super::parallel;
use super::root::{PublishedState, Root, StoredFile, archive_key, pack_key, root_key};
use crate::ledger::{Ledger, Release};
use crate::util::compression::Coding;
use crate::util::digest::Sha256;

/// What there is in a bucket, compared with what is known.
#[derive(Debug)]
pub enum Loaded {
    /// Nothing was ever published there.
    Nothing,
    /// What is known.
    Unchanged,
    New(Box<LoadedState>),
}

/// A published state with its metadata in memory. Archives and their copies stay in the bucket.
#[derive(Debug)]
pub struct LoadedState {
    current: CurrentRoot,
    pub state: PublishedState,
    /// In the order of the state.
    packs: Vec<Bytes>,
    ledger: Ledger,
    ledger_text: Bytes,
}

/// The key of an archive or of one of its compressed copies, and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveObject {
    pub key: String,
    pub coding: Option<Coding>,
    /// Of the object's own bytes.
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
}

/// Reads the state that is published, unless it is `known`: that is one request, which the store answers without a body.
pub fn load(bucket: &Bucket, repository: &str, known: Option<&LoadedState>) -> anyhow::Result<Loaded> {
    let current = match known {
        None => read_root(bucket, repository)?,
        Some(known) => match bucket.get_changed(&root_key(repository), &known.current.etag)? {
            None => return Ok(Loaded::Unchanged),
            Some(object) => {
                let etag = object.info.etag.unwrap_or_default();
                Some(CurrentRoot::parse(bucket, repository, &object.bytes, etag)?)
            }
        },
    };
    let Some(current) = current else {
        return Ok(Loaded::Nothing);
    };
    // A store that ignores conditions sends the same root again.
    if known.is_some_and(|known| known.current.root == current.root) {
        return Ok(Loaded::Unchanged);
    }
    LoadedState::load(bucket, current, known).map(|state| Loaded::New(Box::new(state)))
}

/// Reads the state that a root names.
pub fn read_state(bucket: &Bucket, root: &Root) -> anyhow::Result<PublishedState> {
    let key = root.snapshot.key(&root.repository);
    let stored = StoredFile { sha256: root.snapshot.sha256, size: root.snapshot.size };
    let bytes = read_object(bucket, &key, stored)?;
    serde_json::from_slice(&bytes).with_context(|| format!("`{}` is no published state", bucket.object(&key)))
}

impl LoadedState {
    fn load(bucket: &Bucket, current: CurrentRoot, known: Option<&Self>) -> anyhow::Result<Self> {
        let repository = current.root.repository.clone();
        let state = read_state(bucket, &current.root)?;
        let known_pack = |pack: &StoredFile| {
            let known = known?;
            let position = known.state.packs.iter().position(|other| other == pack)?;
            known.packs.get(position).cloned()
        };
        let segments = state.ledger.iter().map(|segment| {
            (segment.key(&repository), StoredFile { sha256: segment.sha256, size: segment.size }, None)
        });
        let packs = state.packs.iter().map(|pack| (pack_key(&repository, *pack), *pack, known_pack(pack)));
        let needed: Vec<_> = segments.chain(packs).collect();
        let mut read = read_objects(bucket, &needed)?;
        let packs = read.split_off(state.ledger.len());
        let ledger_text = Bytes::from(read.concat());
        let (mut ledger, whole) = Ledger::parse(&ledger_text)
            .with_context(|| format!("the ledger in `{}` is damaged", bucket.object(&repository)))?;
        let end = current.root.ledger;
        ensure!(
            whole == ledger_text.len()
                && ledger.len() == end.lines
                && ledger.head_at(end.lines) == Some(end.head),
            "the ledger in `{}` is not the one that was published",
            bucket.object(&repository)
        );
        let mut loaded = Self { current, state, packs, ledger: Ledger::default(), ledger_text };
        loaded.check_contents(bucket)?;
        if let Some(renditions) = loaded.record("bound.jsonl") {
            ledger.add_renditions(&renditions)?;
        }
        loaded.ledger = ledger;
        Ok(loaded)
    }

    /// Compares all contents with their digests.
    fn check_contents(&self, bucket: &Bucket) -> anyhow::Result<()> {
        for sha256 in self.state.contents.keys() {
            let is_intact = self.content(*sha256).is_some_and(|bytes| Sha256::digest(&bytes) == *sha256);
            ensure!(
                is_intact,
                "a pack in `{}` does not have the content {sha256}",
                bucket.object(&self.state.repository)
            );
        }
        Ok(())
    }

    /// The root that names it.
    pub fn root(&self) -> &Root {
        &self.current.root
    }

    /// All lines of the ledger with the renditions; the snapshot may publish fewer.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The text of all lines.
    pub fn ledger_text(&self) -> &Bytes {
        &self.ledger_text
    }

    /// A file of the snapshot, its report, its render cache, or a compressed copy of metadata, by its own digest.
    pub fn content(&self, sha256: Sha256) -> Option<Bytes> {
        let place = self.state.contents.get(&sha256)?;
        let pack = self.packs.get(place.pack)?;
        let begin = usize::try_from(place.offset).ok()?;
        let end = begin.checked_add(usize::try_from(place.size).ok()?)?;
        (end <= pack.len()).then(|| pack.slice(begin..end))
    }

    /// A file of the volume beside ledger and snapshot, such as `withdrawn.jsonl`.
    pub fn record(&self, name: &str) -> Option<Bytes> {
        self.content(self.state.records.get(name)?.sha256)
    }

    /// The objects of an archive: the archive itself, and its compressed copies.
    pub fn archive_objects(&self, release: &Release) -> Vec<ArchiveObject> {
        let repository = &self.state.repository;
        let own = ArchiveObject {
            key: archive_key(repository, &release.path()),
            coding: None,
            sha256: release.sha256,
            size: release.size,
        };
        let copies = self.state.variants.get(&release.sha256).into_iter().flatten();
        let copies = copies.map(|copy| ArchiveObject {
            key: copy.key(repository, release.sha256),
            coding: Some(copy.coding),
            sha256: copy.sha256,
            size: copy.size,
        });
        std::iter::once(own).chain(copies).collect()
    }
}

/// Reads an object and compares it with its digest.
fn read_object(bucket: &Bucket, key: &str, stored: StoredFile) -> anyhow::Result<Bytes> {
    let object = bucket.get(key)?;
    if StoredFile::of(&object.bytes) != stored {
        bail!("`{}` is damaged: it has other bytes than were uploaded", bucket.object(key));
    }
    Ok(object.bytes)
}

/// An object that is needed: its key, its digest, and its bytes if they are known.
type Needed = (String, StoredFile, Option<Bytes>);

/// Reads objects, several at a time, in their order.
fn read_objects(bucket: &Bucket, needed: &[Needed]) -> anyhow::Result<Vec<Bytes>> {
    parallel::map(needed, |(key, stored, known)| match known {
        Some(bytes) => Ok(bytes.clone()),
        None => read_object(bucket, key, *stored),
    })
}
