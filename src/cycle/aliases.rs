//! Aliases: metapackages under another vendor's names that require the packages which replace them.
//!
//! They are made from published packages: `replace` in a manifest says which names and versions it stands for. If several
//! versions replace the same one, the highest wins, so a new release may move an alias.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::batch::{Batch, Published};
use super::context::CycleContext;
use super::file_names;
use super::metadata_budget::MetadataBudget;
use super::read_manifests::release_manifest;
use super::report::{ALIASES, SourceReport};
use crate::composer::{Manifest, PackageName, Version, to_js_string};
use crate::ledger::{Release, ReleaseKind};
use crate::package::plan::{Outcome, OutcomeRow};
use crate::package::zip_writer::{EntryType, ZipWriter};
use crate::recipe::Aliases;
use crate::recipe::tag_version::TagVersion;
use crate::store::StagedArchive;
use crate::util::clock::now;
use crate::util::digest::Sha256;

/// The package that stands for each replaced (name, version).
type Replacements = BTreeMap<(String, String), Release>;

/// Publishes the aliases of what the ledger holds; returns their report and how many are new or moved.
pub(super) fn publish(
    ctx: &CycleContext<'_>,
    rule: &Aliases,
    previous: Option<&SourceReport>,
    budget: &MetadataBudget<'_>,
) -> anyhow::Result<(SourceReport, usize)> {
    let base_url = ctx.base_url.to_string();
    let packages: Vec<_> = ctx.store.ledger(|ledger| {
        let of_vendor = |release: &&Release| {
            release.kind == ReleaseKind::Package && release.name.split('/').next() == Some(&*rule.of)
        };
        ledger.published(&base_url).filter(of_vendor).cloned().collect()
    });
    let last = packages.last().map(|release| release.number.to_string()).unwrap_or_default();
    let refs = BTreeMap::from([(rule.of.clone(), last)]);
    let rules = Sha256::digest(&serde_json::to_vec(rule)?);
    if let Some(unchanged) = previous.filter(|report| report.is_current(rules, &refs)) {
        return Ok((unchanged.clone(), 0));
    }
    let (replacements, unreadable) = replacements(ctx, rule, &packages);
    // An unreadable archive may be what an alias stands for, so no alias may move away from it.
    let may_move = unreadable.is_empty();
    let mut batch = Batch::new(ALIASES, unreadable, budget);
    for ((name, version), package) in replacements {
        let result = stage(ctx, rule, &name, &version, &package, may_move);
        batch.add(&package.package(), format!("{name} {version}"), result);
    }
    let Published { rows, count, .. } = batch.publish(ctx)?;
    Ok((SourceReport::new(rules, refs, rows), count))
}

/// The package that stands for each replaced version, and a row for each archive that cannot be read.
fn replacements(
    ctx: &CycleContext<'_>,
    rule: &Aliases,
    packages: &[Release],
) -> (Replacements, Vec<OutcomeRow>) {
    let (mut replacements, mut unreadable) = (Replacements::new(), Vec::new());
    let mut packages: Vec<_> = packages.iter().collect();
    // Of two packages with the same version, the first in the reference generator's file order wins.
    packages.sort_by_key(|release| release.path());
    for package in packages {
        let manifest = match release_manifest(ctx.store, package) {
            Ok(manifest) => manifest,
            Err(error) => {
                let error = error.context(format!("failed to read the manifest in `{}`", package.path()));
                unreadable.push(OutcomeRow {
                    source: ALIASES.into(),
                    tag: package.tag.clone(),
                    package: package.package(),
                    outcome: Outcome::failed(&error),
                });
                continue;
            }
        };
        for replaced in replaced_versions(rule, &manifest) {
            let order = |release: &Release| TagVersion::parse(&release.version);
            match replacements.get(&replaced) {
                Some(other) if order(other) >= order(package) => {}
                _ => {
                    replacements.insert(replaced, package.clone());
                }
            }
        }
    }
    (replacements, unreadable)
}

/// The names and versions that a manifest replaces and that the rule makes aliases of.
fn replaced_versions(rule: &Aliases, manifest: &Manifest) -> Vec<(String, String)> {
    let links = manifest.0.get("replace").and_then(Value::as_object);
    links
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.split('/').next() == Some(&*rule.names))
        .filter_map(|(name, version)| Some((name, version.as_str()?)))
        // `*` and `self.version` are no versions that an alias could have.
        .filter(|(name, version)| name.parse::<PackageName>().is_ok() && version.parse::<Version>().is_ok())
        .map(|(name, version)| (name.clone(), version.to_owned()))
        .collect()
}

/// Stages an alias, unless it is published with the same content or a package has its name.
fn stage(
    ctx: &CycleContext<'_>,
    rule: &Aliases,
    name: &str,
    version: &str,
    package: &Release,
    may_move: bool,
) -> anyhow::Result<Option<(StagedArchive, Release)>> {
    let published = ctx.store.ledger(|ledger| ledger.find(name, version).cloned());
    if let Some(published) = &published
        && (published.kind == ReleaseKind::Package || !may_move)
    {
        return Ok(None);
    }
    let fill = |text: &str| text.replace("{package}", &package.name).replace("{alias}", name);
    let manifest = json!({
        "name": name,
        "description": fill(&rule.description),
        "type": "metapackage",
        "version": version,
        "require": { package.name.as_str(): package.version },
    });
    let mut writer = ZipWriter::new(Vec::new());
    let text = to_js_string(&manifest);
    writer.add("composer.json", EntryType::File, text.as_bytes())?;
    let bytes = writer.finish()?;
    let sha256 = Sha256::digest(&bytes);
    if published.as_ref().is_some_and(|published| published.sha256 == sha256) {
        return Ok(None);
    }
    let staged = ctx.store.stage_bytes(&bytes)?;
    // The first state has the usual path; a moved alias needs another file.
    let file = published.map(|_| format!("packages/{name}-{version}-{}.zip", &sha256.to_string()[..8]));
    let mut release = Release {
        number: 0,
        previous: Sha256([0; 32]),
        kind: ReleaseKind::Alias,
        name: name.to_owned(),
        version: version.to_owned(),
        file,
        bound: None,
        sha1: staged.digests.sha1,
        sha256,
        size: staged.digests.size,
        source: ALIASES.to_owned(),
        time: now(),
        upstream: None,
        ..package.clone()
    };
    file_names::avoid_published(ctx, &mut release);
    ctx.store.check_free(&staged, &release)?;
    Ok(Some((staged, release)))
}
