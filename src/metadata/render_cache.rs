//! What the next publication can reuse of this one. It is kept with the snapshot, is not published, and may be lost:
//! then everything is rendered again.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::package_summary::PackageSummary;
use crate::util::digest::Sha256;

/// Published files by path; `None` for a file that is the same as in the previous publication.
pub type Files = BTreeMap<String, Option<Vec<u8>>>;

/// Positions of the packages' versions in a file, in bytes.
pub(super) type Ranges = BTreeMap<String, Range<usize>>;

/// How the metadata and the pages of a snapshot were rendered.
#[derive(Debug, Serialize, Deserialize)]
pub struct RenderCache {
    /// The digest of what decides the files apart from the packages, including the program.
    #[serde(rename = "by")]
    pub renderer: Sha256,
    pub packages: BTreeMap<String, CachedPackage>,
    #[serde(rename = "places")]
    pub ranges: ByteRanges,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct CachedPackage {
    pub summary: PackageSummary,
    /// The digest of what its page shows of other packages.
    #[serde(rename = "around")]
    pub page_context: Sha256,
}

/// Positions of each package's versions in the include.
#[derive(Debug, Serialize, Deserialize)]
pub struct ByteRanges {
    /// The path of the include.
    pub include: String,
    pub(super) in_include: Ranges,
}

impl ByteRanges {
    /// The bytes that each package takes in a shared file.
    pub fn package_sizes(&self) -> BTreeMap<String, u64> {
        let sizes = self.in_include.iter();
        sizes.map(|(name, range)| (name.clone(), (range.end - range.start) as u64)).collect()
    }
}

/// The reusable part of the previous publication.
pub struct PreviousRender {
    cache: RenderCache,
    include: Vec<u8>,
}

impl PreviousRender {
    /// `read` reads a published file.
    pub fn new<E>(cache: RenderCache, read: impl Fn(&str) -> Result<Vec<u8>, E>) -> Result<Self, E> {
        Ok(Self { include: read(&cache.ranges.include)?, cache })
    }

    pub fn package(&self, name: &str) -> Option<&CachedPackage> {
        self.cache.packages.get(name)
    }

    /// The text of a package's versions in the include.
    pub(super) fn versions(&self, name: &str) -> Option<&[u8]> {
        let ranges = &self.cache.ranges;
        self.include.get(ranges.in_include.get(name)?.clone())
    }
}
