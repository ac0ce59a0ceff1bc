//! Where the configuration comes from: the named file, or the one in the default folder.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::raw::{Config, Document};
use super::trial::Trial;
use crate::util::text::without_error_numbers;
use crate::util::text_file;
use crate::yaml::{self, Diagnostics, Environment, Report};

/// The folder of the file when none is named.
pub const DEFAULT_DIRECTORY: &str = "/etc/mirror";

/// The names of the file in a folder.
const NAMES: [&str; 2] = ["mirror.yaml", "mirror.yml"];

/// Files of a folder without a configuration that an error names.
const MAX_FOUND: usize = 5;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("failed to read `{}`: {}{}", path.display(), without_error_numbers(&error.to_string()), hint(error))]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("failed to find mirror.yaml in the folder `{}`{}{MISSING_HINT}", path.display(), others(found))]
    Missing {
        path: PathBuf,
        /// What the folder has instead.
        found: Vec<String>,
    },
    #[error(transparent)]
    Invalid(#[from] Diagnostics),
}

const MISSING_HINT: &str =
    "\nhint: mount or create the file, which `mirror init` writes, or name another one with `--config`";

impl LoadError {
    /// Whether the folder of the configuration does not exist or is empty, and no other mistake was made.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Missing { found, .. } if found.is_empty())
    }
}

fn others(found: &[String]) -> String {
    match found {
        [] => String::new(),
        found => format!(", which has `{}`", found.join("`, `")),
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => MISSING_HINT,
        _ => "",
    }
}

/// A configuration, and the places of its values.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// Collects the issues of checks that need more than the file, such as unknown names of sources.
    pub report: Report,
    /// `None` for that of a trial.
    pub file: Option<PathBuf>,
    /// What the file contained.
    pub text: String,
}

/// Loads the file `named`, or `mirror.yaml` of that folder; without a name, the file in [`DEFAULT_DIRECTORY`].
pub fn load(named: Option<&Path>) -> Result<Loaded, LoadError> {
    load_from(named, Path::new(DEFAULT_DIRECTORY), &|name| std::env::var(name).ok())
}

pub fn load_from(
    named: Option<&Path>,
    usual: &Path,
    environment: Environment<'_>,
) -> Result<Loaded, LoadError> {
    let path = match named {
        Some(path) if !path.is_dir() => path.to_owned(),
        folder => in_folder(folder.unwrap_or(usual))?,
    };
    let text = text_file::read_to_string(&path)
        .map_err(|error| LoadError::Unreadable { path: path.clone(), error })?;
    load_text(Some(path), text, environment)
}

/// Loads the `text` of a file that was read before, or of a trial.
pub fn load_text(
    file: Option<PathBuf>,
    text: String,
    environment: Environment<'_>,
) -> Result<Loaded, LoadError> {
    let path = file.as_deref().unwrap_or(Path::new(Trial::RECORD));
    let (config, report) = parse(path, &text, environment)?;
    Ok(Loaded { config, report, file, text })
}

/// The configuration in the `text` of `file`, against whose folder relative paths are resolved.
pub fn parse(file: &Path, text: &str, environment: Environment<'_>) -> Result<(Config, Report), Diagnostics> {
    // Messages about other files name them so that they can be found from everywhere.
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = absolute.parent().unwrap_or(Path::new(""));
    let (document, mut report) = yaml::read::<Document>(&file.display().to_string(), text, Some(environment));
    let config = document.and_then(|document| document.resolve(folder, &mut report));
    let config = report.finish(config)?;
    Ok((config, report))
}

/// The configuration file in a folder. A dangling link, or a file without access, counts as one: that is an error, not a reason
/// for a trial.
fn in_folder(folder: &Path) -> Result<PathBuf, LoadError> {
    let file = NAMES.iter().map(|name| folder.join(name)).find(|path| match path.symlink_metadata() {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    });
    file.ok_or_else(|| {
        let entries = folder.read_dir().into_iter().flatten().flatten();
        let mut found: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        found.sort();
        found.truncate(MAX_FOUND);
        LoadError::Missing { path: folder.to_owned(), found }
    })
}
