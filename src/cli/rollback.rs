//! `mirror rollback`: the metadata of an earlier snapshot, until it is ended.

use std::io::Write as _;

use anyhow::{Context as _, bail};
use clap::Args;

use super::Exit;
use super::output::Output;
use super::setup::{Repository, Setup};
use crate::cycle::Report;
use crate::store::Volume;

#[derive(Debug, Clone, Args)]
pub(super) struct Rollback {
    /// The number of the snapshot; the one before the current one unless given
    #[arg(long, value_name = "N", conflicts_with = "end")]
    to: Option<u64>,
    /// End the rollback: the next cycle publishes everything again
    #[arg(long)]
    end: bool,
    /// The repository, where the configuration has several
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
}

pub(super) fn rollback(setup: &Setup, arguments: &Rollback) -> anyhow::Result<Exit> {
    let repository = chosen(setup, arguments.repository.as_deref())?;
    let store = Volume::open_existing(&setup.config.data)?.repository(&repository.name)?;
    if arguments.end {
        match store.end_rollback()? {
            Some(snapshot) => writeln!(
                Output,
                "{}: snapshot {} ends the rollback; the next cycle publishes everything: `mirror build` runs it now",
                repository.name, snapshot.manifest.number
            )?,
            None => writeln!(Output, "{}: there is no rollback to end", repository.name)?,
        }
        return Ok(Exit::Complete);
    }
    // What the last cycle found is so still, and what an earlier one has told is no news.
    let last = Report::last(store.latest_snapshot()?.as_ref(), &store.cycles());
    let snapshot = store.roll_back(arguments.to)?;
    store.note_report(serde_json::to_value(last)?)?;
    writeln!(
        Output,
        "{}: snapshot {} has the content of snapshot {}; cycles publish no metadata until `mirror rollback --end`",
        repository.name,
        snapshot.manifest.number,
        snapshot.manifest.rollback_to.unwrap_or_default()
    )?;
    Ok(Exit::Complete)
}

/// The repository of that name, or the only one.
pub(super) fn chosen<'s>(setup: &'s Setup, name: Option<&str>) -> anyhow::Result<&'s Repository> {
    let names: Vec<_> = setup.repositories.iter().map(|r| r.name.as_str()).collect();
    match (name, setup.repositories.as_slice()) {
        (Some(name), all) => all.iter().find(|r| r.name == name).with_context(|| {
            format!(
                "there is no repository `{name}`\nhint: there are {}",
                names.join(", ")
            )
        }),
        (None, [only]) => Ok(only),
        (None, _) => bail!(
            "the configuration has several repositories\nhint: say which one with --repository: {}",
            names.join(", ")
        ),
    }
}
