//! `mirror restore`: fills an empty repository, or repairs damaged and missing archives, from another mirror or a backup.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use url::Url;

use super::stdout::Stdout;
use crate::app::App;
use crate::app::cycle_runner::{NO_OBSERVER, OpenRepository};
use crate::app::exit::Exit;
use crate::cycle;
use crate::net::redacted;
use crate::store::Volume;
use crate::util::cancel::CancelFlag;
use crate::util::text::plural;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The base URL of a mirror, or the folder of a repository: of a backup of the volume, or with the files of a mirror
    #[arg(long, value_name = "URL|FOLDER")]
    from: String,
    /// Restore this repository
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
}

pub(super) fn restore(app: &App, arguments: &Arguments) -> anyhow::Result<Exit> {
    let repository = app.repository(arguments.repository.as_deref())?;
    let from = place(&arguments.from)?;
    let volume = Volume::open(&app.config.data)?;
    let store = volume.repository(&repository.name)?;
    let opened = OpenRepository { app, volume: &volume, repository, store: &store };
    opened.close_to_others();
    let restored = opened
        .with_cycle_context(NO_OBSERVER, &CancelFlag::default(), |context| cycle::restore(context, &from))?;
    store.recheck_damaged(store.missing_archives()?)?;
    let name = &repository.name;
    writeln!(
        Stdout,
        "{name}: {} and {} restored from {}",
        plural(restored.releases, "release"),
        plural(restored.repaired, "damaged archive"),
        redacted(from.as_str())
    )?;
    for problem in &restored.problems {
        writeln!(Stdout, "{name}: {problem}")?;
    }
    Ok(match restored.problems.is_empty() {
        true => Exit::Complete,
        false => Exit::Incomplete,
    })
}

/// A URL, or the URL of a folder, which ends with `/`.
fn place(text: &str) -> anyhow::Result<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    if let Some(mut url) = url {
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        return Ok(url);
    }
    let folder = Path::new(text);
    let folder =
        folder.canonicalize().with_context(|| format!("failed to find the folder `{}`", folder.display()))?;
    Url::from_directory_path(&folder).ok().with_context(|| format!("`{}` is not a folder", folder.display()))
}
