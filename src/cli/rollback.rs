//! `mirror rollback`: the metadata of an earlier snapshot, until it is ended.

use std::io::Write as _;

use super::stdout::Stdout;
use crate::app::App;
use crate::app::exit::Exit;
use crate::cycle::Report;
use crate::store::Volume;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Arguments {
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

pub(super) fn rollback(app: &App, arguments: &Arguments) -> anyhow::Result<Exit> {
    let repository = app.repository(arguments.repository.as_deref())?;
    let store = Volume::open_existing(&app.config.data)?.repository(&repository.name)?;
    if arguments.end {
        match store.end_rollback()? {
            Some(snapshot) => writeln!(
                Stdout,
                "{}: snapshot {} ends the rollback; the next cycle publishes everything: `mirror build` runs it now",
                repository.name, snapshot.manifest.number
            )?,
            None => writeln!(Stdout, "{}: there is no rollback to end", repository.name)?,
        }
        return Ok(Exit::Complete);
    }
    // What the last cycle found is so still, and what an earlier one has told is no news.
    let last = Report::last(store.latest_snapshot()?.as_ref(), &store.run_history());
    let snapshot = store.roll_back(arguments.to)?;
    store.record_report(serde_json::to_value(last)?)?;
    writeln!(
        Stdout,
        "{}: snapshot {} has the content of snapshot {}; cycles publish no metadata until `mirror rollback --end`",
        repository.name,
        snapshot.manifest.number,
        snapshot.manifest.rollback_to.unwrap_or_default()
    )?;
    Ok(Exit::Complete)
}
