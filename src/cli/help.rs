//! `mirror help`: the commands, the help of one of them, or a topic of the handbook.

use std::io::Write as _;

use super::stdout::Stdout;
use crate::app::exit::Exit;
use crate::help::TOPICS;

/// Prints the help of `name`, a topic or a subcommand of `command`. Without a name, prints that of `command`.
#[expect(clippy::print_stderr, reason = "the log is not set up")]
pub(super) fn help(command: &mut clap::Command, name: Option<&str>) -> anyhow::Result<Exit> {
    // Gives each subcommand its full name and the global options.
    command.build();
    let Some(name) = name else {
        Stdout.write_all(command.render_help().to_string().as_bytes())?;
        return Ok(Exit::Complete);
    };
    if let Some(topic) = TOPICS.iter().find(|topic| topic.name == name) {
        Stdout.write_all(topic.text.as_bytes())?;
        return Ok(Exit::Complete);
    }
    if let Some(subcommand) = command.find_subcommand_mut(name) {
        Stdout.write_all(subcommand.render_help().to_string().as_bytes())?;
        return Ok(Exit::Complete);
    }
    eprintln!("unknown help topic `{name}`\nhint: the topics are");
    for topic in &TOPICS {
        eprintln!("  {:8} {}", topic.name, topic.summary);
    }
    Ok(Exit::Usage)
}
