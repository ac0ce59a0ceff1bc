//! What upstream would change of published versions: `diverged.jsonl`, one line for each version, ref and commit.
//!
//! The published bytes stay; this is the record that somebody can look at. It has the ledger's durability, and no
//! chain: nothing depends on it.

use std::fs;
use std::io::{self, Write as _};

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{RepositoryStore, durable_fs};
use crate::util::digest::{Sha1, Sha256};

/// A published version that a ref, moved since, would give other bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    pub source: String,
    #[serde(rename = "ref")]
    pub tag: String,
    pub name: String,
    pub version: String,
    pub published: VersionContent,
    /// What the ref would give now.
    pub attempted: VersionContent,
    /// When it was found.
    pub time: Timestamp,
}

/// A commit and the archive that it gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionContent {
    pub commit: String,
    pub sha1: Sha1,
    pub sha256: Sha256,
}

impl Divergence {
    /// Whether it is the same finding, at whatever time.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.source, &self.tag, &self.name, &self.version)
            == (&other.source, &other.tag, &other.name, &other.version)
            && self.attempted == other.attempted
    }
}

impl RepositoryStore {
    /// All divergences that were ever found, in the order of their finding.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged.
    pub fn divergences(&self) -> anyhow::Result<Vec<Divergence>> {
        let path = self.root().join("diverged.jsonl");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("failed to read `{}`", path.display())),
        };
        let line = |(i, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|error| {
                anyhow!(
                    "`{}` is damaged at line {}: {error}\nhint: restore it from a back-up, or remove it: what differs still is found again",
                    path.display(),
                    i + 1
                )
            })
        };
        text.lines().enumerate().map(line).collect()
    }

    /// Adds findings to the record.
    ///
    /// # Errors
    /// Of the file system; the record then has none of them.
    pub fn record_divergences(&self, new: &[Divergence]) -> anyhow::Result<()> {
        let path = self.root().join("diverged.jsonl");
        let write = || {
            let aside = self.staging_path("diverged.jsonl")?;
            let mut file = durable_fs::HashingFile::create(&aside)?;
            for divergence in self.divergences()?.iter().chain(new) {
                let mut line = serde_json::to_vec(divergence)?;
                line.push(b'\n');
                file.write_all(&line)
                    .with_context(|| format!("failed to write `{}`", aside.display()))?;
            }
            file.finish()?;
            durable_fs::replace(&aside, &path)
        };
        self.poison_on_error(write())
    }
}
