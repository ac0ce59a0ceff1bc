//! The table of everything that is published: URL path to file, size, digest and date.
//!
//! Immutable once built, and valid: paths are unique, dates can be printed, and what is held in memory has the
//! published digest. `router` finds an entry, `file_response` answers with it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use foldhash::fast::RandomState;
use hyper::header::HeaderValue;

use super::conditional::{Validators, header_value};
use super::content_kind::ContentKind;
use super::integrity::Integrity;
use super::search::SearchIndex;
use super::stored_object::StoredObject;
use super::url_path::is_below;
use crate::util::compression::Coding;
use crate::util::digest::Sha256;

/// Larger files are not kept in memory.
const MAX_IN_MEMORY: u64 = 8 << 20;

/// The first second that an HTTP date cannot print: the year 10000.
const END_OF_DATES: i64 = 253_402_300_800;

/// What followers of a repository copy in addition to its ledger. Its digest is sent with the ledger, so that one request shows
/// whether anything is new.
const FOLLOW_STATE: &str = "follow.json";

/// One repository to publish.
pub struct RepositorySite {
    /// Identifies the repository, whatever its URL: the name decides who may read it.
    pub name: String,
    /// Where it is served: `/`, or a path such as `/mirror/`, decoded, with both slashes.
    pub base_path: String,
    /// Empty while the repository has no snapshot yet: then everything below its base is answered 503. `None` keeps what
    /// the same repository published there before.
    pub resources: Option<Vec<Resource>>,
    /// The paths of withdrawn archives, as in [`Resource::path`], each with the text of its 410.
    pub gone: Vec<(String, String)>,
}

/// One file to publish.
pub struct Resource {
    /// The URL path below the base, decoded and without a leading slash: `p2/magento/framework.json`.
    /// `index.html` also answers for its folder.
    pub path: String,
    pub location: Location,
    /// The length of the published bytes.
    pub size: u64,
    pub sha256: Sha256,
    /// In Unix seconds.
    pub last_modified: i64,
    pub kind: ContentKind,
    /// The existing copies in other codings.
    pub variants: Vec<Variant>,
}

/// A resource in another coding. It may vanish at any time: then the resource itself is served.
pub struct Variant {
    pub coding: Coding,
    pub location: Location,
    pub size: u64,
    pub sha256: Sha256,
}

/// Where published bytes are.
#[derive(Clone)]
pub enum Location {
    /// A file on disk. It may be replaced by rename, but is never written in place, except that a
    /// [`ContentKind::Ledger`] may grow at its end.
    File(PathBuf),
    /// Bytes that were compared with their digest.
    Memory(Bytes),
    Object(StoredObject),
}

impl From<PathBuf> for Location {
    fn from(file: PathBuf) -> Self {
        Self::File(file)
    }
}

/// Everything that is published, immutable.
pub struct Site {
    /// The longest base first.
    pub(super) repositories: Vec<ServedRepository>,
}

pub(super) struct ServedRepository {
    pub(super) name: Box<str>,
    pub(super) base: Box<str>,
    pub(super) entries: Arc<HashMap<Box<str>, Entry, RandomState>>,
    /// The text of the 410 by path.
    pub(super) gone: Arc<HashMap<Box<str>, String, RandomState>>,
    /// Whether the entries are those of the previous site.
    unchanged: bool,
}

/// What is published at one URL.
pub(super) struct Entry {
    pub(super) kind: ContentKind,
    /// The published bytes themselves.
    pub(super) identity: Representation,
    pub(super) variants: Box<[(Coding, Representation)]>,
    /// The index for queries on `search.json` and `list.json`, and the date of the whole file.
    pub(super) search: Option<Box<(SearchIndex, i64)>>,
    /// Of the ledger: the digest of the state that belongs to it.
    pub(super) state: Option<HeaderValue>,
}

/// The bytes of an entry in one content coding.
pub(super) struct Representation {
    pub(super) integrity: Integrity,
    pub(super) content: ResourceContent,
    /// In Unix seconds.
    last_modified: i64,
}

pub(super) enum ResourceContent {
    Memory(Bytes),
    Disk(Arc<Path>),
    Object(StoredObject),
}

impl Site {
    /// Builds the table, and reads frequently requested files into memory; blocks on the disk.
    /// Fails when a base path is malformed, when two repositories or two resources claim one URL, or when HTTP cannot
    /// express a date.
    pub fn new(repositories: impl IntoIterator<Item = RepositorySite>) -> Result<Self> {
        let mut repositories =
            repositories.into_iter().map(ServedRepository::new).collect::<Result<Vec<_>>>()?;
        repositories.sort_by(|a, b| b.base.len().cmp(&a.base.len()).then_with(|| a.base.cmp(&b.base)));
        if let Some(pair) = repositories.windows(2).find(|pair| pair[0].base == pair[1].base) {
            bail!("failed to publish `{}`: two repositories are served there", pair[0].base);
        }
        Ok(Self { repositories })
    }

    /// Whether any repository has a snapshot.
    pub fn is_published(&self) -> bool {
        self.repositories.iter().any(ServedRepository::is_published)
    }

    /// The state that is sent with the ledger of a repository.
    pub(super) fn follow_state(&self, name: &str) -> Option<String> {
        let repository = self.repositories.iter().find(|repository| &*repository.name == name)?;
        let state = repository.entries.get("ledger.jsonl")?.state.as_ref()?;
        state.to_str().ok().map(str::to_owned)
    }

    /// The name of the repository that a decoded path belongs to.
    pub(super) fn owner(&self, path: &str) -> Option<&str> {
        let mut repositories = self.repositories.iter();
        let owner = repositories.find(|repository| is_below(&repository.base, path))?;
        Some(&owner.name)
    }

    /// Takes over what the previous site knows of files that are still published.
    pub(super) fn reuse_from(&mut self, before: &Site) {
        for repository in &mut self.repositories {
            let same = before.repositories.iter().find(|r| r.base == repository.base);
            let Some(same) = same else { continue };
            if repository.unchanged && repository.name == same.name {
                repository.entries = Arc::clone(&same.entries);
                repository.gone = Arc::clone(&same.gone);
            }
            // Entries that are new are not shared yet.
            for (path, entry) in Arc::get_mut(&mut repository.entries).into_iter().flatten() {
                if let Some(before) = same.entries.get(path) {
                    entry.reuse_from(before);
                }
            }
        }
    }
}

/// Checks the files of one repository, so that a fault in them does not concern the others.
///
/// # Errors
/// Two have the same path, or HTTP cannot express a date.
pub fn check_resources(resources: &[Resource]) -> Result<()> {
    let mut paths = HashSet::with_capacity(resources.len());
    for Resource { path, last_modified, .. } in resources {
        ensure!(paths.insert(path), "the snapshot names `{path}` twice");
        ensure!(
            (0..END_OF_DATES).contains(last_modified),
            "`{path}` is of {last_modified}, which is not a date of HTTP"
        );
    }
    Ok(())
}

impl ServedRepository {
    fn new(repository: RepositorySite) -> Result<Self> {
        let RepositorySite { name, base_path, resources, gone } = repository;
        ensure!(
            base_path.starts_with('/') && base_path.ends_with('/') && !base_path.contains("//"),
            "failed to publish `{base_path}`: a base path begins and ends with one slash"
        );
        let (unchanged, resources) = (resources.is_none(), resources.unwrap_or_default());
        check_resources(&resources).with_context(|| format!("failed to publish `{base_path}`"))?;
        let state = resources.iter().find(|resource| resource.path == FOLLOW_STATE);
        let state = state.map(|resource| header_value(resource.sha256.to_string()));
        let entry = |resource: Resource| (resource.path.clone().into_boxed_str(), Entry::new(resource));
        let mut entries: HashMap<_, _, _> = resources.into_iter().map(entry).collect();
        let ledgers = entries.values_mut().filter(|entry| entry.kind == ContentKind::Ledger);
        ledgers.for_each(|ledger| ledger.state.clone_from(&state));
        Ok(Self {
            name: name.into_boxed_str(),
            base: base_path.into_boxed_str(),
            entries: Arc::new(entries),
            gone: Arc::new(gone.into_iter().map(|(path, text)| (path.into_boxed_str(), text)).collect()),
            unchanged,
        })
    }

    pub(super) fn is_published(&self) -> bool {
        !self.entries.is_empty()
    }
}

impl Entry {
    fn new(resource: Resource) -> Self {
        let Resource { location, size, sha256, last_modified, kind, variants, .. } = resource;
        let representation = |location, size, sha256| {
            let content = ResourceContent::load(kind, location, size, sha256);
            Representation::new(content, size, sha256, last_modified)
        };
        let identity = representation(location, size, sha256);
        let search = match &identity.content {
            ResourceContent::Memory(bytes) => SearchIndex::parse(kind, bytes).unwrap_or_else(|error| {
                tracing::warn!("answering every query with the whole file: {error:#}");
                None
            }),
            ResourceContent::Disk(_) | ResourceContent::Object(_) => None,
        };
        let variant = |variant: Variant| {
            (variant.coding, representation(variant.location, variant.size, variant.sha256))
        };
        Self {
            kind,
            identity,
            variants: variants.into_iter().map(variant).collect(),
            search: search.map(|search| Box::new((search, last_modified))),
            state: None,
        }
    }

    /// The part that a query selects, or `None` if it selects everything. Its date is that of the whole, which changes
    /// whenever the part does.
    pub(super) fn search(&self, query: Option<&str>) -> Option<Self> {
        let (index, last_modified) = self.search.as_deref()?;
        let bytes = index.answer(query?)?;
        Some(Self::in_memory(self.kind, bytes, *last_modified))
    }

    /// The bytes, if they are in memory.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match &self.identity.content {
            ResourceContent::Memory(bytes) => Some(bytes),
            ResourceContent::Disk(_) | ResourceContent::Object(_) => None,
        }
    }

    /// Whether these are its bytes.
    pub(super) fn has_bytes(&self, bytes: &[u8]) -> bool {
        self.bytes() == Some(bytes)
    }

    pub(super) fn in_memory(kind: ContentKind, bytes: Vec<u8>, last_modified: i64) -> Self {
        let (sha256, size) = (Sha256::digest(&bytes), bytes.len() as u64);
        let content = ResourceContent::Memory(bytes.into());
        Self {
            kind,
            identity: Representation::new(content, size, sha256, last_modified),
            variants: Box::default(),
            search: None,
            state: None,
        }
    }

    fn reuse_from(&mut self, before: &Entry) {
        self.identity.reuse_from(&before.identity);
        for (coding, variant) in &mut self.variants {
            let same = before.variants.iter().find(|(of, _)| of == coding);
            if let Some((_, before)) = same {
                variant.reuse_from(before);
            }
        }
    }
}

impl Representation {
    fn reuse_from(&mut self, before: &Representation) {
        if let (ResourceContent::Disk(file), ResourceContent::Disk(known)) = (&self.content, &before.content)
            && file == known
            && self.integrity.is_same(&before.integrity)
        {
            self.integrity = before.integrity.clone();
        }
    }

    fn new(content: ResourceContent, size: u64, sha256: Sha256, last_modified: i64) -> Self {
        Self { integrity: Integrity::new(size, sha256), content, last_modified }
    }

    pub(super) fn size(&self) -> u64 {
        self.integrity.size()
    }

    /// Made for each response, because there are many more representations than requests for most of them.
    pub(super) fn validators(&self) -> Validators {
        Validators::new(self.integrity.sha256(), self.last_modified)
    }

    /// RFC 9530: the digest of all of it, encoded as it is, whatever part is sent.
    pub(super) fn repr_digest(&self) -> HeaderValue {
        header_value(format!("sha-256=:{}:", STANDARD.encode(self.integrity.sha256().0)))
    }
}

impl ResourceContent {
    /// Reads frequently requested files into memory, unless they are large or damaged. A damaged file stays on the disk,
    /// where each request checks it again.
    fn load(kind: ContentKind, location: Location, size: u64, sha256: Sha256) -> Self {
        let file = match location {
            Location::File(file) => file,
            Location::Memory(bytes) => return Self::Memory(bytes),
            Location::Object(object) => return Self::Object(object),
        };
        if !kind.keep_in_memory() || size > MAX_IN_MEMORY {
            return Self::Disk(file.into());
        }
        match read(&file, size, sha256) {
            Ok(bytes) => Self::Memory(bytes),
            Err(error) => {
                tracing::error!("{error:#}");
                Self::Disk(file.into())
            }
        }
    }
}

fn read(file: &Path, size: u64, sha256: Sha256) -> Result<Bytes> {
    let body = std::fs::read(file).with_context(|| format!("failed to read `{}`", file.display()))?;
    ensure!(
        body.len() as u64 == size && Sha256::digest(&body) == sha256,
        "failed to load `{}`: it does not have the published {size} bytes with SHA-256 {sha256}",
        file.display()
    );
    Ok(body.into())
}
