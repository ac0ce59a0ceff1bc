//! Publishes what is on the volume: uploads what the bucket lacks, and then commits.
//!
//! The order is that of the volume: archives and their copies, lines of the ledger, files of the snapshot, the state, and last
//! `root`. Whatever ends the upload before, `root` names only what is there, and the next upload goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use jiff::SignedDuration;

use super::client::Bucket;
use super::commit::{Committed, CurrentRoot, NewRoot, commit, read_root};
use super::difference::{Difference, Overtaken};
use super::object::UploadHeaders;
use super::packs;
use super::reader::{Loaded, load, read_state};
use super::root::{
    FORMAT, LedgerEnd, PublishedState, Root, Segment, StateObject, StoredFile, StoredVariant, archive_key,
    pack_key,
};
use super::upload::{Sent, Source, UploadEvent, UploadObserver, Uploader, Wanted};
use crate::ledger::{Ledger, Release};
use crate::store::RepositoryStore;
use crate::store::snapshot::SnapshotManifest;
use crate::util::digest::Sha256;

/// More objects for the ledger are replaced by one: a server without a volume reads each of them when it starts.
const MAX_SEGMENTS: usize = 32;

/// Files of the volume that a builder without a past needs beside the ledger and the snapshot.
const RECORDS: [&str; 5] =
    ["bound.jsonl", "withdrawn.jsonl", "diverged.jsonl", "imported.jsonl", "absent.json"];

/// How often a state is made again after another writer was first.
const ATTEMPTS: u32 = 3;

/// What is published, and by whom.
#[derive(Clone, Copy)]
pub struct Publisher<'a> {
    pub bucket: &'a Bucket,
    pub repository: &'a str,
    /// Whether caches on the way may keep archives for everybody.
    pub is_private: bool,
    /// The id of the volume.
    pub volume: &'a str,
    /// The number of the last root that the volume is known to continue.
    pub known: Option<u64>,
    /// Whether the bucket has conditional writes; asked before the first write. Without them, nobody else may publish to it.
    pub is_conditional: &'a dyn Fn() -> anyhow::Result<bool>,
    /// After this time other builders remove what no root names.
    pub grace: SignedDuration,
    pub observer: UploadObserver<'a>,
}

/// How an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The number of the root that is published now.
    pub sequence: u64,
    /// The number of its snapshot.
    pub snapshot: u64,
    pub sent: Sent,
}

impl Publisher<'_> {
    /// Publishes the newest snapshot on the volume; `None` if there is none.
    ///
    /// # Errors
    /// [`Overtaken`] if another builder has published what the volume does not continue yet.
    pub fn publish(&self, store: &RepositoryStore) -> anyhow::Result<Option<Published>> {
        let Some(local) = Local::read(store, self.repository)? else {
            return Ok(None);
        };
        let mut current = read_root(self.bucket, self.repository)?;
        for _ in 0..ATTEMPTS {
            if let Some(current) = &current {
                if current.root.state == local.digest {
                    return Ok(Some(published(current, Sent::default())));
                }
                self.check_continues(&current.root, &local, store)?;
                if current.root.volume == self.volume && current.root.snapshot.number > local.number() {
                    // Another process of this mirror has published what this one had not seen yet.
                    return Ok(Some(published(current, Sent::default())));
                }
            }
            let is_conditional = (self.is_conditional)()?;
            let (object, sent) = self.upload(&local, store, current.as_ref(), is_conditional)?;
            let new = NewRoot {
                repository: self.repository,
                snapshot: object,
                state: local.digest,
                ledger: local.end,
                volume: self.volume,
            };
            match commit(self.bucket, &new, current.as_ref(), is_conditional)? {
                Committed::Done(root) => {
                    let (sequence, snapshot) = (root.sequence, root.snapshot.number);
                    return Ok(Some(Published { sequence, snapshot, sent }));
                }
                Committed::Overtaken(by) => current = Some(by),
            }
        }
        bail!(
            "other mirrors have published to `{}` {ATTEMPTS} times meanwhile\nhint: let one mirror publish there",
            self.bucket.object(self.repository)
        )
    }

    /// Fails unless the volume continues what is published: it has published that itself, or taken it over.
    fn check_continues(&self, root: &Root, local: &Local, store: &RepositoryStore) -> anyhow::Result<()> {
        let is_known = root.volume == self.volume || self.known == Some(root.sequence);
        let head = store.ledger(|ledger| ledger.head_at(root.ledger.lines));
        if is_known && head == Some(root.ledger.head) {
            return Ok(());
        }
        if let Loaded::New(loaded) = load(self.bucket, self.repository, None)? {
            let base_url = &local.state.snapshot.base_url;
            store.ledger(|own| Difference::find(self.bucket, &loaded, own, base_url))?;
        }
        bail!(Overtaken(self.bucket.object(self.repository)))
    }

    /// Uploads everything that the state names and the bucket lacks, and the state itself.
    fn upload(
        &self,
        local: &Local,
        store: &RepositoryStore,
        current: Option<&CurrentRoot>,
        is_conditional: bool,
    ) -> anyhow::Result<(StateObject, Sent)> {
        let before = current.map(|current| read_state(self.bucket, &current.root)).transpose()?;
        let (packs, contents, pack) = packs::divide(before.as_ref(), &local.contents)?;
        let ledger = local.segments(before.as_ref())?;
        let state = PublishedState { ledger, packs, contents, ..local.state.clone() };
        let archives = self.archives(&state, store, before.as_ref());
        let mut small = self.ledger(&state, local, before.as_ref())?;
        small.extend(pack.map(|pack| {
            let stored = StoredFile::of(&pack);
            wanted(pack_key(self.repository, stored), stored, Source::Bytes(pack))
        }));
        // The state itself is the last one.
        let objects = (archives.len() + small.len() + 1) as u64;
        (self.observer)(UploadEvent::Begun { objects });
        // The half leaves room for clocks that differ.
        let (old, observer) = (self.grace / 2, self.observer);
        let uploader = Uploader { bucket: self.bucket, is_conditional, old, observer };
        let mut sent = Sent::default();
        for wanted in [archives, small] {
            sent += uploader.upload_all(&wanted)?;
        }
        let bytes = Bytes::from(serde_json::to_vec(&state)?);
        let stored = StoredFile::of(&bytes);
        let object = StateObject { number: local.number(), sha256: stored.sha256, size: stored.size };
        let state = wanted(object.key(self.repository), stored, Source::Bytes(bytes));
        sent += uploader.upload_all(&[state])?;
        Ok((object, sent))
    }

    /// The archives that are new, and their compressed copies.
    fn archives(
        &self,
        state: &PublishedState,
        store: &RepositoryStore,
        before: Option<&PublishedState>,
    ) -> Vec<Wanted> {
        let headers = UploadHeaders {
            content_type: Some("application/zip"),
            content_encoding: None,
            cache_control: Some(match self.is_private {
                true => "private, max-age=31536000, immutable",
                false => "public, max-age=31536000, immutable, no-transform",
            }),
        };
        let known = before.map(|before| known_archives(before, store)).unwrap_or_default();
        let archives = served(store, &state.snapshot, u64::MAX);
        let new = archives.iter().filter(|release| !known.contains(&release.path()));
        let archive = |release: &Release| Wanted {
            headers,
            is_named_by_digest: false,
            ..wanted(
                archive_key(self.repository, &release.path()),
                StoredFile { sha256: release.sha256, size: release.size },
                Source::File(store.archive(release)),
            )
        };
        let mut all: Vec<_> = new.map(archive).collect();
        let known = before.map(|before| &before.variants);
        for (original, variants) in &state.variants {
            let known = known.and_then(|known| known.get(original)).map_or(&[][..], Vec::as_slice);
            let is_object = |variant: &&StoredVariant| !state.contents.contains_key(&variant.sha256);
            for variant in variants.iter().filter(is_object).filter(|variant| !known.contains(variant)) {
                let headers = UploadHeaders { content_encoding: Some(variant.coding.name()), ..headers };
                let stored = StoredFile { sha256: variant.sha256, size: variant.size };
                let file = store.variant_file(*original, variant.sha256, variant.coding);
                let key = variant.key(self.repository, *original);
                all.push(Wanted { headers, ..wanted(key, stored, Source::File(file)) });
            }
        }
        all
    }

    /// The lines of the ledger that are new.
    fn ledger(
        &self,
        state: &PublishedState,
        local: &Local,
        before: Option<&PublishedState>,
    ) -> anyhow::Result<Vec<Wanted>> {
        let mut all = Vec::new();
        let mut begin = 0;
        for segment in &state.ledger {
            let end = begin + usize::try_from(segment.size)?;
            let is_known = before.is_some_and(|before| before.ledger.contains(segment));
            if !is_known {
                let stored = StoredFile { sha256: segment.sha256, size: segment.size };
                let bytes = local.ledger.slice(begin..end);
                all.push(wanted(segment.key(self.repository), stored, Source::Bytes(bytes)));
            }
            begin = end;
        }
        Ok(all)
    }
}

fn published(current: &CurrentRoot, sent: Sent) -> Published {
    Published { sequence: current.root.sequence, snapshot: current.root.snapshot.number, sent }
}

fn wanted(key: String, stored: StoredFile, source: Source) -> Wanted {
    let StoredFile { sha256, size } = stored;
    Wanted { key, sha256, size, source, headers: UploadHeaders::default(), is_named_by_digest: true }
}

/// The releases among the first `lines` whose archives a snapshot serves, each archive once.
fn served(store: &RepositoryStore, manifest: &SnapshotManifest, lines: u64) -> Vec<Release> {
    let is_served = |release: &Release| release.number <= lines && manifest.serves(release);
    store.ledger(|ledger| ledger.archives(is_served).map(|(release, _)| release.clone()).collect())
}

/// The archives that a state names, which are in the bucket.
fn known_archives(state: &PublishedState, store: &RepositoryStore) -> BTreeSet<String> {
    let lines = state.ledger.last().map_or(0, |segment| segment.last);
    let archives = served(store, &state.snapshot, lines).into_iter();
    // A rendition has the number of its line, which does not tell whether it is new.
    let is_of_line = |release: &Release| {
        store
            .ledger(|ledger| ledger.release(release.number).is_some_and(|line| line.path() == release.path()))
    };
    archives.filter(is_of_line).map(|release| release.path()).collect()
}

/// What is on the volume.
struct Local {
    /// Without ledger and packs, whose division depends on what is published.
    state: PublishedState,
    digest: Sha256,
    /// All lines.
    ledger: Bytes,
    end: LedgerEnd,
    /// The files of the snapshot, its report, its render cache, the records, and compressed copies of metadata.
    contents: BTreeMap<Sha256, Wanted>,
}

impl Local {
    fn read(store: &RepositoryStore, repository: &str) -> anyhow::Result<Option<Self>> {
        // First the snapshot, since the ledger only grows.
        let Some(snapshot) = store.newest_snapshot()? else {
            return Ok(None);
        };
        let manifest = &snapshot.manifest;
        let lines = store.ledger(Ledger::len);
        let (path, size, _) = store.ledger_file(lines)?;
        let mut ledger = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        ledger.truncate(usize::try_from(size)?);
        let head = store.ledger(|ledger| ledger.head_at(lines)).context("the ledger has no such line")?;
        let end = LedgerEnd { lines, head };
        let mut contents = Contents::default();
        for (path, file) in &manifest.files {
            let stored = StoredFile { sha256: file.sha256, size: file.size };
            contents.add(stored, Source::File(snapshot.folder.join(path)));
        }
        contents.add_bytes(snapshot.report()?);
        if let Some(bytes) = snapshot.render_cache() {
            contents.add_bytes(bytes);
        }
        let mut records = BTreeMap::new();
        for name in RECORDS {
            let path = store.root().join(name);
            match fs::read(&path) {
                Ok(bytes) => {
                    records.insert(name.to_owned(), contents.add_bytes(bytes));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("failed to read `{}`", path.display()));
                }
            }
        }
        let variants = variants(store, manifest)?;
        for original in manifest.files.values().map(|file| file.sha256) {
            for variant in variants.get(&original).into_iter().flatten() {
                let stored = StoredFile { sha256: variant.sha256, size: variant.size };
                let file = store.variant_file(original, variant.sha256, variant.coding);
                contents.add(stored, Source::File(file));
            }
        }
        let state = PublishedState {
            format: FORMAT,
            repository: repository.to_owned(),
            snapshot: (**manifest).clone(),
            ledger: Vec::new(),
            packs: Vec::new(),
            contents: BTreeMap::new(),
            variants,
            records,
        };
        let digest = state.digest(end)?;
        Ok(Some(Self { state, digest, ledger: ledger.into(), end, contents: contents.0 }))
    }

    fn number(&self) -> u64 {
        self.state.snapshot.number
    }

    /// The ledger in objects: those that are published and one with what is new, or a single one when they are many.
    fn segments(&self, before: Option<&PublishedState>) -> anyhow::Result<Vec<Segment>> {
        let known = before.map_or(&[][..], |before| &before.ledger);
        let mut segments = if known.len() < MAX_SEGMENTS { known.to_vec() } else { Vec::new() };
        let begin = usize::try_from(segments.iter().map(|segment| segment.size).sum::<u64>())?;
        let rest = self.ledger.get(begin..).context("the ledger is shorter than what is published")?;
        if !rest.is_empty() {
            let first = segments.last().map_or(1, |segment| segment.last + 1);
            segments.push(Segment {
                first,
                last: self.end.lines,
                sha256: Sha256::digest(rest),
                size: rest.len() as u64,
            });
        }
        Ok(segments)
    }
}

/// Contents by their digests.
#[derive(Default)]
struct Contents(BTreeMap<Sha256, Wanted>);

impl Contents {
    fn add(&mut self, stored: StoredFile, source: Source) {
        self.0.entry(stored.sha256).or_insert_with(|| wanted(String::new(), stored, source));
    }

    fn add_bytes(&mut self, bytes: Vec<u8>) -> StoredFile {
        let stored = StoredFile::of(&bytes);
        self.add(stored, Source::Bytes(bytes.into()));
        stored
    }
}

/// The compressed copies of what the snapshot serves.
fn variants(
    store: &RepositoryStore,
    manifest: &SnapshotManifest,
) -> anyhow::Result<BTreeMap<Sha256, Vec<StoredVariant>>> {
    let variants = store.variants()?;
    let metadata = manifest.files.values().map(|file| file.sha256);
    let archives = served(store, manifest, u64::MAX).into_iter().map(|release| release.sha256);
    let mut found = BTreeMap::new();
    for sha256 in metadata.chain(archives) {
        let mut stored: Vec<StoredVariant> = variants.get(sha256).iter().map(StoredVariant::from).collect();
        if !stored.is_empty() {
            stored.sort_by_key(|variant| (variant.coding, variant.sha256));
            found.insert(sha256, stored);
        }
    }
    Ok(found)
}
