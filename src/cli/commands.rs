//! The commands that end by themselves.

use std::io::Write as _;

use anyhow::Context as _;
use jiff::Timestamp;

use super::Exit;
use crate::config::{self, Config};
use crate::cycle::{self, Finished, Job};
use crate::package::plan::Outcome;
use crate::source;
use crate::store::{Repository, Volume};

/// How to fetch, by the configuration.
fn fetch_settings(config: &Config) -> source::Settings {
    source::Settings {
        connect_timeout: config.connect_timeout,
        timeout: config.timeout,
        shallow: config.shallow,
    }
}

/// Runs one cycle of `repository`, logs its summary and answers how it ended.
pub(super) fn run_cycle(
    config: &Config,
    volume: &Volume,
    repository: &config::Repository,
    store: &Repository,
) -> anyhow::Result<Finished> {
    let finished = with_job(config, volume, repository, store, cycle::run)?;
    for (source, report) in &finished.report.sources {
        for line in &report.failed {
            if let Outcome::Failed { because } = &line.outcome {
                tracing::error!(
                    repository = repository.name,
                    source,
                    tag = line.tag,
                    package = line.package,
                    "failed: {because}"
                );
            }
        }
    }
    let count =
        |of: fn(&cycle::SourceReport) -> usize| finished.report.sources.values().map(of).sum::<usize>();
    tracing::info!(
        repository = repository.name,
        new = finished.published,
        published = count(|s| s.published),
        excluded = count(|s| s.excluded.len()),
        failed = count(|s| s.failed.len() + usize::from(s.error.is_some())),
        snapshot = finished.snapshot.as_ref().map(|s| s.manifest.number),
        "cycle finished"
    );
    Ok(finished)
}

fn with_job<T>(
    config: &Config,
    volume: &Volume,
    repository: &config::Repository,
    store: &Repository,
    work: impl FnOnce(&Job<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let settings = fetch_settings(config);
    source::init(&settings);
    work(&Job {
        store,
        clones: volume.git().join(&repository.name),
        base_url: &repository.base_url,
        sources: repository.sources.iter().collect(),
        rewrite: &|url| config.rewrite(url),
        fetch: &settings,
        fetches: config.fetches,
        workers: config.workers,
    })
}

/// One cycle of each repository.
pub(super) fn build(config: &Config) -> anyhow::Result<Exit> {
    let volume = Volume::open(&config.data)?;
    let (mut complete, mut published) = (true, false);
    for repository in &config.repositories {
        let store = volume.repository(&repository.name)?;
        match run_cycle(config, &volume, repository, &store) {
            Ok(finished) => {
                complete &= finished.report.is_complete();
                published |= store.newest_snapshot()?.is_some_and(|s| s.manifest.releases > 0);
            }
            Err(error) => {
                tracing::error!(repository = repository.name, "{error:#}");
                complete = false;
            }
        }
    }
    Ok(match (complete, published) {
        (true, _) => Exit::Complete,
        (false, true) => Exit::Incomplete,
        (false, false) => Exit::Failed,
    })
}

/// What a cycle would build.
pub(super) fn plan(config: &Config) -> anyhow::Result<Exit> {
    let volume = Volume::open(&config.data)?;
    let mut out = std::io::stdout().lock();
    let mut exit = Exit::Complete;
    for repository in &config.repositories {
        let store = volume.repository(&repository.name)?;
        for source in &repository.sources {
            let planned = with_job(config, &volume, repository, &store, |job| {
                cycle::plan_source(job, source)
            });
            let plan = match planned {
                Ok((_, _, plan)) => plan,
                Err(error) => {
                    writeln!(out, "{} {}: failed: {error:#}", repository.name, source.name)?;
                    exit = Exit::Incomplete;
                    continue;
                }
            };
            for build in &plan.builds {
                writeln!(
                    out,
                    "{} {} {}: build {} {}",
                    repository.name, source.name, build.release.tag, build.name, build.version
                )?;
            }
            let mut already = 0;
            for line in &plan.lines {
                let because = match &line.outcome {
                    Outcome::Published | Outcome::AlreadyPublished => {
                        already += 1;
                        continue;
                    }
                    Outcome::Excluded { because } => format!("excluded: {because}"),
                    Outcome::Failed { because } => {
                        exit = Exit::Incomplete;
                        format!("failed: {because}")
                    }
                };
                writeln!(
                    out,
                    "{} {} {}: {} {because}",
                    repository.name, source.name, line.tag, line.package
                )?;
            }
            writeln!(
                out,
                "{} {}: {} to build, {already} already published",
                repository.name,
                source.name,
                plan.builds.len()
            )?;
        }
    }
    Ok(exit)
}

/// What the configuration means.
pub(super) fn check(config: &Config) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    let listen: Vec<_> = config.listen.iter().map(ToString::to_string).collect();
    writeln!(
        out,
        "The configuration is valid. Data in {}, listening on {}.",
        config.data.display(),
        listen.join(", ")
    )?;
    for repository in &config.repositories {
        let schedule = &repository.schedule;
        writeln!(
            out,
            "Repository {} at {}: {} sources.",
            repository.name,
            repository.base_url,
            repository.sources.len()
        )?;
        let next = schedule
            .next_after(Timestamp::now())
            .map_or("never".to_owned(), |t| {
                t.strftime("%Y-%m-%d %H:%M %Z").to_string()
            });
        writeln!(out, "  Builds: {} Next: {next}.", schedule.describe())?;
        for source in &repository.sources {
            writeln!(
                out,
                "  {} from {}",
                source.name,
                source::redacted(&config.rewrite(&source.git))
            )?;
        }
    }
    Ok(Exit::Complete)
}

pub(super) fn health(config: &Config) -> anyhow::Result<Exit> {
    let address = config.listen.first().context("`serve.listen` names no address")?;
    crate::serve::health(*address).map(|()| Exit::Complete)
}

pub(super) fn schema() -> Exit {
    println!("{:#}", schemars::schema_for!(config::File).as_value());
    Exit::Complete
}
