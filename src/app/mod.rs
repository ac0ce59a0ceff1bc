//! From a configuration to what the commands work on: the recipes loaded, `only` applied.

pub(crate) mod compress;
pub(crate) mod cycle_runner;
pub(crate) mod exit;
mod progress_bar;
pub(crate) mod site_builder;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::config::{self, Config, Loaded, RecipeRef};
use crate::metadata::BaseUrl;
use crate::recipe::Recipe;
use crate::schedule::Schedule;
use crate::server::LocalSocket;
use crate::yaml::{self, Issue, Report};

/// A configuration with its recipes.
pub(crate) struct App {
    pub(crate) config: Config,
    /// The file of the configuration; `None` for the built-in default.
    pub(crate) file: Option<PathBuf>,
    pub(crate) repositories: Vec<Repository>,
}

/// A repository to build and serve.
pub(crate) struct Repository {
    pub(crate) name: String,
    pub(crate) base_url: BaseUrl,
    pub(crate) schedule: Schedule,
    /// What packages.json tells beside the packages.
    pub(crate) metadata: config::Metadata,
    pub(crate) hints: config::Hints,
    /// Whether only its users may read it.
    pub(crate) is_private: bool,
    /// Its recipe, `only` applied.
    pub(crate) recipe: Recipe,
}

impl App {
    /// What to load when the configuration has changed: once a file was found, its absence is a mistake and not the wish
    /// for the built-in default, which has neither its users nor its repositories.
    pub(crate) fn again(&self, named: Option<&Path>) -> Option<PathBuf> {
        let usual = || self.file.as_ref().map(|_| config::DEFAULT_DIRECTORY.into());
        named.map(Path::to_owned).or_else(usual)
    }

    /// What there is to say where no file was found.
    pub(crate) fn built_in(&self) -> Option<String> {
        self.file.is_none().then(|| {
            format!(
                "there is no configuration in `{}`: the built-in one mirrors the recipe magento for http://localhost:8080/",
                config::DEFAULT_DIRECTORY
            )
        })
    }

    /// The repository with this name, or the only one.
    pub(crate) fn repository(&self, name: Option<&str>) -> anyhow::Result<&Repository> {
        let names: Vec<_> = self.repositories.iter().map(|r| r.name.as_str()).collect();
        match (name, self.repositories.as_slice()) {
            (Some(name), all) => all.iter().find(|r| r.name == name).with_context(|| {
                format!(
                    "there is no repository `{name}`\nhint: there are {}",
                    names.join(", ")
                )
            }),
            (None, [only]) => Ok(only),
            (None, _) => bail!(
                "the configuration has several repositories\nhint: say which one with --repository: {}",
                names.join(", ")
            ),
        }
    }
}

/// The own address of the server with the configuration `named` on the command line.
pub(crate) fn own_name(named: Option<&Path>) -> LocalSocket {
    LocalSocket::new(named.unwrap_or(Path::new(config::DEFAULT_DIRECTORY)))
}

/// Loads the configuration and the recipes that it names.
///
/// # Errors
/// A file that cannot be read, or all problems in it.
pub(crate) fn load(named: Option<&Path>) -> anyhow::Result<App> {
    load_and(named, |_, _| ())
}

/// As [`load`]; what `look` adds to the report are problems, too.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_and(named: Option<&Path>, look: impl FnOnce(&App, &mut Report)) -> anyhow::Result<App> {
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
                    let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                    let error = anyhow::Error::from(error);
                    let error = error.context(format!("failed to read the recipe `{}`", path.display()));
                    let hint = "a relative path starts at the folder of the configuration file";
                    report.add(&at.key("recipe"), Issue::from_error(&error).hint(hint));
                    continue;
                }
            },
        };
        if let Some(only) = &repository.only {
            check_only(only, &recipe, &at.key("only"), &mut report);
            recipe.retain_sources(only);
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
    let app = App {
        config,
        file,
        repositories,
    };
    look(&app, &mut report);
    Ok(report.finish(Some(app))?)
}

fn check_only(only: &[String], recipe: &Recipe, at: &yaml::Path, report: &mut Report) {
    for (i, name) in only.iter().enumerate() {
        if recipe.source_names().all(|source| source != name) {
            let names: Vec<_> = recipe.source_names().collect();
            let issue = Issue::new("expected the name of a source of the recipe")
                .found(format!("`{name}`"))
                .hint(format!("its sources are {}", names.join(", ")))
                .hint_nearest(name, names);
            report.add(&at.index(i), issue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reload_searches_again_for_a_file_found_by_default() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mirror.yaml");
        std::fs::write(
            &file,
            "repositories: [{ name: magento, url: 'http://localhost:8080/', recipe: magento }]",
        )
        .unwrap();
        let app = load(Some(&file)).unwrap();
        assert_eq!(app.built_in(), None);
        assert_eq!(app.again(Some(&file)), Some(file));
        assert_eq!(app.again(None), Some(config::DEFAULT_DIRECTORY.into()));
        let built_in = App { file: None, ..app };
        assert_eq!(built_in.again(None), None);
        assert!(built_in.built_in().is_some());
    }
}
