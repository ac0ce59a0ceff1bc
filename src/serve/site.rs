//! The routing table: each public URL path and what it answers, as one immutable value.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use memmap2::Mmap;

use crate::digest::Sha256;

/// Bodies up to this size are kept in memory, larger ones are mapped when they are asked for.
const IN_MEMORY: u64 = 1 << 20;

/// What kind of thing a URL names; decides media type and caching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Changes with a publication: `packages.json`, `p2/…`.
    Metadata,
    /// Named by its digest: `include/all$….json`.
    AddressedMetadata,
    Archive,
}

/// A public file before it is in the table.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Below the repository's base path.
    pub path: String,
    pub file: PathBuf,
    /// Bytes.
    pub size: u64,
    pub sha256: Sha256,
    /// Seconds since 1970.
    pub last_modified: i64,
    pub kind: Kind,
}

/// A repository's part of the table.
#[derive(Debug, Clone)]
pub struct RepositorySite {
    /// Begins and ends with a slash.
    pub base_path: String,
    pub resources: Vec<Resource>,
}

/// What a URL answers.
#[derive(Debug)]
pub struct Page {
    pub kind: Kind,
    pub etag: String,
    pub last_modified: String,
    pub size: u64,
    file: PathBuf,
    memory: Option<Bytes>,
}

/// Everything that is published.
#[derive(Debug)]
pub struct Site {
    pages: HashMap<String, Page>,
}

impl Site {
    /// Builds the table and reads small bodies into memory.
    ///
    /// # Errors
    /// A file of metadata that cannot be read.
    pub fn new(repositories: Vec<RepositorySite>) -> anyhow::Result<Self> {
        let mut pages = HashMap::new();
        for repository in repositories {
            for resource in repository.resources {
                let path = format!("{}{}", repository.base_path, resource.path);
                pages.insert(path, Page::new(resource)?);
            }
        }
        Ok(Self { pages })
    }

    /// What a decoded path answers.
    pub fn find(&self, path: &str) -> Option<&Page> {
        self.pages.get(path)
    }
}

impl Page {
    fn new(resource: Resource) -> anyhow::Result<Self> {
        let seconds = u64::try_from(resource.last_modified).unwrap_or(0);
        let small = resource.kind != Kind::Archive && resource.size <= IN_MEMORY;
        let mut page = Self {
            kind: resource.kind,
            etag: format!("\"{}\"", resource.sha256),
            last_modified: httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds)),
            size: resource.size,
            file: resource.file,
            memory: None,
        };
        if small {
            let body = std::fs::read(&page.file)
                .with_context(|| format!("failed to read `{}`", page.file.display()))?;
            page.memory = Some(body.into());
        }
        Ok(page)
    }

    /// The file behind it, for messages.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The body.
    ///
    /// # Errors
    /// A file that cannot be opened or is not of the size that was published.
    pub fn body(&self) -> io::Result<Bytes> {
        if let Some(body) = &self.memory {
            return Ok(body.clone());
        }
        let file = File::open(&self.file)?;
        // SAFETY: published files are read-only and are never truncated or changed in place, only linked and removed.
        let map = unsafe { Mmap::map(&file)? };
        if map.len() as u64 != self.size {
            return Err(io::Error::other(format!(
                "it has {} bytes, {} were published",
                map.len(),
                self.size
            )));
        }
        Ok(Bytes::from_owner(map))
    }
}
