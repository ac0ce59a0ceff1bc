//! How metadata was made: what the next publication takes over instead of making it again. It is kept with the snapshot,
//! is no part of what is published, and may be lost: then everything is made again.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::PackageSummary;
use crate::util::digest::Sha256;

/// Where the versions of packages are in a file, in bytes.
pub(super) type Ranges = BTreeMap<String, Range<usize>>;

/// How the metadata and the pages of a snapshot were made.
#[derive(Debug, Serialize, Deserialize)]
pub struct RenderCache {
    /// The digest of everything but the packages that had a part in it, the program among that.
    pub by: Sha256,
    pub packages: BTreeMap<String, CachedPackage>,
    pub places: ByteRanges,
}

/// What is known of a package.
#[derive(Debug, Serialize, Deserialize)]
pub struct CachedPackage {
    pub summary: PackageSummary,
    /// The digest of what its page says of other packages.
    pub around: Sha256,
}

/// Where the versions of each package are in the files that all share.
#[derive(Debug, Serialize, Deserialize)]
pub struct ByteRanges {
    /// The path of the include.
    pub include: String,
    pub(super) in_include: Ranges,
    /// In packages.json, where that has them.
    pub(super) in_root: Ranges,
}

/// The publication before.
pub struct PreviousRender {
    made: RenderCache,
    include: Vec<u8>,
    root: Vec<u8>,
}

impl PreviousRender {
    /// From its parts; `read` answers a public file.
    pub fn new<E>(made: RenderCache, read: impl Fn(&str) -> Result<Vec<u8>, E>) -> Result<Self, E> {
        Ok(Self {
            include: read(&made.places.include)?,
            root: read("packages.json")?,
            made,
        })
    }

    /// What is known of a package.
    pub fn known(&self, name: &str) -> Option<&CachedPackage> {
        self.made.packages.get(name)
    }

    /// The versions of a package in the include and in packages.json.
    pub(super) fn of(&self, name: &str) -> Option<(&[u8], &[u8])> {
        let places = &self.made.places;
        let in_include = self.include.get(places.in_include.get(name)?.clone())?;
        let in_root = match places.in_root.get(name) {
            Some(place) => self.root.get(place.clone())?,
            None => &[],
        };
        Some((in_include, in_root))
    }
}
