//! The configuration: one YAML file as typed values, checked completely before anything on the volume is touched.
//!
//! [`File`] is the file as it is written, and the source of its JSON Schema; [`Config`] is what it means.

mod file;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

pub use file::File;

use crate::recipe::{Recipe, Source};
use crate::repository::BaseUrl;
use crate::schedule::Schedule;
use crate::yaml::{self, Problems};

/// Where the image expects its configuration.
pub const DEFAULT_PATH: &str = "/etc/mirror/mirror.yaml";

/// Used when no file is named and none is at [`DEFAULT_PATH`].
const BUILT_IN: &str = "repositories: [{name: magento, url: 'http://localhost:8080/', recipe: magento}]";

/// A valid configuration.
#[derive(Debug)]
pub struct Config {
    pub listen: Vec<SocketAddr>,
    pub drain: Duration,
    pub data: PathBuf,
    pub repositories: Vec<Repository>,
    pub rewrite: BTreeMap<String, String>,
    pub connect_timeout: Duration,
    pub timeout: Duration,
    pub shallow: bool,
    /// Sources fetched at the same time.
    pub fetches: usize,
    /// Packages built at the same time.
    pub workers: usize,
}

/// A repository to build and serve.
#[derive(Debug)]
pub struct Repository {
    pub name: String,
    pub base_url: BaseUrl,
    pub schedule: Schedule,
    /// The sources of its recipe, `only` applied.
    pub sources: Vec<Source>,
}

impl Config {
    /// Loads the named file, or the one at the default place, or the built-in configuration.
    ///
    /// # Errors
    /// A file that cannot be read, or all problems in it.
    pub fn load(named: Option<&Path>) -> anyhow::Result<Self> {
        let path = named.unwrap_or(Path::new(DEFAULT_PATH));
        let path = if path.is_dir() {
            path.join("mirror.yaml")
        } else {
            path.to_owned()
        };
        if named.is_none() && !path.exists() {
            return Ok(Self::parse(Path::new("built-in configuration"), BUILT_IN)?);
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read the configuration `{}`", path.display()))?;
        Ok(Self::parse(&path, &text)?)
    }

    /// Parses the text of a configuration; recipes named by path are read beside `path`.
    ///
    /// # Errors
    /// All problems.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Problems> {
        let document = yaml::parse::<File>(path, text)?;
        let mut problems = Vec::new();
        let config = resolve(path, &document.value, &mut |at, message| {
            problems.push(document.problem(at, message))
        });
        match config.filter(|_| problems.is_empty()) {
            Some(config) => Ok(config),
            None => Err(Problems(problems)),
        }
    }

    /// The URL to fetch from: the longest matching prefix of `git.rewrite` is replaced, as git's `insteadOf` does.
    pub fn rewrite(&self, url: &str) -> String {
        let matching = self
            .rewrite
            .iter()
            .filter(|(prefix, _)| url.starts_with(prefix.as_str()));
        match matching.max_by_key(|(prefix, _)| prefix.len()) {
            Some((prefix, replacement)) => format!("{replacement}{}", &url[prefix.len()..]),
            None => url.to_owned(),
        }
    }
}

type Refuse<'a> = &'a mut dyn FnMut(&str, String);

fn resolve(path: &Path, file: &File, refuse: Refuse<'_>) -> Option<Config> {
    let mut listen = Vec::new();
    for (i, address) in file.serve.listen.iter().enumerate() {
        match address.parse() {
            Ok(address) => listen.push(address),
            Err(_) => refuse(
                &format!("serve.listen[{i}]"),
                format!(
                    "`{address}` is no address and port\nhint: write it as \"[::]:8080\" or \"127.0.0.1:8080\""
                ),
            ),
        }
    }
    let mut duration = |at: &str, text: &str| {
        let parsed = text
            .parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|d| Duration::try_from(d).ok());
        parsed.unwrap_or_else(|| {
            refuse(
                at,
                format!("`{text}` is no duration\nhint: write it with its unit, such as 30s or 5m"),
            );
            Duration::ZERO
        })
    };
    let drain = duration("serve.drain", &file.serve.drain);
    let connect_timeout = duration("git.connect_timeout", &file.git.connect_timeout);
    let timeout = duration("git.timeout", &file.git.timeout);
    if file.repositories.is_empty() {
        refuse("repositories", "at least one repository is needed".into());
    }
    let mut repositories: Vec<Repository> = Vec::new();
    for (i, repository) in file.repositories.iter().enumerate() {
        let at = format!("repositories[{i}]");
        let Some(resolved) = resolve_repository(path, repository, &at, refuse) else {
            continue;
        };
        if repositories.iter().any(|r| r.name == resolved.name) {
            refuse(
                &format!("{at}.name"),
                format!("another repository has the name `{}`", resolved.name),
            );
        }
        if let Some(other) = repositories
            .iter()
            .find(|r| r.base_url.path() == resolved.base_url.path())
        {
            refuse(
                &format!("{at}.url"),
                format!("repository `{}` is served at the same path", other.name),
            );
        }
        repositories.push(resolved);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Some(Config {
        listen,
        drain,
        data: file.data.clone(),
        repositories,
        rewrite: file.git.rewrite.clone(),
        connect_timeout,
        timeout,
        shallow: file.git.shallow,
        fetches: file.git.parallel.max(1),
        workers: file.build.workers.unwrap_or(cores.min(4)).max(1),
    })
}

fn resolve_repository(
    path: &Path,
    file: &file::Repository,
    at: &str,
    refuse: Refuse<'_>,
) -> Option<Repository> {
    let safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if !file
        .name
        .starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        || !file.name.chars().all(safe)
        || file.name == "git"
    {
        refuse(
            &format!("{at}.name"),
            format!(
                "`{}` is no name of a repository: lower-case letters, digits, `.`, `_` and `-`, and not `git`",
                file.name
            ),
        );
    }
    let base_url = file
        .url
        .parse::<BaseUrl>()
        .map_err(|e| refuse(&format!("{at}.url"), e.to_string()))
        .ok();
    let schedule = Schedule::parse(&file.schedule, &file.timezone)
        .map_err(|e| refuse(&format!("{at}.schedule"), format!("{e:#}")))
        .ok();
    let recipe = load_recipe(path, &file.recipe)
        .map_err(|e| refuse(&format!("{at}.recipe"), format!("{e:#}")))
        .ok();
    let mut sources = recipe?.sources;
    if let Some(only) = &file.only {
        for (i, name) in only.iter().enumerate() {
            if !sources.iter().any(|source| source.name == *name) {
                let known: Vec<_> = sources.iter().map(|s| s.name.as_str()).collect();
                refuse(
                    &format!("{at}.only[{i}]"),
                    format!("the recipe has no source `{name}`; it has {}", known.join(", ")),
                );
            }
        }
        sources.retain(|source| only.contains(&source.name));
    }
    Some(Repository {
        name: file.name.clone(),
        base_url: base_url?,
        schedule: schedule?,
        sources,
    })
}

fn load_recipe(config: &Path, name: &str) -> anyhow::Result<Recipe> {
    if name.ends_with(".yaml") || name.ends_with(".yml") {
        let path = config.parent().unwrap_or(Path::new("")).join(name);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read the recipe `{}`", path.display()))?;
        return Ok(Recipe::parse(&path, &text)?);
    }
    let known = || Recipe::built_in_names().collect::<Vec<_>>().join(", ");
    let recipe = Recipe::built_in(name).with_context(|| {
        format!("there is no recipe `{name}`\nhint: built in are: {}; a recipe of your own is named by its path, such as ./my.yaml", known())
    })?;
    Ok(recipe?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        Config::parse(Path::new("mirror.yaml"), text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_built_in_configuration_and_recipes_are_valid() {
        let config = Config::parse(Path::new("built-in"), BUILT_IN).unwrap();
        assert_eq!(config.data, Path::new("/data"));
        assert!(
            config.repositories[0]
                .sources
                .iter()
                .any(|s| s.name == "security-package")
        );
    }

    #[test]
    fn the_example_is_valid() {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/mirror.yaml"));
        let config = Config::load(Some(path)).unwrap();
        assert_eq!(config.repositories[0].sources.len(), 2);
    }

    #[test]
    fn all_values_that_are_wrong_are_named_at_once() {
        let found = problems(
            "serve: {listen: ['8080'], drain: '30'}\nrepositories:\n  - {name: Mage, url: 'ftp://x/', recipe: magento, schedule: '61 * * * *'}\n  - {name: b, url: 'http://x/', recipe: nothing}\n",
        );
        for expected in [
            "serve.listen[0]: `8080`",
            "serve.drain: `30`",
            "repositories[0].name: `Mage`",
            "repositories[0].url: `ftp://x/`",
            "repositories[0].schedule",
            "repositories[1].recipe: there is no recipe `nothing`",
        ] {
            assert!(found.contains(expected), "{expected} in\n{found}");
        }
    }

    #[test]
    fn an_unknown_or_duplicate_key_is_refused_with_its_line() {
        for (text, expected) in [
            ("repositories: []\nsevre: {}\n", "sevre"),
            ("data: /a\ndata: /b\nrepositories: []\n", "duplicate"),
            ("data: 5\nrepositories: {}\n", "line"),
        ] {
            let found = problems(text);
            assert!(
                found.starts_with("mirror.yaml: ") && found.contains(expected),
                "{found}"
            );
        }
    }

    #[test]
    fn the_longest_prefix_is_rewritten() {
        let text = format!(
            "{BUILT_IN}\ngit: {{rewrite: {{'https://a/': 'file:///x/', 'https://a/b/': 'file:///y/'}}}}"
        );
        let config = Config::parse(Path::new("t"), &text).unwrap();
        assert_eq!(config.rewrite("https://a/b/c.git"), "file:///y/c.git");
        assert_eq!(config.rewrite("https://a/c.git"), "file:///x/c.git");
        assert_eq!(config.rewrite("https://b/c.git"), "https://b/c.git");
    }
}
