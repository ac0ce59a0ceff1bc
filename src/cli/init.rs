//! `mirror init`: writes a configuration from options, answers and defaults. The answers are checked as the file is.

use std::fs::OpenOptions;
use std::io::{self, BufRead, ErrorKind, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use jiff::tz::TimeZone;

use super::Failure;
use super::init_template::{Settings, render};
use super::stdout::Stdout;
use crate::app::exit::Exit;
use crate::config;
use crate::recipe::Recipe;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
On a terminal it asks for what the options do not say; Enter takes the default in brackets. Elsewhere, and with `--yes`, it takes
the defaults.

Examples:
  mirror init                                           ask, then write /etc/mirror/mirror.yaml
  mirror init ./mirror.yaml --yes --recipe mage-os      without questions
  mirror init - > mirror.yaml                           to the standard output

In a container:
  docker run --rm docker.io/magece/mirror init > conf/mirror.yaml
  docker run --rm -it --user \"$(id -u)\" -v \"$PWD/conf:/etc/mirror\" docker.io/magece/mirror init")]
pub(super) struct Arguments {
    /// The file to write, or `-` for the standard output [default: the file of `--config`, or the standard output if that is
    /// not a terminal]
    file: Option<PathBuf>,
    /// What to mirror: a built-in recipe (magento, mage-os, demo), or the path of a recipe file
    #[arg(long)]
    recipe: Option<String>,
    /// Only these sources of the recipe
    #[arg(long, value_delimiter = ',', value_name = "SOURCE,…")]
    only: Vec<String>,
    /// Public URL: the beginning of all download URLs
    #[arg(long)]
    url: Option<String>,
    /// Name of the repository: its folder on the volume
    #[arg(long)]
    name: Option<String>,
    /// When to build: a crontab line
    #[arg(long)]
    schedule: Option<String>,
    /// Time zone of the schedule
    #[arg(long)]
    timezone: Option<String>,
    /// Folder for the data
    #[arg(long, value_name = "FOLDER")]
    data: Option<String>,
    /// Who runs the mirror, for its pages
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
    /// How to reach the operator: an e-mail address or a URL
    #[arg(long)]
    contact: Option<String>,
    /// Ask nothing
    #[arg(long, short)]
    yes: bool,
    /// Overwrite an existing file
    #[arg(long)]
    force: bool,
}

/// A setting that is asked for.
struct Question {
    /// The name of the option.
    name: &'static str,
    explanation: &'static str,
    /// The key of the file, by which mistakes are found in the report about it.
    key: &'static str,
    option: fn(&Arguments) -> Option<&String>,
    default: fn(&Settings) -> String,
    value: fn(&mut Settings) -> &mut String,
}

const QUESTIONS: [Question; 8] = [
    Question {
        name: "recipe",
        explanation: "What to mirror: `magento`, `mage-os`, `demo` (a small one to try), or the path of a recipe file of your own.",
        key: "repositories[0].recipe",
        option: |arguments| arguments.recipe.as_ref(),
        default: |_| "magento".to_owned(),
        value: |settings| &mut settings.recipe,
    },
    Question {
        name: "url",
        explanation: "The public URL, which all download URLs begin with. The packages are served below its path.",
        key: "repositories[0].url",
        option: |arguments| arguments.url.as_ref(),
        default: |_| "http://localhost:8080/".to_owned(),
        value: |settings| &mut settings.url,
    },
    Question {
        name: "name",
        explanation: "The name of the repository's folder on the data volume, which should never change.",
        key: "repositories[0].name",
        option: |arguments| arguments.name.as_ref(),
        default: default_name,
        value: |settings| &mut settings.name,
    },
    Question {
        name: "schedule",
        explanation: "When to look for new releases: a crontab line, or @hourly, @daily, @weekly.",
        key: "repositories[0].schedule",
        option: |arguments| arguments.schedule.as_ref(),
        default: |_| "17 3 * * *".to_owned(),
        value: |settings| &mut settings.schedule,
    },
    Question {
        name: "timezone",
        explanation: "The time zone of the schedule, such as Europe/Berlin.",
        key: "repositories[0].timezone",
        option: |arguments| arguments.timezone.as_ref(),
        default: |_| system_zone(),
        value: |settings| &mut settings.timezone,
    },
    Question {
        name: "data",
        explanation: "The folder for all data. In a container it is the volume /data.",
        key: "data",
        option: |arguments| arguments.data.as_ref(),
        default: |_| "/data".to_owned(),
        value: |settings| &mut settings.data,
    },
    Question {
        name: "operator",
        explanation: "Who runs the mirror, for its pages. Empty: nobody is named.",
        key: "site.name",
        option: |arguments| arguments.operator.as_ref(),
        default: |_| String::new(),
        value: |settings| &mut settings.operator,
    },
    Question {
        name: "contact",
        explanation: "How to reach the operator: an e-mail address or a URL. Empty: no contact.",
        key: "site.contact",
        option: |arguments| arguments.contact.as_ref(),
        default: |_| String::new(),
        value: |settings| &mut settings.contact,
    },
];

/// The zone of the machine, if it is known by name.
fn system_zone() -> String {
    let zone = TimeZone::system();
    let name = zone.iana_name().filter(|name| TimeZone::get(name).is_ok());
    name.unwrap_or("UTC").to_owned()
}

/// The recipe's name, or that of its file.
fn default_name(settings: &Settings) -> String {
    let stem = Path::new(&settings.recipe).file_stem().unwrap_or_default().to_string_lossy();
    let name = stem.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    match name.trim_matches('-') {
        "" | "git" | "store" => "packages".to_owned(),
        name => name.to_owned(),
    }
}

/// Writes the configuration. `path` is the one of `--config`.
#[expect(clippy::print_stderr, reason = "the log is not set up, and the standard output may be the file")]
pub(super) fn init(arguments: &Arguments, path: Option<&Path>) -> Result<Exit, Failure> {
    let file = target(arguments, path);
    if let Some(file) = file.as_deref().filter(|file| file.exists() && !arguments.force) {
        let hint = "overwrite it with `--force`, or name another file";
        return Err(anyhow!("`{}` exists\nhint: {hint}", file.display()).into());
    }
    let asks = !arguments.yes && io::stdin().is_terminal() && io::stderr().is_terminal();
    let mut input = io::stdin().lock();
    let answers = asks.then_some(&mut input as &mut dyn BufRead);
    let settings = settings(arguments, answers, &mut io::stderr()).map_err(Failure::Config)?;
    let text = render(&settings);
    let Some(file) = file else {
        Stdout.write_all(text.as_bytes()).context("failed to write the configuration")?;
        return Ok(Exit::Complete);
    };
    write(&file, &text, arguments.force)?;
    eprintln!(
        "\nwrote `{0}`\nCheck it: mirror check --config {0}\nStart it: mirror run --config {0}",
        file.display()
    );
    Ok(Exit::Complete)
}

/// The file to write; `None` for the standard output.
fn target(arguments: &Arguments, path: Option<&Path>) -> Option<PathBuf> {
    match (&arguments.file, path) {
        (Some(file), _) if file.as_os_str() == "-" => None,
        (Some(file), _) => Some(file.clone()),
        (None, None) if !io::stdout().is_terminal() => None,
        (None, path) => {
            let path = path.unwrap_or(Path::new(config::DEFAULT_DIRECTORY));
            let is_file = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
            Some(if is_file { path.to_owned() } else { path.join("mirror.yaml") })
        }
    }
}

/// The settings, each from its option, else from the answer to its question, else its default.
///
/// # Errors
/// The value of an option is wrong.
fn settings(
    arguments: &Arguments,
    mut input: Option<&mut dyn BufRead>,
    output: &mut dyn Write,
) -> anyhow::Result<Settings> {
    let mut settings = Settings { only: arguments.only.clone(), ..Settings::default() };
    let mut defaults = Vec::new();
    for question in &QUESTIONS {
        let default = (question.default)(&settings);
        let given = (question.option)(arguments);
        *(question.value)(&mut settings) = given.unwrap_or(&default).clone();
        if given.is_some() {
            if let Some(mistake) = mistake(&settings, question) {
                bail!("--{}: {mistake}", question.name);
            }
        } else if let Some(reader) = input.as_deref_mut() {
            if !ask(question, &default, &mut settings, reader, output)? {
                input = None;
            }
        } else if !default.is_empty() {
            let quote = if default.contains(' ') { "'" } else { "" };
            defaults.push(format!("--{} {quote}{default}{quote}", question.name));
        }
    }
    check_only(&settings)?;
    if !defaults.is_empty() {
        writeln!(output, "using the defaults: {}", defaults.join(", "))?;
    }
    Ok(settings)
}

/// Asks until the answer is right. Returns whether there is more input.
fn ask(
    question: &Question,
    default: &str,
    settings: &mut Settings,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> anyhow::Result<bool> {
    writeln!(output, "\n{}", question.explanation)?;
    loop {
        write!(output, "{} [{default}]: ", question.name)?;
        output.flush()?;
        let mut line = String::new();
        let is_end = input.read_line(&mut line).context("failed to read the answer")? == 0;
        let answer = Some(line.trim()).filter(|answer| !answer.is_empty());
        answer.unwrap_or(default).clone_into((question.value)(settings));
        match mistake(settings, question) {
            Some(mistake) if !is_end => writeln!(output, "  {}", mistake.replace('\n', "\n  "))?,
            _ => return Ok(!is_end),
        }
    }
}

/// What is wrong with the value of a setting, as `mirror check` would say it of the file.
fn mistake(settings: &Settings, question: &Question) -> Option<String> {
    let diagnostics = config::parse(Path::new("mirror.yaml"), &render(settings), &|_| None).err()?;
    let diagnostic = diagnostics.0.into_iter().find(|diagnostic| diagnostic.path == question.key)?;
    let hint = diagnostic.hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    Some(format!("{}{hint}", diagnostic.message))
}

/// A recipe file is read when the mirror starts, and then its sources are known.
fn check_only(settings: &Settings) -> anyhow::Result<()> {
    let Some(Ok(recipe)) = Recipe::built_in(&settings.recipe) else { return Ok(()) };
    let names: Vec<_> = recipe.source_names().collect();
    match settings.only.iter().find(|only| !names.contains(&only.as_str())) {
        Some(unknown) => bail!(
            "--only: `{unknown}` is no source of the recipe `{}`\nhint: its sources are {}",
            settings.recipe,
            names.join(", ")
        ),
        None => Ok(()),
    }
}

fn write(file: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("failed to create the folder `{}`", folder.display()))?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).create_new(!force);
    let written = options.open(file).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                "\nhint: name another file, or `-` for the standard output; in a container, mount the folder writable and run as its owner with `--user`"
            }
            _ => "",
        };
        anyhow!("failed to write `{}`: {error}{hint}", file.display())
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn arguments(options: &[&str]) -> Arguments {
        Line::parse_from([&["init"], options].concat()).arguments
    }

    /// The configuration from these answers, and what was printed.
    fn dialogue(options: &[&str], answers: &str) -> (String, String) {
        let mut output = Vec::new();
        let settings = settings(&arguments(options), Some(&mut answers.as_bytes()), &mut output).unwrap();
        (render(&settings), String::from_utf8(output).unwrap())
    }

    #[test]
    fn wrong_answers_are_explained_and_asked_again() {
        let answers = "magneto\nmage-os\nmirror.example.com\nhttps://mirror.example.com/m/\n\nnever\n@daily\nEurope/Berlim\nEurope/Berlin\n/srv/mirror\nExample: \"Hosting\" ${HOME}\nmirror@example.com\n";
        let (text, printed) = dialogue(&[], answers);
        for said in [
            "recipe [magento]: ",
            "found `magneto`\n  hint: did you mean `magento`?\nrecipe [magento]: ",
            "name [mage-os]: ",
            "found `Europe/Berlim`\n  hint: did you mean `Europe/Berlin`?\ntimezone [",
            "found `never`",
        ] {
            assert!(printed.contains(said), "{said}\n{printed}");
        }
        let (config, _) = config::parse(Path::new("mirror.yaml"), &text, &|_| None).unwrap();
        let repository = &config.repositories[0];
        assert_eq!(
            (repository.name.as_str(), repository.base_url.as_str()),
            ("mage-os", "https://mirror.example.com/m/")
        );
        assert_eq!(config.data, Path::new("/srv/mirror"));
        assert_eq!(config.site.name.as_deref(), Some("Example: \"Hosting\" ${HOME}"));
        assert_eq!(config.site.contact.as_deref(), Some("mirror@example.com"));
    }

    #[test]
    fn options_are_not_asked_for_and_end_of_input_takes_defaults() {
        let options = ["--recipe", "magento", "--only", "composer,inventory", "--timezone", "Asia/Tokyo"];
        let (text, printed) = dialogue(&options, "\nshop\n");
        assert!(!printed.contains("recipe [") && printed.contains("name [magento]: "), "{printed}");
        assert!(printed.ends_with("using the defaults: --data /data\n"), "{printed}");
        let (config, _) = config::parse(Path::new("mirror.yaml"), &text, &|_| None).unwrap();
        let repository = &config.repositories[0];
        assert_eq!(repository.name, "shop");
        assert_eq!(repository.only.as_deref(), Some(&["composer".to_owned(), "inventory".to_owned()][..]));
        assert!(repository.schedule.describe().contains("Asia/Tokyo"));
        assert_eq!(config.site.name, None);
    }

    #[test]
    fn wrong_options_are_errors() {
        for (options, says) in [
            (["--recipe", "magneto"], "--recipe: expected a built-in recipe"),
            (["--name", "Shop!"], "--name: expected a name of lower-case letters"),
            (["--only", "compozer"], "--only: `compozer` is no source of the recipe `magento`"),
        ] {
            let error = settings(&arguments(&options), None, &mut Vec::new()).err().unwrap().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }

    #[test]
    fn name_follows_from_recipe() {
        for (recipe, name) in
            [("mage-os", "mage-os"), ("./My Recipe.yaml", "my-recipe"), ("git.yaml", "packages")]
        {
            assert_eq!(default_name(&Settings { recipe: recipe.into(), ..Settings::default() }), name);
        }
    }
}
