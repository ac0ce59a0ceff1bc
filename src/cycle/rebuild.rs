//! Building published versions again from git, to compare them with the ledger or to mend what is damaged.
//!
//! Only from the very commit that they were published from: what a ref points to now may differ, and then nothing can be
//! said of the published bytes.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::{Context as _, bail};

use super::build_packages::plan_with;
use super::redact_urls::outward;
use super::{CycleContext, Fetched, Found, ProgressEvent, last_report};
use crate::ledger::Release;
use crate::package::build;
use crate::package::plan::{Build, Outcome, VersionOwner};
use crate::recipe::Source;
use crate::store::durable_fs::HashingWriter;
use crate::util::digest::Sha256;

/// How building a published version again ended.
#[derive(Debug)]
pub enum RebuildOutcome {
    /// It gave the published bytes.
    Equal,
    /// It gave the published bytes, and they are in place of the damaged file.
    Repaired,
    /// It gave other bytes.
    Different(Sha256),
    /// It cannot be built from its commit.
    Impossible(String),
}

/// Builds these releases again; with `mend`, each also replaces its archive if it has the ledger's digest.
///
/// # Errors
/// The last report cannot be read.
pub fn rebuild(
    job: &CycleContext<'_>,
    wanted: &[Release],
    mend: bool,
) -> anyhow::Result<Vec<(Release, RebuildOutcome)>> {
    let fetched = Fetched::fetch(job, &last_report(job)?);
    let mut results = Vec::new();
    for source in &job.recipe.sources {
        let of_this: Vec<_> = wanted.iter().filter(|r| r.source == source.name).collect();
        if of_this.is_empty() {
            continue;
        }
        (job.progress)(ProgressEvent::Building {
            source: &source.name,
            packages: of_this.len() as u64,
        });
        let found = fetched.releases(source);
        let mut builds = Builds::default();
        for release in of_this {
            let result = found
                .as_ref()
                .map_err(|error| anyhow::anyhow!("{error:#}"))
                .and_then(|found| {
                    let build = builds.of(job, source, found, &fetched, release)?;
                    build_again(job, source, found, build, release, mend)
                });
            results.push((release.clone(), or_impossible(job, result)));
            (job.progress)(ProgressEvent::Built);
        }
    }
    let built = |release: &&Release| !job.recipe.sources.iter().any(|s| s.name == release.source);
    for release in wanted.iter().filter(built) {
        results.push((
            release.clone(),
            or_impossible(job, finished(job, &fetched, release, mend)),
        ));
    }
    Ok(results)
}

/// The reason is shown to everybody; the log has it whole.
fn or_impossible(job: &CycleContext<'_>, result: anyhow::Result<RebuildOutcome>) -> RebuildOutcome {
    result.unwrap_or_else(|error| {
        tracing::warn!("nothing was built again: {error:#}");
        RebuildOutcome::Impossible(outward(job, &format!("{error:#}")))
    })
}

/// The builds of each ref that was planned.
#[derive(Default)]
struct Builds(BTreeMap<String, Vec<Build>>);

impl Builds {
    fn of(
        &mut self,
        job: &CycleContext<'_>,
        source: &Source,
        found: &Found,
        fetched: &Fetched,
        release: &Release,
    ) -> anyhow::Result<&Build> {
        let Some(reference) = found.releases.iter().find(|r| r.tag == release.tag) else {
            let failed = found.lines.iter().find(|line| line.tag == release.tag);
            match failed.map(|line| &line.outcome) {
                Some(Outcome::Failed { reason }) => bail!("{reason}"),
                _ => bail!("upstream has no `{}` any more", release.tag),
            }
        };
        if reference.commit.to_string() != release.commit {
            bail!(
                "upstream's `{}` is at commit {}, and it was published from {}",
                release.tag,
                reference.commit,
                release.commit
            );
        }
        let builds = self.0.entry(release.tag.clone()).or_insert_with(|| {
            let releases = std::slice::from_ref(reference);
            plan_with(
                job,
                source,
                &found.clone,
                releases,
                &fetched.resources,
                &|_, _| VersionOwner::Nobody,
            )
            .builds
        });
        let is_it = |b: &&Build| b.name.to_string() == release.name && b.version.as_str() == release.version;
        builds
            .iter()
            .find(is_it)
            .context("the recipe does not make it of this commit any more")
    }
}

fn build_again(
    job: &CycleContext<'_>,
    source: &Source,
    found: &Found,
    build: &Build,
    release: &Release,
    mend: bool,
) -> anyhow::Result<RebuildOutcome> {
    if !release.is_for(&job.base_url.to_string()) {
        bail!("it was made for another URL");
    }
    if mend {
        let staged = job
            .store
            .stage(|sink| build::archive(build, source, &found.clone, &job.limits, sink))?;
        job.store.repair(&staged, release)?;
        return Ok(RebuildOutcome::Repaired);
    }
    let sink = build::archive(build, source, &found.clone, &job.limits, HashingWriter::sink())?;
    Ok(compared(sink.digests().sha256, release))
}

fn compared(sha256: Sha256, release: &Release) -> RebuildOutcome {
    if sha256 == release.sha256 {
        RebuildOutcome::Equal
    } else {
        RebuildOutcome::Different(sha256)
    }
}

/// A finished archive, as its folder has it now.
fn finished(
    job: &CycleContext<'_>,
    fetched: &Fetched,
    release: &Release,
    mend: bool,
) -> anyhow::Result<RebuildOutcome> {
    let Some(folder) = job.recipe.archives.iter().find(|f| f.name == release.source) else {
        bail!("the recipe has no source `{}`", release.source);
    };
    let path = release.path();
    let file = path.rsplit('/').next().unwrap_or_default();
    let bytes = fetched
        .resources
        .read(&folder.resource, &format!("{}/{file}", folder.path))?
        .with_context(|| format!("its folder has no `{file}` any more"))?;
    if !mend {
        return Ok(compared(Sha256::digest(&bytes), release));
    }
    let staged = job.store.stage(|mut sink| {
        sink.write_all(&bytes).context("failed to write the archive")?;
        Ok(sink)
    })?;
    job.store.repair(&staged, release)?;
    Ok(RebuildOutcome::Repaired)
}
