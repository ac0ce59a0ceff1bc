//! `mirror withdraw`: stops publishing a version, permanently or until that is undone.

use std::io::Write as _;

use anyhow::{Context as _, bail};

use super::stdout::Stdout;
use crate::app::App;
use crate::app::cycle_runner::OpenRepository;
use crate::app::exit::Exit;
use crate::cycle;
use crate::store::{RepositoryStore, Volume};
use crate::util::text::first_of;

/// In characters. Longer reasons belong on a page of their own.
const MAX_REASON: usize = 500;

/// How many versions an error lists.
const LISTED: usize = 10;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The package, such as `magento/module-catalog`
    #[arg(value_name = "NAME")]
    name: String,
    /// The version, as the metadata has it
    #[arg(value_name = "VERSION")]
    version: String,
    /// Why, in one line; everybody can read it
    #[arg(long, value_name = "TEXT", value_parser = reason, required_unless_present = "undo")]
    reason: Option<String>,
    /// Publish the version again, with the same bytes
    #[arg(long, conflicts_with = "reason")]
    undo: bool,
    /// The repository, if the configuration has several
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        _ if text.contains(char::is_control) => {
            Err("expected one line without control characters".to_owned())
        }
        0 => Err("expected a reason".to_owned()),
        length if length > MAX_REASON => {
            Err(format!("it has {length} characters, more than {MAX_REASON}: name a page that says more"))
        }
        _ => Ok(text.to_owned()),
    }
}

pub(super) fn withdraw(app: &App, arguments: &Arguments) -> anyhow::Result<Exit> {
    let Arguments { name, version, reason, .. } = arguments;
    let repository = app.repository(arguments.repository.as_deref())?;
    let volume = Volume::open_existing(&app.config.data)?;
    let store = volume.repository(&repository.name)?;
    check_published(&store, name, version)?;
    record(&store, name, version, reason.as_deref())?;
    let opened = OpenRepository { app, volume: &volume, repository, store: &store };
    let (snapshot, _) = opened
        .run_command(cycle::follow_withdrawals)
        .context("this is recorded, but the metadata could not be published; the next cycle tries again")?;
    let state = if arguments.undo { "is published again" } else { "is withdrawn" };
    let repository = &repository.name;
    match snapshot {
        Some(snapshot) => writeln!(
            Stdout,
            "{repository}: {name} {version} {state}, in snapshot {}",
            snapshot.manifest.number
        )?,
        None => writeln!(Stdout, "{repository}: {name} {version} {state}")?,
    }
    Ok(Exit::Complete)
}

/// Records the withdrawal or its undoing, unless it is recorded already: the command may be repeated.
fn record(store: &RepositoryStore, name: &str, version: &str, reason: Option<&str>) -> anyhow::Result<()> {
    let withdrawals = store.withdrawals();
    let known = withdrawals.iter().find(|withdrawal| withdrawal.is_of(name, version));
    match known {
        Some(known) if reason == Some(&known.reason) && !store.is_withdrawal_followed(name, version)? => {
            Ok(())
        }
        None if reason.is_none() => bail!("{name} {version} is not withdrawn"),
        _ => store.record_withdrawal(name, version, reason),
    }
}

fn check_published(store: &RepositoryStore, name: &str, version: &str) -> anyhow::Result<()> {
    let mut versions: Vec<_> = store.ledger(|ledger| {
        let releases = ledger.releases().iter().rev().filter(|release| release.name == name);
        releases.map(|release| release.version.clone()).collect()
    });
    versions.dedup();
    if versions.is_empty() {
        bail!(
            "no version of `{name}` was ever published here\nhint: `mirror plan` and the status page list the packages"
        );
    }
    if !versions.iter().any(|published| published == version) {
        bail!(
            "`{name}` has no published version `{version}`\nhint: its versions are {}, newest first",
            first_of(&versions, LISTED)
        );
    }
    Ok(())
}
