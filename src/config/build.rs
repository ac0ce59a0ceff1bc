//! What the configuration says of building and keeping: the sections `build`, `limits`, `snapshots` and `verify`.

use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{self, Percent, count};

/// How packages are built.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Build {
    /// How many packages are built at once; by default one for each processor, at most four.
    pub workers: Option<NonZeroUsize>,
    /// If a cycle would remove a larger share of the published versions from the metadata, it publishes nothing.
    pub max_removed: Percent,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            workers: None,
            max_removed: Percent(3.0),
        }
    }
}

/// What a package and a source may be at most. The defaults are above all that Magento has; what is beyond them fails by
/// name, and everything else goes on.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The size of a composer.json.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub manifest: usize,
    /// The size of a file.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub file: usize,
    /// The size of all files of a package together.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub package: usize,
    /// How many files and folders a package may have.
    pub entries: NonZeroUsize,
    /// How many folders may lie within each other.
    pub depth: NonZeroUsize,
    /// How many branches and tags a source may have.
    pub refs: NonZeroUsize,
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
        }
    }
}

/// Which published states of the metadata stay on the volume, for `mirror rollback`. Archives of released versions
/// always stay.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Snapshots {
    /// How many of the newest snapshots are kept.
    pub keep: NonZeroUsize,
    /// How long a snapshot that is no longer kept still stays, for servers that have not followed yet, and how long the
    /// archive of a nightly version that is no longer named is served.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub grace: Duration,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self {
            keep: count(20),
            grace: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// How published files are checked for damage while `mirror run` serves them.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Verify {
    /// In how long all archives are read once; `0s` reads none.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub scrub: Duration,
}

impl Default for Verify {
    fn default() -> Self {
        Self {
            scrub: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

impl Build {
    /// The number of workers; by default the processors, of which reading one volume does not keep more than four busy.
    pub fn workers(&self) -> NonZeroUsize {
        let available = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.workers.unwrap_or_else(|| available().min(count(4)))
    }
}
