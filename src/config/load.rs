//! Where the configuration comes from: the named file, the one in the default folder, or the built-in default.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::raw::{BUILT_IN, Config, Document};
use crate::util::text::without_error_numbers;
use crate::util::text_file;
use crate::yaml::{self, Diagnostics, Environment, Report};

/// The folder of the file when none is named.
pub const DEFAULT_DIRECTORY: &str = "/etc/mirror";

/// The names of the file in a folder.
const NAMES: [&str; 2] = ["mirror.yaml", "mirror.yml"];

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("failed to read `{}`: {}{}", path.display(), without_error_numbers(&error.to_string()), hint(error))]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("failed to find mirror.yaml in the folder `{}`{MISSING_HINT}", path.display())]
    Missing { path: PathBuf },
    #[error(transparent)]
    Invalid(#[from] Diagnostics),
}

const MISSING_HINT: &str = "\nhint: mount or create the file, name another one with `--config`, or omit `--config` for the built-in default";

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
    /// `None` for the built-in default.
    pub file: Option<PathBuf>,
    /// What the file contained.
    pub text: String,
}

/// Loads the file `named`, or `mirror.yaml` of that folder. Without a name, the file in [`DEFAULT_DIRECTORY`], and if
/// there is none, the built-in default: the recipe `magento` on port 8080, with the volume `/data`.
pub fn load(named: Option<&Path>) -> Result<Loaded, LoadError> {
    load_from(named, Path::new(DEFAULT_DIRECTORY), &|name| std::env::var(name).ok())
}

pub fn load_from(
    named: Option<&Path>,
    usual: &Path,
    environment: Environment<'_>,
) -> Result<Loaded, LoadError> {
    let file = match named {
        Some(path) if path.is_dir() => {
            Some(in_folder(path).ok_or_else(|| LoadError::Missing { path: path.into() })?)
        }
        Some(path) => Some(path.to_owned()),
        None => in_folder(usual),
    };
    let text = match &file {
        Some(path) => text_file::read_to_string(path)
            .map_err(|error| LoadError::Unreadable { path: path.clone(), error })?,
        None => BUILT_IN.to_owned(),
    };
    load_text(file, text, environment)
}

/// Loads the `text` of a file that was read before, or of the built-in default.
pub fn load_text(
    file: Option<PathBuf>,
    text: String,
    environment: Environment<'_>,
) -> Result<Loaded, LoadError> {
    let path = file.as_deref().unwrap_or(Path::new("built-in"));
    let (config, report) = parse(path, &text, environment)?;
    Ok(Loaded { config, report, file, text })
}

/// The configuration in the `text` of `file`, against whose folder relative paths are resolved.
pub fn parse(file: &Path, text: &str, environment: Environment<'_>) -> Result<(Config, Report), Diagnostics> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let (document, mut report) = yaml::read::<Document>(&file.display().to_string(), text, Some(environment));
    let config = document.and_then(|document| document.resolve(folder, &mut report));
    let config = report.finish(config)?;
    Ok((config, report))
}

/// The configuration file in a folder. A dangling link, or a file without access, counts as one: that is an error, not a reason
/// for the built-in default.
fn in_folder(folder: &Path) -> Option<PathBuf> {
    NAMES.iter().map(|name| folder.join(name)).find(|path| match path.symlink_metadata() {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    })
}
