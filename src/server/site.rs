//! The table of everything that is published: URL path to file, size, digest and date.
//!
//! Immutable once built, and valid: paths are unique, dates can be printed, and what is held in memory has the
//! digest that the table states. Finding an entry is `route`'s part, answering with it `respond`'s.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use foldhash::fast::RandomState;
use hyper::header::{CONTENT_LENGTH, HeaderName};

use super::conditional::Validators;
use super::content_kind::ContentKind;
use super::integrity::Integrity;
use super::reply::Header;
use super::router::{Route, is_below, is_plain, route};
use super::search::Queried;
use crate::util::compression::Coding;
use crate::util::digest::Sha256;

/// Larger bodies stay on disk and are mapped when asked for.
const IN_MEMORY: u64 = 8 << 20;

/// So many files stay mapped; the kernel allows a process twice as many mappings (`vm.max_map_count`). Of larger sites
/// none does.
const MAPPED: usize = 32 << 10;

/// The first second that an HTTP date cannot print: the year 10000.
const END_OF_DATES: i64 = 253_402_300_800;

/// One repository to publish.
pub struct RepositorySite {
    /// What it is, wherever it is served: it says who may read it.
    pub name: String,
    /// Where it is served: `/`, or a path such as `/mirror/`, decoded, with both slashes.
    pub base_path: String,
    /// Empty while the repository has no snapshot yet: then everything below its base is answered 503. `None` for what was
    /// published there before of the same repository.
    pub resources: Option<Vec<Resource>>,
}

/// One file to publish.
pub struct Resource {
    /// The URL path below the base, decoded and without a leading slash: `p2/magento/framework.json`.
    /// `index.html` also answers for its folder.
    pub path: String,
    /// The file on disk. It may be replaced by rename, but is never written in place, except that a
    /// [`ContentKind::Ledger`] may grow at its end.
    pub file: PathBuf,
    /// The length of the published bytes.
    pub size: u64,
    pub sha256: Sha256,
    /// In Unix seconds.
    pub last_modified: i64,
    pub kind: ContentKind,
    /// The same in other codings, as far as they exist.
    pub variants: Vec<Variant>,
}

/// A file that holds a resource in another coding. It may vanish at any time: then the resource itself is served.
pub struct Variant {
    pub coding: Coding,
    pub file: PathBuf,
    pub size: u64,
    pub sha256: Sha256,
}

/// Everything that is published, immutable.
pub struct Site {
    /// The longest base first.
    pub(super) repositories: Vec<Repository>,
}

pub(super) struct Repository {
    pub(super) name: Box<str>,
    pub(super) base: Box<str>,
    /// Nobody chooses what is in it by its hash: a name that an upstream gives is one of few.
    pub(super) entries: Arc<HashMap<Box<str>, Entry, RandomState>>,
    /// Whether every URL below the base, and it, is decoded what it is as it stands.
    pub(super) is_plain: bool,
    is_as_before: bool,
}

/// What the table knows of one URL.
pub(super) struct Entry {
    pub(super) kind: ContentKind,
    /// The published bytes themselves.
    pub(super) identity: Representation,
    pub(super) variants: Box<[(Coding, Representation)]>,
    /// What queries are put to.
    pub(super) queried: Option<Box<(Queried, i64)>>,
}

/// One sequence of bytes that a URL can answer with.
pub(super) struct Representation {
    pub(super) integrity: Integrity,
    pub(super) size: u64,
    pub(super) content: Content,
    /// What is said of it in each answer.
    pub(super) validators: Validators,
    described: Header,
}

pub(super) enum Content {
    Memory(Arc<Bytes>),
    Disk(Arc<Path>),
}

impl Site {
    /// Builds the table, and reads into memory what is asked for often; blocks on the disk.
    ///
    /// # Errors
    ///
    /// When a base path is not one, when two repositories or two resources claim one URL, when a date is beyond
    /// HTTP's dates.
    pub fn new(repositories: impl IntoIterator<Item = RepositorySite>) -> Result<Self> {
        let repositories: Vec<_> = repositories.into_iter().collect();
        let resources = repositories
            .iter()
            .flat_map(|repository| &repository.resources)
            .flatten();
        let files: usize = resources.map(|resource| 1 + resource.variants.len()).sum();
        let keeps = files <= MAPPED;
        let mut repositories = repositories
            .into_iter()
            .map(|repository| Repository::new(repository, keeps))
            .collect::<Result<Vec<_>>>()?;
        repositories.sort_by(|a, b| b.base.len().cmp(&a.base.len()).then_with(|| a.base.cmp(&b.base)));
        if let Some(pair) = repositories.windows(2).find(|pair| pair[0].base == pair[1].base) {
            bail!(
                "failed to publish `{}`: two repositories are served there",
                pair[0].base
            );
        }
        Ok(Self { repositories })
    }

    /// Whether there is something at the path of a URL, still encoded.
    pub fn answers(&self, path: &str) -> bool {
        matches!(route(self, path), Route::Found(..))
    }

    /// Whether any repository has a snapshot.
    pub fn is_published(&self) -> bool {
        self.repositories.iter().any(Repository::is_published)
    }

    /// The name of the repository that a decoded path belongs to.
    pub(super) fn owner(&self, path: &str) -> Option<&str> {
        let mut repositories = self.repositories.iter();
        let owner = repositories.find(|repository| is_below(&repository.base, path))?;
        Some(&owner.name)
    }
}

impl Site {
    /// Takes over what is known of the files that were published before and still are.
    pub(super) fn take_over(&mut self, before: &Site) {
        for repository in &mut self.repositories {
            let same = before.repositories.iter().find(|r| r.base == repository.base);
            let Some(same) = same else { continue };
            if repository.is_as_before && repository.name == same.name {
                repository.entries = Arc::clone(&same.entries);
                repository.is_plain = same.is_plain;
            }
            // Nobody else has those that are new.
            for (path, entry) in Arc::get_mut(&mut repository.entries).into_iter().flatten() {
                if let Some(before) = same.entries.get(path) {
                    entry.take_over(before);
                }
            }
        }
    }
}

impl Repository {
    fn new(repository: RepositorySite, keeps: bool) -> Result<Self> {
        let RepositorySite {
            name,
            base_path,
            resources,
        } = repository;
        ensure!(
            base_path.starts_with('/') && base_path.ends_with('/') && !base_path.contains("//"),
            "failed to publish `{base_path}`: a base path begins and ends with one slash"
        );
        let (is_as_before, resources) = (resources.is_none(), resources.unwrap_or_default());
        let mut entries = HashMap::with_capacity_and_hasher(resources.len(), RandomState::default());
        for resource in resources {
            let path = resource.path.clone().into_boxed_str();
            let entry = Entry::new(resource, keeps)
                .with_context(|| format!("failed to publish `{base_path}{path}`"))?;
            match entries.entry(path) {
                Slot::Vacant(free) => free.insert(entry),
                Slot::Occupied(taken) => {
                    let path = taken.key();
                    bail!("failed to publish `{base_path}{path}`: the snapshot names it twice")
                }
            };
        }
        let are_plain = |path: &str| !path.starts_with('/') && is_plain(path);
        Ok(Self {
            name: name.into_boxed_str(),
            is_plain: is_plain(&base_path) && entries.keys().all(|path| are_plain(path)),
            base: base_path.into_boxed_str(),
            entries: Arc::new(entries),
            is_as_before,
        })
    }

    pub(super) fn is_published(&self) -> bool {
        !self.entries.is_empty()
    }
}

impl Entry {
    fn new(resource: Resource, keeps: bool) -> Result<Self> {
        let Resource {
            file,
            size,
            sha256,
            last_modified,
            kind,
            variants,
            ..
        } = resource;
        ensure!(
            (0..END_OF_DATES).contains(&last_modified),
            "`{last_modified}` is not a date of HTTP"
        );
        let made = |file, size, sha256| {
            let content = Content::of(kind, file, size, sha256);
            Representation::new(
                content,
                size,
                Integrity::new(sha256, keeps),
                sha256,
                last_modified,
            )
        };
        let identity = made(file, size, sha256);
        let queried = match &identity.content {
            Content::Memory(bytes) => Queried::parse(kind, bytes).unwrap_or_else(|error| {
                tracing::warn!("answering every query with all: {error:#}");
                None
            }),
            Content::Disk(_) => None,
        };
        let variant = |variant: Variant| (variant.coding, made(variant.file, variant.size, variant.sha256));
        Ok(Self {
            kind,
            identity,
            variants: variants.into_iter().map(variant).collect(),
            queried: queried.map(|queried| Box::new((queried, last_modified))),
        })
    }

    /// The part that a query takes, for this answer only; none if it takes everything. Its date is that of the whole:
    /// it may move where the part does not, but never stays where the part moves.
    pub(super) fn part(&self, query: Option<&str>) -> Option<Self> {
        let (queried, last_modified) = self.queried.as_deref()?;
        let bytes = queried.answer(query?)?;
        Some(Self::in_memory(self.kind, bytes, *last_modified))
    }

    /// Whether it is of these bytes.
    pub(super) fn is_in_memory(&self, bytes: &[u8]) -> bool {
        matches!(&self.identity.content, Content::Memory(known) if ***known == *bytes)
    }

    pub(super) fn in_memory(kind: ContentKind, bytes: Vec<u8>, last_modified: i64) -> Self {
        let (sha256, size) = (Sha256::digest(&bytes), bytes.len() as u64);
        let (content, integrity) = (
            Content::Memory(Arc::new(bytes.into())),
            Integrity::new(sha256, false),
        );
        Self {
            kind,
            identity: Representation::new(content, size, integrity, sha256, last_modified),
            variants: Box::default(),
            queried: None,
        }
    }
}

impl Entry {
    fn take_over(&mut self, before: &Entry) {
        self.identity.take_over(&before.identity);
        for (coding, variant) in &mut self.variants {
            let same = before.variants.iter().find(|(of, _)| of == coding);
            if let Some((_, before)) = same {
                variant.take_over(before);
            }
        }
    }
}

impl Representation {
    fn take_over(&mut self, before: &Representation) {
        if let (Content::Disk(file), Content::Disk(known)) = (&self.content, &before.content)
            && file == known
            && self.integrity.is_of(&before.integrity)
        {
            self.integrity = before.integrity.clone();
        }
    }

    pub(super) fn new(
        content: Content,
        size: u64,
        integrity: Integrity,
        sha256: Sha256,
        last_modified: i64,
    ) -> Self {
        Self {
            integrity,
            size,
            content,
            validators: Validators::new(sha256, last_modified),
            described: described(sha256, size),
        }
    }

    /// The fields with the digest and with the length, for an answer with all of it.
    pub(super) fn described(&self) -> &str {
        self.described.lines()
    }

    /// The first of these.
    pub(super) fn repr_digest(&self) -> &str {
        let mut lines = self.described.lines().split_inclusive('\n');
        lines.next().unwrap_or_default()
    }
}

impl Content {
    /// What is asked for often in memory, unless it is large, or damaged: then every request finds that out again.
    fn of(kind: ContentKind, file: PathBuf, size: u64, sha256: Sha256) -> Self {
        if !kind.is_asked_often() || size > IN_MEMORY {
            return Self::Disk(file.into());
        }
        match read(&file, size, sha256) {
            Ok(bytes) => Self::Memory(Arc::new(bytes)),
            Err(error) => {
                tracing::error!("a file is damaged and is read again for each request: {error:#}");
                Self::Disk(file.into())
            }
        }
    }
}

/// RFC 9530: of the representation as it is coded, whatever part of it is sent.
fn described(sha256: Sha256, size: u64) -> Header {
    let mut lines = Header::default();
    let digest = STANDARD.encode(sha256.0);
    lines.add(
        HeaderName::from_static("repr-digest"),
        format_args!("sha-256=:{digest}:"),
    );
    lines.add(CONTENT_LENGTH, size);
    lines
}

fn read(file: &Path, size: u64, sha256: Sha256) -> Result<Bytes> {
    let body = std::fs::read(file).with_context(|| format!("failed to read `{}`", file.display()))?;
    ensure!(
        body.len() as u64 == size && Sha256::digest(&body) == sha256,
        "failed to load `{}`: these are not the {size} bytes with SHA-256 {sha256} that were published",
        file.display()
    );
    Ok(body.into())
}
