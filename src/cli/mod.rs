//! The command line: arguments in, an exit code out. Wires the configuration to cycles, the clock and the server.

mod build;
mod check;
mod healthcheck;
mod help;
mod plan;
mod rollback;
mod schema;
mod stdout;
mod summary_table;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use self::schema::SchemaOf;
use crate::app;
use crate::app::exit::Exit;
use crate::config::{LogFormat, LogLevel};
use crate::daemon;
use crate::daemon::signals::exit_on_signal;
use crate::telemetry::{Unread, init_logging};

/// A mirror appliance for Composer packages: builds a repository from git on a schedule and serves it.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  mirror check -c ./mirror.yaml         what the configuration means, and when it builds next
  mirror build -c ./mirror.yaml         one cycle
  mirror run                            build on schedule and serve, with /etc/mirror/mirror.yaml
  mirror verify --repair                look for damage, and mend it from git

Exit codes: 0 complete, 1 something failed but the rest was published, 2 nothing could be done, 64 the command line or the configuration is wrong.

Handbook: `mirror help config`, `mirror help recipe`, `mirror help operate`.",
    disable_help_subcommand = true
)]
struct Arguments {
    /// The configuration file, or the folder with mirror.yaml [default: /etc/mirror]
    #[arg(long, short, env = "MIRROR_CONFIG", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Build on schedule and serve (the default)
    Run,
    /// Run one cycle, then exit
    Build,
    /// Serve what is published, without building
    Serve,
    /// Check the configuration and say what it means
    Check,
    /// Say what a cycle would build, without building
    Plan,
    /// Compare everything that is published with the ledger, with git or with another mirror
    Verify(verify::Arguments),
    /// Publish the metadata of an earlier snapshot again
    Rollback(rollback::Arguments),
    /// Ask the running server whether it is well
    Health,
    /// Print the JSON Schema of the configuration, or of recipes
    Schema {
        #[arg(value_enum, default_value_t)]
        of: SchemaOf,
    },
    /// Print the completions of a shell
    #[command(after_help = "Example: mirror completions bash > /etc/bash_completion.d/mirror")]
    Completions { shell: clap_complete::Shell },
    /// Print the help of a command, or a page of the handbook
    Help {
        /// A command or a topic
        #[arg(value_name = "TOPIC")]
        name: Option<String>,
    },
}

/// Runs the program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Complete.into()
            };
        }
    };
    let exit = match arguments.command.clone().unwrap_or(Command::Run) {
        Command::Schema { of } => finish(schema::schema(of)),
        Command::Completions { shell } => finish(schema::completions(&mut Arguments::command(), shell)),
        Command::Help { name } => finish(help::help(&mut Arguments::command(), name.as_deref())),
        command => configured(&command, &arguments),
    };
    exit.into()
}

fn configured(command: &Command, arguments: &Arguments) -> Exit {
    let named = arguments.config.as_deref();
    if matches!(command, Command::Health)
        && let Some(answer) = healthcheck::of_running(named)
    {
        return finish(answer);
    }
    let loaded = match command {
        Command::Check => app::load_and(named, check::check_files),
        _ => app::load(named),
    };
    let app = match loaded {
        Ok(app) => app,
        Err(error) => {
            eprintln!("{error:#}");
            return Exit::Usage;
        }
    };
    let log = app.config.log;
    // What a person asks for and reads at once needs no log of its steps.
    let (format, level) = match command {
        Command::Check | Command::Health | Command::Plan | Command::Rollback(_) | Command::Verify(_) => {
            (LogFormat::Auto, LogLevel::Warn)
        }
        _ => (log.format, log.level),
    };
    // A server has others to answer.
    let unread = match command {
        Command::Run | Command::Serve => Unread::IsLost,
        _ => Unread::Waits,
    };
    let result = init_logging(format, level, unread).and_then(|()| {
        if let Some(said) = app.built_in() {
            tracing::warn!("{said}");
        }
        match command {
            Command::Run => daemon::run(app, named),
            Command::Serve => daemon::serve(app, named),
            Command::Build => exit_on_signal().and_then(|()| build::build(&app)),
            Command::Plan => exit_on_signal().and_then(|()| plan::plan(&app)),
            Command::Check => check::check(&app),
            Command::Verify(arguments) => verify::verify(&app, arguments),
            Command::Rollback(arguments) => rollback::rollback(&app, arguments),
            Command::Health => healthcheck::of_configured(&app),
            // Neither has a configuration.
            Command::Schema { .. } | Command::Completions { .. } | Command::Help { .. } => Ok(Exit::Complete),
        }
    });
    finish(result)
}

fn finish(result: anyhow::Result<Exit>) -> Exit {
    result.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        Exit::Failed
    })
}
