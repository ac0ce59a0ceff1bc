//! The sections `build`, `limits`, `snapshots` and `verify`: building and keeping packages.

use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{self, Percent, check_positive, count};
use crate::yaml::{Issue, Path, Report};

/// The least with which a cycle can build anything.
const MIN_CYCLE_MEMORY: usize = 64 << 20;

/// The memory of the server itself.
const SERVER_MEMORY: u64 = 32 << 20;

/// With less memory, repositories are built one after the other.
const MEMORY_FOR_TWO: u64 = 1 << 30;

/// How packages are built.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Build {
    /// How many packages are built at once. Default: the number of processors, at most four.
    pub workers: Option<NonZeroUsize>,
    /// How many repositories `mirror run` builds at once. Default: two, or one with less than 1 GiB of memory.
    pub parallel_repositories: Option<NonZeroUsize>,
    /// A cycle that would remove a larger share of the published versions from the metadata publishes nothing.
    pub max_removed: Percent,
}

impl Default for Build {
    fn default() -> Self {
        Self { workers: None, parallel_repositories: None, max_removed: Percent(3.0) }
    }
}

/// Limits for packages, sources and cycles, above all that Magento has. What exceeds one is reported as failed; everything
/// else is built.
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
    /// Maximum number of tags of a source, and of the branches that the recipe names.
    pub refs: NonZeroUsize,
    /// Maximum number of entries in the report of a source: of tags and packages that are excluded, failed or held back.
    pub report_entries: NonZeroUsize,
    /// Maximum size of a prebuilt archive, and of one from a Composer repository.
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
    /// Maximum size of the metadata that a Composer repository sends at once: one file, or packages.json with its includes. Also
    /// of the ledger that a followed mirror sends.
    #[serde(with = "units::size")]
    #[schemars(with = "units::SizeText")]
    pub upstream_metadata: usize,
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
    /// Maximum memory of a cycle of `mirror run`; one that needs more fails. Default: the memory of the container or the machine,
    /// less a reserve for the server, divided among the repositories that are built at once.
    #[serde(with = "units::optional_size")]
    #[schemars(with = "Option<units::SizeText>")]
    pub cycle_memory: Option<usize>,
    /// How long planning and building one source may take in a cycle, and asking a Composer repository. What is built by then is
    /// published, and the rest fails.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub source_deadline: Duration,
    /// How long a cycle of `mirror run` may take; one that takes longer fails.
    #[serde(with = "units::duration")]
    #[schemars(with = "units::DurationText")]
    pub cycle_deadline: Duration,
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
            report_entries: count(20_000),
            archive: 64 << 20,
            package_metadata: 4 << 20,
            metadata: 16 << 20,
            upstream_metadata: 64 << 20,
            tree: 4 << 20,
            object: 64 << 20,
            fetch_memory: 128 << 20,
            pack: 2 << 30,
            cycle_memory: None,
            source_deadline: Duration::from_secs(60 * 60),
            cycle_deadline: Duration::from_secs(12 * 60 * 60),
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

    /// How many repositories are built at once on a machine with `memory` bytes.
    pub fn parallel_repositories(&self, memory: Option<u64>) -> NonZeroUsize {
        let is_small = memory.is_some_and(|memory| memory < MEMORY_FOR_TWO);
        self.parallel_repositories.unwrap_or(count(if is_small { 1 } else { 2 }))
    }
}

impl Limits {
    /// The memory limit of each of `cycles` concurrent cycles, if this process and all cycles have `available` bytes together.
    pub fn cycle_memory(&self, available: Option<u64>, cycles: NonZeroUsize) -> Option<u64> {
        let share = |available: u64| available.saturating_sub(SERVER_MEMORY) / cycles.get() as u64;
        let configured = self.cycle_memory.map(|bytes| bytes as u64);
        configured.or_else(|| Some(share(available?).max(MIN_CYCLE_MEMORY as u64)))
    }

    pub(super) fn check(&self, at: &Path, report: &mut Report) {
        if self.cycle_memory.is_some_and(|memory| memory < MIN_CYCLE_MEMORY) {
            report.add(&at.key("cycle_memory"), Issue::new("expected at least 64MiB"));
        }
        check_positive(self.source_deadline, &at.key("source_deadline"), report);
        check_positive(self.cycle_deadline, &at.key("cycle_deadline"), report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_cycle_follows_from_that_of_the_container() {
        let (build, limits) = (Build::default(), Limits::default());
        let most = |memory: u64| build.parallel_repositories(Some(memory << 20));
        assert_eq!([most(512), most(2048)], [count(1), count(2)]);
        assert_eq!(build.parallel_repositories(None), count(2));
        let each = |memory: u64, cycles| limits.cycle_memory(Some(memory << 20), count(cycles));
        assert_eq!(each(256, 1), Some(224 << 20));
        assert_eq!(each(2080, 2), Some(1024 << 20));
        assert_eq!(each(32, 1), Some(64 << 20), "less cannot build anything");
        assert_eq!(limits.cycle_memory(None, count(1)), None);
        let limits = Limits { cycle_memory: Some(100 << 20), ..limits };
        assert_eq!(limits.cycle_memory(Some(64 << 20), count(2)), Some(100 << 20));
    }
}
