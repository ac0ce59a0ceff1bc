//! Published versions that differ upstream: `diverged.jsonl`, one line for each version, ref and commit.
//!
//! The published bytes stay; this is the record for people. It is as durable as the ledger, but not chained, since nothing
//! depends on it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::durable_fs::Digests;
use super::json_lines;
use super::repository::RepositoryStore;
use crate::ledger::Release;
use crate::util::clock::now;
use crate::util::digest::{Sha1, Sha256};

/// The name of the file in a repository's folder.
pub(super) const FILE: &str = "diverged.jsonl";

const HINT: &str = "restore it from a backup, or remove it: versions that still differ are found again";

/// A published version whose ref has moved and would now give different bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    pub source: String,
    #[serde(rename = "ref")]
    pub tag: String,
    pub name: String,
    pub version: String,
    pub published: VersionContent,
    /// The content of the ref now.
    pub attempted: VersionContent,
    /// When it was found.
    pub time: Timestamp,
    #[serde(default, skip_serializing_if = "DivergenceCause::is_moved_tag")]
    pub cause: DivergenceCause,
}

/// Why a published version differs upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DivergenceCause {
    /// Its tag is at another commit.
    #[default]
    MovedTag,
    /// It was imported, and what is built from its commit differs.
    Imported,
    /// The Composer repository that it was taken from has another archive.
    ChangedArchive,
    /// It was taken from a Composer repository, and what is built from its tag differs.
    BuiltFromGit,
}

impl DivergenceCause {
    fn is_moved_tag(&self) -> bool {
        *self == Self::MovedTag
    }
}

/// A commit and the digests of its archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionContent {
    pub commit: String,
    pub sha1: Sha1,
    pub sha256: Sha256,
}

/// For people: the package, its version and the tag.
impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |commit: &str| commit.get(..12).unwrap_or(commit).to_owned();
        let Self { name, version, tag, source, published, attempted, .. } = self;
        write!(f, "{name} {version}: ")?;
        match self.cause {
            DivergenceCause::MovedTag => write!(
                f,
                "upstream moved tag {tag} of {source} from {} to {}",
                short(&published.commit),
                short(&attempted.commit)
            ),
            DivergenceCause::Imported => {
                write!(f, "it was imported, and tag {tag} of {source} gives other bytes")
            }
            DivergenceCause::ChangedArchive => {
                write!(
                    f,
                    "{source} has another archive now, SHA-1 {} instead of {}",
                    attempted.sha1, published.sha1
                )
            }
            DivergenceCause::BuiltFromGit => write!(
                f,
                "built from tag {tag} of {source} it has SHA-1 {} instead of {}",
                attempted.sha1, published.sha1
            ),
        }?;
        f.write_str("; the published version is kept")
    }
}

impl Divergence {
    /// The divergence of a release for which `source` would now give `attempted`.
    pub fn new(
        release: &Release,
        source: &str,
        commit: String,
        attempted: Digests,
        cause: DivergenceCause,
    ) -> Self {
        let Release { name, version, tag, sha1, sha256, .. } = release;
        Self {
            source: source.to_owned(),
            tag: tag.clone(),
            name: name.clone(),
            version: version.clone(),
            published: VersionContent { commit: release.commit.clone(), sha1: *sha1, sha256: *sha256 },
            attempted: VersionContent { commit, sha1: attempted.sha1, sha256: attempted.sha256 },
            time: now(),
            cause,
        }
    }

    /// Whether both are equal apart from their times.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.source, &self.tag, &self.name, &self.version)
            == (&other.source, &other.tag, &other.name, &other.version)
            && self.attempted == other.attempted
    }
}

impl RepositoryStore {
    /// All recorded divergences, oldest first.
    pub fn divergences(&self) -> anyhow::Result<Vec<Divergence>> {
        json_lines::read(&self.root().join(FILE), HINT)
    }

    /// Records new divergences. On an error, none of them is recorded.
    pub fn record_divergences(&self, new: &[Divergence]) -> anyhow::Result<()> {
        self.replace_file(FILE, &json_lines::text(self.divergences()?.iter().chain(new))?)
    }
}
