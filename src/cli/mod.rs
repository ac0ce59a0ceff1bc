//! The command line: arguments in, an exit code out. Each command has a file of its own.

mod build;
mod check;
mod check_machine;
mod cycle;
mod demo;
mod export;
pub mod healthcheck;
mod help;
mod import;
mod init;
mod init_template;
mod json_rows;
mod plan;
mod plan_composer;
mod restore;
mod rollback;
mod running_server;
mod schema;
mod snapshot_list;
mod status;
mod status_text;
mod stdout;
mod summary_table;
mod verify;
mod verify_findings;
mod withdraw;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{CommandFactory as _, Parser, Subcommand};

use self::schema::SchemaKind;
use crate::app::exit::Exit;
use crate::app::{self, App, trial};
use crate::config::{LogFormat, LogLevel};
use crate::daemon;
use crate::daemon::signals::exit_on_signal;
use crate::store::NEWEST_FORMAT;
use crate::telemetry::{OnBlocked, init_logging};
use crate::util::text::{inert_lines, without_error_numbers};
use crate::yaml::Report;

/// The version, the commit if the build was told it (`MIRROR_COMMIT`), and the newest format of volumes that this program reads.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let commit = match option_env!("MIRROR_COMMIT") {
        Some(commit) if !commit.is_empty() => format!("commit {commit}\n"),
        _ => String::new(),
    };
    format!("{}\n{commit}volume format {NEWEST_FORMAT}", env!("CARGO_PKG_VERSION"))
});

/// A mirror for Composer packages: builds a repository from git on a schedule and serves it.
#[derive(Debug, Parser)]
#[command(
    version = VERSION.as_str(),
    after_help = "Examples:
  mirror demo --offline                 try it: no configuration, no network
  mirror init ./mirror.yaml             write a configuration, by a few questions
  mirror check -c ./mirror.yaml         check the configuration, show the next build
  mirror build -c ./mirror.yaml         run one cycle
  mirror run                            build on schedule and serve, with /etc/mirror/mirror.yaml
  mirror status                         show what is published, what failed and when it runs next
  mirror verify --repair                find damaged archives and rebuild them from git

Exit codes: 0 complete, 1 something failed but the rest was done, 2 failed, 64 the command line or the configuration is wrong.

Handbook: `mirror help config`, `mirror help recipe`, `mirror help operate`, `mirror help network`, `mirror help bucket`,
`mirror help versions`.",
    disable_help_subcommand = true
)]
struct Arguments {
    /// The configuration file, or the folder with mirror.yaml [default: /etc/mirror]
    #[arg(long, short, env = "MIRROR_CONFIG", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build on schedule and serve (the default); without a configuration, a trial
    Run,
    /// Try it: build and serve example packages, without a configuration
    Demo(demo::Arguments),
    /// Write a configuration, by a few questions or from options
    Init(init::Arguments),
    /// Run one cycle, then exit
    Build(build::Arguments),
    /// Serve what is published, without building
    Serve,
    /// Check the configuration and summarize it
    Check,
    /// Show what a cycle would build, without building
    Plan(plan::Arguments),
    /// Check all published files against the ledger, git or another mirror
    Verify(verify::Arguments),
    /// Fill an empty repository, or repair its archives, from another mirror or a backup
    Restore(restore::Arguments),
    /// Write a repository, or what some packages need, into a file for a mirror without network
    Export(export::Arguments),
    /// Publish what such a file has
    Import(import::Arguments),
    /// Publish the metadata of an earlier snapshot again
    Rollback(rollback::Arguments),
    /// Stop publishing a version: malware, a leaked secret, a legal order
    Withdraw(withdraw::Arguments),
    /// Show the state of the running mirror: what the status page says
    #[command(after_help = "Exit codes: 0 everything is fresh, 1 something needs you, 2 no server answered.")]
    Status(status::Arguments),
    /// Check that the server is healthy
    Health,
    /// Print the JSON Schema of the configuration or of recipes
    Schema {
        #[arg(value_enum, default_value_t, value_name = "KIND")]
        kind: SchemaKind,
    },
    /// Print the completions for a shell
    #[command(after_help = "Example: mirror completions bash > /etc/bash_completion.d/mirror")]
    Completions { shell: clap_complete::Shell },
    /// One job of `mirror run`, which starts this itself
    #[command(hide = true)]
    Cycle {
        /// The repository, for lists of processes; the job is read from the standard input
        #[arg(value_name = "REPOSITORY")]
        _repository: String,
    },
    /// Print the help of a command, or a page of the handbook
    Help {
        /// A command or a topic
        #[arg(value_name = "TOPIC")]
        name: Option<String>,
    },
}

/// Which log a command writes.
#[derive(Clone, Copy)]
enum Log {
    /// As configured. Lines are dropped while the reader of the log stalls, so that the server keeps answering.
    Daemon,
    /// As configured.
    Configured,
    /// Warnings only, because people read the output of the command.
    Warnings,
}

enum Failure {
    Config(anyhow::Error),
    /// Of a server, whose log may be read by programs only.
    Daemon(anyhow::Error),
    Command(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Command(error)
    }
}

/// Runs the program.
#[expect(clippy::print_stderr, reason = "the log may not be set up when a command fails")]
pub fn main() -> ExitCode {
    let exit = match Arguments::try_parse() {
        Ok(arguments) => run(arguments).unwrap_or_else(|failure| {
            let (error, exit) = match failure {
                Failure::Config(error) => (error, Exit::Usage),
                Failure::Command(error) => (error, Exit::Failed),
                Failure::Daemon(error) => {
                    tracing::error!("{error:#}");
                    return Exit::Failed;
                }
            };
            eprintln!("{}", inert_lines(&without_error_numbers(&format!("{error:#}"))));
            exit
        }),
        Err(error) => {
            let _ = error.print();
            match error.use_stderr() {
                true => Exit::Usage,
                false => Exit::Complete,
            }
        }
    };
    exit.into()
}

fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let path = arguments.config.as_deref();
    let exit = match arguments.command.unwrap_or(Command::Run) {
        Command::Run => {
            let app = trial::load_or_start(path).map_err(Failure::Config)?;
            return daemon::run(with_log(app, Log::Daemon)?, path).map_err(Failure::Daemon);
        }
        Command::Demo(arguments) => {
            let trial = arguments.trial();
            let app = trial::start(&trial).map_err(Failure::Config)?;
            return daemon::run(with_log(app, Log::Daemon)?, Some(&trial.data)).map_err(Failure::Daemon);
        }
        Command::Init(arguments) => return init::init(&arguments, path),
        Command::Serve => return daemon::serve(load(path, Log::Daemon)?, path).map_err(Failure::Daemon),
        Command::Build(arguments) => {
            let app = load(path, Log::Configured)?;
            exit_on_signal()?;
            build::build(&app, &arguments)
        }
        Command::Plan(arguments) => {
            let app = load(path, Log::Warnings)?;
            exit_on_signal()?;
            plan::plan(&app, &arguments)
        }
        Command::Check => check::check(&load_and_check(path, Log::Warnings, check::check_files)?, path),
        Command::Verify(arguments) => verify::verify(&load(path, Log::Warnings)?, &arguments),
        Command::Restore(arguments) => restore::restore(&load(path, Log::Warnings)?, &arguments),
        Command::Export(arguments) => export::export(&load(path, Log::Warnings)?, &arguments),
        Command::Import(arguments) => import::import(&load(path, Log::Warnings)?, &arguments),
        Command::Rollback(arguments) => rollback::rollback(&load(path, Log::Warnings)?, &arguments),
        Command::Withdraw(arguments) => withdraw::withdraw(&load(path, Log::Warnings)?, &arguments),
        Command::Cycle { .. } => cycle::run(),
        Command::Status(arguments) => match status::ask_local(path, &arguments) {
            Some(result) => result,
            None => status::ask_configured(&load(path, Log::Warnings)?, &arguments),
        },
        Command::Health => match healthcheck::check_local(path) {
            Some(result) => result,
            None => healthcheck::check_configured(&load(path, Log::Warnings)?),
        },
        Command::Schema { kind } => schema::schema(kind),
        Command::Completions { shell } => schema::completions(&mut Arguments::command(), shell),
        Command::Help { name } => help::help(&mut Arguments::command(), name.as_deref()),
    };
    Ok(exit?)
}

fn load(path: Option<&Path>, log: Log) -> Result<App, Failure> {
    load_and_check(path, log, |_, _| ())
}

/// Loads the configuration, and sets up the log.
fn load_and_check(
    path: Option<&Path>,
    log: Log,
    check: impl FnOnce(&App, &mut Report),
) -> Result<App, Failure> {
    let app = app::load_and_check(path, check).map_err(Failure::Config)?;
    with_log(app, log)
}

/// Sets up the log that the configuration asks for.
fn with_log(app: App, log: Log) -> Result<App, Failure> {
    let configured = app.config.log;
    let (format, level) = match log {
        Log::Warnings => (LogFormat::Auto, LogLevel::Warn),
        Log::Daemon | Log::Configured => (configured.format, configured.level),
    };
    let on_blocked = match log {
        Log::Daemon => OnBlocked::Drop,
        Log::Configured | Log::Warnings => OnBlocked::Wait,
    };
    init_logging(format, level, on_blocked)?;
    Ok(app)
}
