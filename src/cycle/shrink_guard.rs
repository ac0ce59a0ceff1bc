//! The fuse: metadata that would lose more versions than an operator expects is not published.
//!
//! Nothing in a cycle takes a version away on purpose but the retention of nightly versions, so a loss is a mistake: in
//! the configuration, on the volume or in this program.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::CycleContext;
use crate::ledger::ReleaseKind;
use crate::metadata::reader::Includes;
use crate::metadata::{PackageSummary, Summaries};
use crate::store::snapshot::Snapshot;

/// Compares what would be published with what is.
///
/// # Errors
/// Too much would be lost, with examples; and metadata that cannot be read.
pub(super) fn check(job: &CycleContext<'_>, previous: &Snapshot, packages: &Summaries) -> anyhow::Result<()> {
    let published = match listed(previous) {
        Err(error) if !previous.is_whole => {
            tracing::warn!("it is not known what the damaged metadata had: {error:#}");
            return Ok(());
        }
        listed => listed?,
    };
    let expires = |name: &str, version: &str| {
        job.store.ledger(|ledger| {
            ledger
                .find(name, version)
                .is_some_and(|r| r.kind == ReleaseKind::Dev)
        })
    };
    let lost: Vec<_> = published
        .iter()
        .flat_map(|(name, versions)| {
            gone(versions, packages.get(name))
                .into_iter()
                .map(move |version| (name, version))
        })
        .filter(|(name, version)| !expires(name, version))
        .collect();
    let all: usize = published.values().map(Vec::len).sum();
    let percent = 100.0 * lost.len() as f64 / all.max(1) as f64;
    if percent > job.max_removed {
        let examples: Vec<_> = lost.iter().take(3).map(|(n, v)| format!("{n} {v}")).collect();
        bail!(
            "nothing is published: the metadata would lose {} of {} versions ({percent:.1} %, allowed are {} %), such as {}\nhint: if this is meant, raise `build.max_removed` for one cycle",
            lost.len(),
            all,
            job.max_removed,
            examples.join(", ")
        );
    }
    Ok(())
}

/// Those of a package's versions that are not there any more.
fn gone<'v>(versions: &'v [String], now: Option<&PackageSummary>) -> Vec<&'v String> {
    let stay = now.map_or(&[][..], |now| &now.versions);
    // Nearly always all of them stay.
    if stay == versions {
        return Vec::new();
    }
    let stay: BTreeSet<_> = stay.iter().collect();
    versions
        .iter()
        .filter(|version| !stay.contains(version))
        .collect()
}

/// An include, of which only the names are wanted.
#[derive(Deserialize)]
struct Include {
    packages: BTreeMap<String, BTreeMap<String, IgnoredAny>>,
}

/// The versions in the metadata of a snapshot, by package: what clients see, whatever else is known of it.
fn listed(snapshot: &Snapshot) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let root: Includes = serde_json::from_slice(&snapshot.read("packages.json")?).context("packages.json")?;
    let mut listed = BTreeMap::<_, Vec<_>>::new();
    for path in root.includes.keys() {
        let include: Include = serde_json::from_slice(&snapshot.read(path)?).with_context(|| path.clone())?;
        for (name, versions) in include.packages {
            listed.entry(name).or_default().extend(versions.into_keys());
        }
    }
    Ok(listed)
}
