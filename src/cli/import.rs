//! `mirror import`: publishes what a file of `mirror export` has, for a mirror without network.

use std::io::Write as _;
use std::path::PathBuf;

use super::restore::local_place;
use super::stdout::Stdout;
use crate::app::App;
use crate::app::cycle_runner::OpenRepository;
use crate::app::exit::Exit;
use crate::cycle::Imported;
use crate::store::Volume;
use crate::util::text::plural;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What `mirror export` has written, or a folder with the same files
    #[arg(value_name = "FILE|FOLDER")]
    from: PathBuf,
    /// Import into this repository
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
}

pub(super) fn import(app: &App, arguments: &Arguments) -> anyhow::Result<Exit> {
    let repository = app.repository(arguments.repository.as_deref())?;
    let from = local_place(&arguments.from)?;
    let volume = Volume::open(&app.config.data)?;
    let store = volume.repository(&repository.name)?;
    let opened = OpenRepository { app, volume: &volume, repository, store: &store };
    let Imported { archives, lines, ledger, head, absent, result } = opened.import(&from)?;
    let name = &repository.name;
    match result.snapshot {
        Some(snapshot) => writeln!(
            Stdout,
            "{name}: {} and {} of the ledger imported, published in snapshot {}",
            plural(archives, "archive"),
            plural(usize::try_from(lines)?, "line"),
            snapshot.manifest.number
        )?,
        None => writeln!(Stdout, "{name}: everything in it is here already")?,
    }
    writeln!(Stdout, "{name}: the ledger has {ledger} lines, the last one with SHA-256 {head}")?;
    if absent > 0 {
        writeln!(Stdout, "{name}: {} of the ledger are not here", plural(absent, "release"))?;
    }
    Ok(match result.report.is_complete() && result.damaged.is_empty() {
        true => Exit::Complete,
        false => Exit::Incomplete,
    })
}
