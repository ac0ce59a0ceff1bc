//! Folders of finished archives: each new one is checked and published with its own bytes.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::Context as _;
use jiff::Timestamp;

use super::resources::Resources;
use super::{CycleContext, SourceReport, now};
use crate::git::Commit;
use crate::ledger::{Release, ReleaseKind};
use crate::package::plan::{Outcome, OutcomeRow};
use crate::package::prebuilt_archive::{self, PrebuiltArchive};
use crate::recipe::ArchiveFolder;
use crate::store::Staged;
use crate::util::digest::Sha256;

/// Publishes the new archives of a folder; answers its report and how many are new.
pub(super) fn publish(
    job: &CycleContext<'_>,
    folder: &ArchiveFolder,
    resources: &Resources,
    known: Option<&SourceReport>,
) -> anyhow::Result<(SourceReport, usize)> {
    let commit = resources.commit(&folder.resource)?;
    let refs = BTreeMap::from([(
        job.recipe.resources[&folder.resource].reference.clone(),
        commit.id.to_string(),
    )]);
    let rules = Sha256::digest(&serde_json::to_vec(folder)?);
    if let Some(known) = known.filter(|k| k.is_complete() && k.rules == Some(rules) && k.refs == refs) {
        return Ok((known.clone(), 0));
    }
    let (mut lines, mut batch) = (Vec::new(), Vec::new());
    let mut seen = BTreeMap::new();
    let files = resources.list(&folder.resource, &folder.path)?;
    for file in files.into_iter().filter(|file| file.ends_with(".zip")) {
        let bytes = resources
            .read(&folder.resource, &format!("{}/{file}", folder.path))?
            .unwrap_or_default();
        let (package, outcome) = match prebuilt_archive::check(&bytes, &job.limits) {
            Err(error) => (
                file,
                Outcome::Failed {
                    reason: format!("{error:#}"),
                },
            ),
            Ok(artifact) => {
                let package = format!("{} {}", artifact.name, artifact.version);
                let outcome = match seen.insert(package.clone(), file.clone()) {
                    Some(first) => Outcome::Excluded {
                        reason: format!("{file} is the same version as {first}"),
                    },
                    None => claim(job, folder, &artifact).unwrap_or_else(|| {
                        match stage(job, folder, &file, &artifact, &bytes, commit) {
                            Ok(staged) => {
                                batch.push(staged);
                                Outcome::Published
                            }
                            Err(error) => Outcome::Failed {
                                reason: format!("{error:#}"),
                            },
                        }
                    }),
                };
                (package, outcome)
            }
        };
        lines.push(OutcomeRow {
            source: folder.name.clone(),
            tag: commit.id.to_string(),
            package,
            outcome,
        });
    }
    let new = batch.len();
    if new > 0 {
        job.store.publish(batch)?;
    }
    Ok((SourceReport::new(rules, refs, lines), new))
}

/// What became of a version that is published already.
fn claim(job: &CycleContext<'_>, folder: &ArchiveFolder, artifact: &PrebuiltArchive) -> Option<Outcome> {
    let source = job.store.ledger(|ledger| {
        ledger
            .find(&artifact.name.to_string(), artifact.version.as_str())
            .map(|release| release.source.clone())
    })?;
    Some(if source == folder.name {
        Outcome::AlreadyPublished
    } else {
        Outcome::Failed {
            reason: format!("source `{source}` has published this version"),
        }
    })
}

fn stage(
    job: &CycleContext<'_>,
    folder: &ArchiveFolder,
    file: &str,
    artifact: &PrebuiltArchive,
    bytes: &[u8],
    commit: &Commit,
) -> anyhow::Result<(Staged, Release)> {
    let staged = job.store.stage(|mut sink| {
        sink.write_all(bytes).context("failed to write the archive")?;
        Ok(sink)
    })?;
    let release = Release {
        number: 0,
        kind: ReleaseKind::Package,
        previous: Sha256([0; 32]),
        name: artifact.name.to_string(),
        version: artifact.version.to_string(),
        file: Some(format!("packages/additional/{file}")),
        bound: None,
        sha1: staged.digests.sha1,
        sha256: staged.digests.sha256,
        size: staged.digests.size,
        source: folder.name.clone(),
        tag: job.recipe.resources[&folder.resource].reference.clone(),
        commit: commit.id.to_string(),
        tree: commit.tree.to_string(),
        committed: Timestamp::from_second(commit.time).context("the commit has an impossible date")?,
        time: now(),
    };
    job.store.check_free(&staged, &release)?;
    Ok((staged, release))
}
