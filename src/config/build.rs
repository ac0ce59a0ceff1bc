//! The sections `build`, `limits`, `snapshots` and `verify`: building and keeping packages.

use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{self, Percent, count};

/// How packages are built.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Build {
    /// How many packages are built at once. Default: the number of processors, at most four.
    pub workers: Option<NonZeroUsize>,
    /// A cycle that would remove a larger share of the published versions from the metadata publishes nothing.
    pub max_removed: Percent,
}

impl Default for Build {
    fn default() -> Self {
        Self { workers: None, max_removed: Percent(3.0) }
    }
}

/// Limits for packages and sources, above all that Magento has. What exceeds one is reported as failed; everything else
/// is built.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Maximum size of a composer.json.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub manifest: usize,
    /// Maximum size of a file in a package.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub file: usize,
    /// Maximum total size of the files in a package.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub package: usize,
    /// Maximum number of files and folders in a package.
    pub entries: NonZeroUsize,
    /// Maximum depth of nested folders.
    pub depth: NonZeroUsize,
    /// Maximum number of branches and tags of a source.
    pub refs: NonZeroUsize,
    /// Maximum size of a prebuilt archive.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub archive: usize,
    /// Maximum size of the metadata of one package: of the manifests of all its versions.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub package_metadata: usize,
    /// Maximum size of the metadata of a repository.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub metadata: usize,
    /// Maximum size of a commit, an annotated tag, or the listing of one folder in git.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub tree: usize,
    /// Maximum size of an object in git that is sent as a difference to another one, and of that other one.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub object: usize,
    /// Maximum memory for one download: for the list of branches and tags, and for unpacking. It grows with the number of
    /// objects, so a whole history (`git.shallow: false`) may need more than the default.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub fetch_memory: usize,
    /// Maximum size of one download.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub pack: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest: 4 << 20,
            file: 64 << 20,
            package: 1 << 30,
            entries: count(200_000),
            depth: count(64),
            refs: count(100_000),
            archive: 64 << 20,
            package_metadata: 4 << 20,
            metadata: 16 << 20,
            tree: 4 << 20,
            object: 64 << 20,
            fetch_memory: 128 << 20,
            pack: 2 << 30,
        }
    }
}

/// How long published snapshots of the metadata are kept, for `mirror rollback`. Archives of released versions are
/// always kept.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Snapshots {
    /// Number of snapshots to keep.
    pub keep: NonZeroUsize,
    /// How long an outdated snapshot stays for servers that have not switched yet, and how long the archive of a
    /// nightly version stays after it has left the metadata.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub grace: Duration,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { keep: count(20), grace: Duration::from_secs(24 * 60 * 60) }
    }
}

/// How `mirror run` checks published files for damage.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Verify {
    /// Period in which every archive is read and checked once; `0s` turns it off.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub scrub: Duration,
}

impl Default for Verify {
    fn default() -> Self {
        Self { scrub: Duration::from_secs(7 * 24 * 60 * 60) }
    }
}

impl Build {
    /// The number of workers. Reading one volume keeps at most four processors busy.
    pub fn workers(&self) -> NonZeroUsize {
        let available = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.workers.unwrap_or_else(|| available().min(count(4)))
    }
}
