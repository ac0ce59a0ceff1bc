//! `mirror export`: writes a repository, or what some packages need, into one file for a mirror without network.

use std::io::Write as _;
use std::path::PathBuf;

use super::stdout::Stdout;
use crate::app::App;
use crate::app::exit::Exit;
use crate::cycle::{self, Exported, Since, Wanted};
use crate::store::Volume;
use crate::util::text::{first_of, plural};

/// How many names a line has.
const NAMED: usize = 10;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file to write, or a folder if it is one or ends with a slash
    #[arg(value_name = "FILE|FOLDER")]
    to: PathBuf,
    /// Only what this package needs, such as `magento/product-community-edition:2.4.8`; may be repeated
    #[arg(long = "for", value_name = "NAME:CONSTRAINT")]
    wanted: Vec<Wanted>,
    /// Without the archives of an earlier export: its file, or the line or SHA-256 of the ledger at its end
    #[arg(long, value_name = "FILE|LINE|SHA256")]
    since: Option<Since>,
    /// Export this repository
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
}

pub(super) fn export(app: &App, arguments: &Arguments) -> anyhow::Result<Exit> {
    let Arguments { to, wanted, since, repository } = arguments;
    let repository = app.repository(repository.as_deref())?;
    let volume = Volume::open_read_only(&app.config.data)?;
    let store = volume.repository(&repository.name)?;
    let base_url = repository.base_url.to_string();
    let exported = cycle::export(&store, &base_url, wanted, since.as_ref(), to)?;
    let Exported { releases, lines, head, archives, bytes, external } = exported;
    let name = &repository.name;
    writeln!(
        Stdout,
        "{name}: {} with {bytes} bytes written to {}, of {}",
        plural(archives, "archive"),
        to.display(),
        plural(releases, "release")
    )?;
    writeln!(Stdout, "{name}: the ledger has {lines} lines, the last one with SHA-256 {head}")?;
    if !external.is_empty() {
        let external: Vec<_> = external.into_iter().collect();
        writeln!(
            Stdout,
            "{name}: they also require {} that this repository does not publish: {}",
            plural(external.len(), "package"),
            first_of(&external, NAMED)
        )?;
    }
    Ok(Exit::Complete)
}
