//! `mirror schema` and `mirror completions`: descriptions of the program for other programs.

use std::io::Write as _;

use super::stdout::Stdout;
use crate::app::exit::Exit;
use crate::config;
use crate::recipe::Recipe;

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
pub(super) enum SchemaKind {
    #[default]
    Config,
    Recipe,
}

pub(super) fn schema(kind: SchemaKind) -> anyhow::Result<Exit> {
    let schema = match kind {
        SchemaKind::Config => config::json_schema(),
        SchemaKind::Recipe => Recipe::json_schema(),
    };
    Stdout.write_all(format!("{schema:#}\n").as_bytes())?;
    Ok(Exit::Complete)
}

pub(super) fn completions(command: &mut clap::Command, shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(shell, command, "mirror", &mut text);
    Stdout.write_all(&text)?;
    Ok(Exit::Complete)
}
