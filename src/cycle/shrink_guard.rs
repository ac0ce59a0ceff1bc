//! The shrink guard (`build.max_removed`): metadata that would lose too many versions is not published.
//!
//! A cycle removes versions on purpose only when nightly versions expire, versions are withdrawn, or a followed mirror is rolled
//! back. Any other loss is a mistake: in the configuration, on the volume or in this program.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use serde::de::IgnoredAny;

use super::context::CycleContext;
use super::report::Report;
use crate::ledger::{Release, ReleaseKind};
use crate::metadata::reader::read_packages;
use crate::metadata::{PackageSummary, Summaries};
use crate::store::snapshot::Snapshot;

/// Fails if publishing `packages` would remove too many of the versions that `previous` has.
pub(super) fn check(
    ctx: &CycleContext<'_>,
    previous: &Snapshot,
    packages: &Summaries,
    report: &Report,
) -> anyhow::Result<()> {
    let published = match listed_versions(previous) {
        Err(error) if !previous.is_intact => {
            tracing::warn!("cannot tell how many versions the damaged metadata had: {error:#}");
            return Ok(());
        }
        listed => listed?,
    };
    let may_go = |name: &str, version: &str| {
        let is_unlisted = |release: &Release| {
            report.followed.as_ref().is_some_and(|followed| !followed.state.lists(release.number))
        };
        // A repository that lists nothing of a package any more may be broken.
        let is_gone_upstream = |release: &Release| report.is_unlisted(release) && packages.contains_key(name);
        let is_intended = ctx.store.ledger(|ledger| {
            let release = ledger.find(name, version);
            release.is_some_and(|release| {
                release.kind == ReleaseKind::Dev || is_unlisted(release) || is_gone_upstream(release)
            })
        });
        is_intended || ctx.store.is_withdrawn(name, version)
    };
    let lost: Vec<_> = published
        .iter()
        .flat_map(|(name, versions)| {
            let removed = removed_versions(versions, packages.get(name));
            removed.into_iter().map(move |version| (name, version))
        })
        .filter(|(name, version)| !may_go(name, version))
        .collect();
    let all: usize = published.values().map(Vec::len).sum();
    let percent = 100.0 * lost.len() as f64 / all.max(1) as f64;
    if percent > ctx.max_removed {
        let examples: Vec<_> = lost.iter().take(3).map(|(n, v)| format!("{n} {v}")).collect();
        bail!(
            "nothing is published: the metadata would lose {} of {} versions ({percent:.1} %, allowed are {} %), such as {}\n\
             hint: if this is intended, raise `build.max_removed` for one cycle",
            lost.len(),
            all,
            ctx.max_removed,
            examples.join(", ")
        );
    }
    Ok(())
}

/// The versions of a package that are gone `now`.
fn removed_versions<'v>(versions: &'v [String], now: Option<&PackageSummary>) -> Vec<&'v String> {
    let current = now.map_or(&[][..], |now| &now.versions);
    // Usually nothing has changed.
    if current == versions {
        return Vec::new();
    }
    let current: BTreeSet<_> = current.iter().collect();
    versions.iter().filter(|version| !current.contains(version)).collect()
}

/// The versions in the metadata of a snapshot by package, as clients see them.
fn listed_versions(snapshot: &Snapshot) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut listed = BTreeMap::<_, Vec<_>>::new();
    let add = |name, versions: BTreeMap<_, IgnoredAny>| {
        listed.entry(name).or_default().extend(versions.into_keys());
    };
    read_packages(|path| snapshot.read(path), add)?;
    Ok(listed)
}
