//! `mirror schema`: the JSON Schema of the configuration or of recipes.

use std::io::Write as _;

use super::stdout::Stdout;
use crate::app::exit::Exit;
use crate::config;
use crate::recipe::Recipe;

/// What a schema describes.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
pub enum SchemaOf {
    #[default]
    Config,
    Recipe,
}

/// The JSON Schema of a kind of file.
pub(super) fn schema(of: SchemaOf) -> anyhow::Result<Exit> {
    let schema = match of {
        SchemaOf::Config => config::json_schema(),
        SchemaOf::Recipe => Recipe::json_schema(),
    };
    writeln!(Stdout, "{schema:#}")?;
    Ok(Exit::Complete)
}

/// The completions of a shell.
pub(super) fn completions(command: &mut clap::Command, shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(shell, command, "mirror", &mut text);
    Stdout.write_all(&text)?;
    Ok(Exit::Complete)
}
