//! `mirror rollback`: serves the metadata of an earlier snapshot until the rollback is ended.

use std::io::Write as _;

use super::snapshot_list;
use super::stdout::Stdout;
use crate::app::App;
use crate::app::cycle_runner::OpenRepository;
use crate::app::exit::Exit;
use crate::cycle::{self, Report};
use crate::store::Volume;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The number of the snapshot [default: the one before the current one]
    #[arg(long, value_name = "N", conflicts_with = "end")]
    to: Option<u64>,
    /// End the rollback: the next cycle publishes everything again
    #[arg(long)]
    end: bool,
    /// List the snapshots, with what each changed
    #[arg(long, conflicts_with_all = ["to", "end"])]
    list: bool,
    /// The repository, if the configuration has several
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
}

pub(super) fn rollback(app: &App, arguments: &Arguments) -> anyhow::Result<Exit> {
    let repository = app.repository(arguments.repository.as_deref())?;
    if arguments.list {
        let volume = Volume::open_read_only(&app.config.data)?;
        snapshot_list::print(&repository.name, &volume.repository(&repository.name)?)?;
        return Ok(Exit::Complete);
    }
    let volume = Volume::open_existing(&app.config.data)?;
    let store = volume.repository(&repository.name)?;
    let name = &repository.name;
    if arguments.end {
        match store.end_rollback()? {
            Some(snapshot) => writeln!(
                Stdout,
                "{name}: snapshot {} ends the rollback; the next cycle publishes everything: `mirror build` runs it now",
                snapshot.manifest.number
            )?,
            None => writeln!(Stdout, "{name}: there is no rollback to end")?,
        }
        return Ok(Exit::Complete);
    }
    // The older snapshot holds an older report. The status page must keep that of the last cycle.
    let report = Report::last(store.latest_snapshot()?.as_ref(), &store.run_history());
    let opened = OpenRepository { app, volume: &volume, repository, store: &store };
    let snapshot = store.roll_back(
        arguments.to,
        |current, target| opened.run_command(|context| cycle::roll_back(context, current, target)),
        |current, target| opened.run_command(|context| cycle::tell_of_rollback(context, current, target)),
    )?;
    store.record_report(serde_json::to_value(report)?)?;
    writeln!(
        Stdout,
        "{name}: snapshot {} has the content of snapshot {}; cycles publish no metadata until `mirror rollback --end`",
        snapshot.manifest.number,
        snapshot.manifest.rollback_to.unwrap_or_default()
    )?;
    Ok(Exit::Complete)
}
