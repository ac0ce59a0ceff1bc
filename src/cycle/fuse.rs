//! The fuse: metadata that would lose more versions than an operator expects is not published.
//!
//! Nothing in a cycle takes a version away on purpose but the retention of nightly versions, so a loss is a mistake: in
//! the configuration, on the volume or in this program.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};

use super::Job;
use crate::ledger::Kind;
use crate::repository::PackageVersion;
use crate::repository::listing::{Include, Root};
use crate::store::snapshot::Snapshot;

/// Compares what would be published with what is.
///
/// # Errors
/// Too much would be lost, with examples; and metadata that cannot be read.
pub(super) fn check(
    job: &Job<'_>,
    previous: &Snapshot,
    packages: &BTreeMap<String, Vec<PackageVersion>>,
) -> anyhow::Result<()> {
    let stay: BTreeSet<_> = packages
        .iter()
        .flat_map(|(name, versions)| versions.iter().map(|v| (name.clone(), v.version.to_string())))
        .collect();
    let published = listed(previous)?;
    let expires = |name: &str, version: &str| {
        job.store
            .ledger(|ledger| ledger.find(name, version).is_some_and(|r| r.kind == Kind::Dev))
    };
    let lost: Vec<_> = published
        .iter()
        .filter(|version| !stay.contains(*version))
        .filter(|(name, version)| !expires(name, version))
        .collect();
    let percent = 100.0 * lost.len() as f64 / published.len().max(1) as f64;
    if percent > job.max_removed {
        let examples: Vec<_> = lost.iter().take(3).map(|(n, v)| format!("{n} {v}")).collect();
        bail!(
            "nothing is published: the metadata would lose {} of {} versions ({percent:.1} %, allowed are {} %), such as {}\nhint: if this is meant, raise `build.max_removed` for one cycle",
            lost.len(),
            published.len(),
            job.max_removed,
            examples.join(", ")
        );
    }
    Ok(())
}

/// The names and versions in the metadata of a snapshot.
fn listed(snapshot: &Snapshot) -> anyhow::Result<BTreeSet<(String, String)>> {
    let read = |path: &str| {
        let file = snapshot.folder.join(path);
        std::fs::read(&file).with_context(|| format!("failed to read `{}`", file.display()))
    };
    let root: Root = serde_json::from_slice(&read("packages.json")?).context("packages.json")?;
    let mut listed = BTreeSet::new();
    for path in root.includes.keys() {
        let include: Include = serde_json::from_slice(&read(path)?).with_context(|| path.clone())?;
        for (name, versions) in include.packages {
            listed.extend(versions.into_keys().map(|version| (name.clone(), version)));
        }
    }
    Ok(listed)
}
