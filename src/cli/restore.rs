//! `mirror restore`: fills an empty repository, or repairs damaged and missing archives, from another mirror, a backup or a bundle.

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
    /// The base URL of a mirror, the folder of a repository (of a backup of the volume, or with the files of a mirror), or a file
    /// of `mirror export`
    #[arg(long, value_name = "URL|FOLDER|FILE")]
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
    if restored.branches > 0 {
        let of = if restored.branches == 1 { "head of a branch was" } else { "heads of branches were" };
        writeln!(Stdout, "{name}: {} {of} left out", restored.branches)?;
    }
    if restored.metapackages > 0 {
        let count = plural(restored.metapackages, "metapackage");
        writeln!(Stdout, "{name}: {count} without an archive left to the recipe; Composer downloads none")?;
    }
    for incomplete in &restored.incomplete {
        writeln!(Stdout, "{name}: {incomplete}; it stays published, because it was")?;
    }
    for problem in &restored.problems {
        writeln!(Stdout, "{name}: {problem}")?;
    }
    Ok(match restored.problems.is_empty() {
        true => Exit::Complete,
        false => Exit::Incomplete,
    })
}

/// A URL that ends with `/`, or that of a folder or file.
fn place(text: &str) -> anyhow::Result<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    if let Some(mut url) = url {
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        return Ok(url);
    }
    local_place(Path::new(text))
}

/// The URL of a folder or file.
pub(super) fn local_place(path: &Path) -> anyhow::Result<Url> {
    let found = path.canonicalize();
    let found = found.with_context(|| format!("failed to find the folder or file `{}`", path.display()))?;
    let url = if found.is_dir() { Url::from_directory_path(&found) } else { Url::from_file_path(&found) };
    url.ok().with_context(|| format!("`{}` is neither a folder nor a file", path.display()))
}
