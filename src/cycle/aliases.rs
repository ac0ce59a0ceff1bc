//! Aliases: metapackages under another vendor's names that require what replaces them.
//!
//! They are made from what is published: each package says in `replace` which name and version it stands for. Where
//! several versions stand for the same one, the highest wins, so an alias may move when a release comes.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::read_manifests::manifest;
use super::{CycleContext, SourceReport, now};
use crate::composer::{PackageName, Version, to_js_string};
use crate::ledger::{Release, ReleaseKind};
use crate::package::plan::{Outcome, OutcomeRow};
use crate::package::zip_writer::{self, Writer};
use crate::recipe::Aliases;
use crate::recipe::tag_version::TagVersion;
use crate::store::Staged;
use crate::util::digest::Sha256;

/// The name of the aliases in reports and in the ledger.
pub(super) const NAME: &str = "aliases";

/// The package that an alias requires.
type Candidates = BTreeMap<(String, String), Release>;

/// Publishes the aliases of what the ledger holds; answers their report and how many are new or moved.
pub(super) fn publish(
    job: &CycleContext<'_>,
    rule: &Aliases,
    known: Option<&SourceReport>,
) -> anyhow::Result<(SourceReport, usize)> {
    let base_url = job.base_url.to_string();
    let packages: Vec<_> = job.store.ledger(|ledger| {
        let of_vendor =
            |r: &&Release| r.kind == ReleaseKind::Package && r.name.split('/').next() == Some(&*rule.of);
        ledger.published(&base_url).filter(of_vendor).cloned().collect()
    });
    let last = packages
        .last()
        .map(|release| release.number.to_string())
        .unwrap_or_default();
    let refs = BTreeMap::from([(rule.of.clone(), last)]);
    let rules = Sha256::digest(&serde_json::to_vec(rule)?);
    if let Some(known) = known.filter(|k| k.is_complete() && k.rules == Some(rules) && k.refs == refs) {
        return Ok((known.clone(), 0));
    }
    let mut batch = Vec::new();
    let (candidates, mut lines) = candidates(job, rule, &packages);
    // What an archive replaces that cannot be read is not known: no alias may move away from it.
    let may_move = lines.is_empty();
    for ((name, version), package) in candidates {
        let result = alias(job, rule, &name, &version, &package, may_move);
        let outcome = match result {
            Ok(Some(staged)) => {
                batch.push(staged);
                Outcome::Published
            }
            Ok(None) => Outcome::AlreadyPublished,
            Err(error) => Outcome::Failed {
                reason: format!("{error:#}"),
            },
        };
        let tag = format!("{} {}", package.name, package.version);
        lines.push(OutcomeRow {
            source: NAME.into(),
            tag,
            package: format!("{name} {version}"),
            outcome,
        });
    }
    let new = batch.len();
    if new > 0 {
        job.store.publish(batch)?;
    }
    Ok((SourceReport::new(rules, refs, lines), new))
}

/// For each name and version that is replaced, the package that stands for it; and a line for each archive that cannot be read.
fn candidates(job: &CycleContext<'_>, rule: &Aliases, packages: &[Release]) -> (Candidates, Vec<OutcomeRow>) {
    let (mut candidates, mut unread) = (Candidates::new(), Vec::new());
    let mut packages: Vec<_> = packages.iter().collect();
    // The reference's order of files decides where two packages of the same version stand for one name.
    packages.sort_by_key(|release| release.path());
    for package in packages {
        let manifest = match manifest(&job.store.archive(package)) {
            Ok(manifest) => manifest,
            Err(error) => {
                let reason = format!("failed to read the manifest in `{}`: {error:#}", package.path());
                unread.push(OutcomeRow {
                    source: NAME.into(),
                    tag: package.tag.clone(),
                    package: format!("{} {}", package.name, package.version),
                    outcome: Outcome::Failed { reason },
                });
                continue;
            }
        };
        let Some(Value::Object(replaced)) = manifest.0.get("replace") else {
            continue;
        };
        for (name, version) in replaced {
            let of_vendor = name.split('/').next() == Some(&*rule.names);
            let Some(version) = version.as_str().filter(|_| of_vendor) else {
                continue;
            };
            // `*` and `self.version` name no version that an alias could have.
            if name.parse::<PackageName>().is_err() || version.parse::<Version>().is_err() {
                continue;
            }
            let key = (name.clone(), version.to_owned());
            let order = |release: &Release| TagVersion::parse(&release.version);
            match candidates.get(&key) {
                Some(other) if order(other) >= order(package) => {}
                _ => {
                    candidates.insert(key, package.clone());
                }
            }
        }
    }
    (candidates, unread)
}

/// Stages an alias, unless it is published as it should be, or the name is taken by a package.
fn alias(
    job: &CycleContext<'_>,
    rule: &Aliases,
    name: &str,
    version: &str,
    package: &Release,
    may_move: bool,
) -> anyhow::Result<Option<(Staged, Release)>> {
    let before = job.store.ledger(|ledger| ledger.find(name, version).cloned());
    let stays = |before: &Release| before.kind == ReleaseKind::Package || !may_move;
    if before.as_ref().is_some_and(stays) {
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
    let mut writer = Writer::new(Vec::new());
    writer.add(
        "composer.json",
        zip_writer::EntryType::File,
        to_js_string(&manifest).as_bytes(),
    )?;
    let bytes = writer.finish()?;
    let sha256 = Sha256::digest(&bytes);
    if before.as_ref().is_some_and(|before| before.sha256 == sha256) {
        return Ok(None);
    }
    let staged = job.store.stage(|mut sink| {
        sink.write_all(&bytes).context("failed to write the alias")?;
        Ok(sink)
    })?;
    // The first one has the usual path; one that moves must not touch it.
    let file = before.map(|_| format!("packages/{name}-{version}-{}.zip", &sha256.to_string()[..8]));
    let release = Release {
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
        source: NAME.to_owned(),
        time: now(),
        ..package.clone()
    };
    job.store.check_free(&staged, &release)?;
    Ok(Some((staged, release)))
}
