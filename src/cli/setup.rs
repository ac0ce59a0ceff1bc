//! From a configuration to what the commands work on: the recipes loaded, `only` applied.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::config::{self, Config, Loaded, RecipeRef};
use crate::git;
use crate::metadata::BaseUrl;
use crate::recipe::Recipe;
use crate::schedule::Schedule;
use crate::yaml::{self, Complaint, Report};

/// A configuration with its recipes.
pub struct Setup {
    pub config: Config,
    /// The file of the configuration; `None` for the built-in default.
    pub file: Option<PathBuf>,
    pub repositories: Vec<Repository>,
}

/// A repository to build and serve.
pub struct Repository {
    pub name: String,
    pub base_url: BaseUrl,
    pub schedule: Schedule,
    /// What packages.json tells beside the packages.
    pub metadata: config::Metadata,
    pub hints: config::Hints,
    /// Whether only its users may read it.
    pub is_private: bool,
    /// Its recipe, `only` applied.
    pub recipe: Recipe,
}

impl Setup {
    /// What to load when the configuration has changed: once a file was found, its absence is a mistake and not the wish
    /// for the built-in default, which has neither its users nor its repositories.
    pub fn again(&self, named: Option<&Path>) -> Option<PathBuf> {
        let usual = || self.file.as_ref().map(|_| config::DEFAULT_DIRECTORY.into());
        named.map(Path::to_owned).or_else(usual)
    }

    /// What there is to say where no file was found.
    pub fn built_in(&self) -> Option<String> {
        self.file.is_none().then(|| {
            format!(
                "there is no configuration in `{}`: the built-in one mirrors the recipe magento for http://localhost:8080/",
                config::DEFAULT_DIRECTORY
            )
        })
    }

    /// How to fetch.
    ///
    /// # Errors
    /// A credential for what is no URL.
    pub fn fetch_settings(&self) -> anyhow::Result<git::Settings> {
        let git = &self.config.git;
        let credential = |configured: &config::Credential| {
            let mut credential = git::Credential::new(&configured.url)?;
            credential.username = configured.username.clone();
            credential.password = configured.password.clone();
            credential.private_key_file = configured.private_key.clone();
            credential.passphrase = configured.passphrase.clone();
            credential.known_hosts_file = configured.known_hosts.clone();
            Ok(credential)
        };
        Ok(git::Settings {
            connect_timeout: git.connect_timeout,
            timeout: git.timeout,
            ca_file: git.ca_file.clone(),
            shallow: git.shallow,
            refs: self.config.limits.refs.get(),
            credentials: git
                .credentials
                .iter()
                .map(credential)
                .collect::<anyhow::Result<_>>()?,
        })
    }
}

/// Loads the configuration and the recipes that it names.
///
/// # Errors
/// A file that cannot be read, or all problems in it.
pub fn load(named: Option<&Path>) -> anyhow::Result<Setup> {
    load_and(named, |_, _| ())
}

/// As [`load`]; what `look` adds to the report are problems, too.
///
/// # Errors
/// As [`load`].
pub fn load_and(named: Option<&Path>, look: impl FnOnce(&Setup, &mut Report)) -> anyhow::Result<Setup> {
    let Loaded {
        config,
        mut report,
        file,
    } = config::load(named)?;
    let mut repositories = Vec::new();
    for (i, repository) in config.repositories.iter().enumerate() {
        let at = yaml::Path::default().key("repositories").index(i);
        let mut recipe = match &repository.recipe {
            RecipeRef::BuiltIn(name) => {
                Recipe::built_in(name).with_context(|| format!("there is no recipe `{name}`"))??
            }
            RecipeRef::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Recipe::parse(&path.display().to_string(), &text)?,
                Err(error) => {
                    let rule = format!("failed to read the recipe `{}`: {error}", path.display());
                    report.add(&at.key("recipe"), Complaint::new(rule));
                    continue;
                }
            },
        };
        if let Some(only) = &repository.only {
            check_only(only, &recipe, &at.key("only"), &mut report);
            recipe.retain(only);
        }
        repositories.push(Repository {
            name: repository.name.clone(),
            base_url: BaseUrl::new(repository.base_url.clone()),
            schedule: repository.schedule.clone(),
            metadata: repository.metadata,
            hints: repository.hints.clone(),
            is_private: repository.users.is_some(),
            recipe,
        });
    }
    let setup = Setup {
        config,
        file,
        repositories,
    };
    look(&setup, &mut report);
    Ok(report.finish(Some(setup))?)
}

fn check_only(only: &[String], recipe: &Recipe, at: &yaml::Path, report: &mut Report) {
    for (i, name) in only.iter().enumerate() {
        if recipe.names().all(|source| source != name) {
            let hint = match yaml::nearest(name, recipe.names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "its sources are {}",
                    recipe.names().collect::<Vec<_>>().join(", ")
                ),
            };
            let complaint =
                Complaint::new("expected the name of a source of the recipe").found(format!("`{name}`"));
            report.add(&at.index(i), complaint.hint(hint));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_found_is_looked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mirror.yaml");
        std::fs::write(
            &file,
            "repositories: [{ name: magento, url: 'http://localhost:8080/', recipe: magento }]",
        )
        .unwrap();
        let setup = load(Some(&file)).unwrap();
        assert_eq!(setup.built_in(), None);
        assert_eq!(setup.again(Some(&file)), Some(file));
        assert_eq!(setup.again(None), Some(config::DEFAULT_DIRECTORY.into()));
        let built_in = Setup { file: None, ..setup };
        assert_eq!(built_in.again(None), None);
        assert!(built_in.built_in().is_some());
    }
}
