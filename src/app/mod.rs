//! A configuration with its recipes, and what commands and the daemon do with it.

mod bucket_catch_up;
pub(crate) mod bucket_upload;
pub(crate) mod compress;
pub(crate) mod cycle_job;
pub(crate) mod cycle_runner;
pub(crate) mod exit;
pub(crate) mod memory;
pub(crate) mod progress_bar;
pub(crate) mod published_contents;
pub(crate) mod repair;
pub(crate) mod site_builder;
pub(crate) mod trial;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::config::{self, Config, Loaded, RecipeRef, RepositoryContent};
use crate::metadata::BaseUrl;
use crate::net::{covers, redacted};
use crate::recipe::Recipe;
use crate::schedule::Schedule;
use crate::server::LocalSocket;
use crate::util::text_file;
use crate::yaml::{self, Issue, Report};

pub(crate) struct App {
    pub(crate) config: Config,
    /// The configuration file; `None` for a trial.
    pub(crate) file: Option<PathBuf>,
    pub(crate) repositories: Vec<Repository>,
    pub(crate) texts: ConfigTexts,
}

/// What the files of a configuration contained, from which another process makes the same [`App`] even if they have changed
/// since. Secrets are not in it: the other process has the same environment and reads the same files.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ConfigTexts {
    config: String,
    recipes: BTreeMap<PathBuf, String>,
}

/// A repository to build and serve.
pub(crate) struct Repository {
    pub(crate) name: String,
    pub(crate) base_url: BaseUrl,
    pub(crate) schedule: Schedule,
    pub(crate) metadata: config::Metadata,
    pub(crate) hints: config::Hints,
    /// Whether reading it needs a user's credentials.
    pub(crate) is_private: bool,
    /// Reduced to the sources that `only` names; without any if it follows other mirrors.
    pub(crate) recipe: Recipe,
    /// The mirrors that it follows instead of a recipe.
    pub(crate) follow: Vec<Url>,
}

impl Repository {
    /// Whether it has neither a recipe nor mirrors to follow, only what is imported.
    pub(crate) fn is_imported(&self) -> bool {
        self.follow.is_empty() && self.recipe.source_names().next().is_none()
    }

    /// Packagist asks mirrors to stay away from full hours, when everybody comes.
    fn full_hour_warning(&self) -> Option<String> {
        let asked = self.recipe.composer.iter().find(|source| source.stands_in_for.is_none())?;
        let next = self.schedule.next_after(Timestamp::now())?;
        let is_full_hour = next.minute() == 0;
        is_full_hour.then(|| {
            format!(
                "repository {}: its schedule asks `{}` at the full hour, when such servers are busiest: choose another minute, such as `17 3 * * *`",
                self.name,
                redacted(&asked.url)
            )
        })
    }

    /// What somebody serves to users with a password may not be everybody's.
    fn public_copy_warning(&self, git: &config::Git) -> Option<String> {
        if self.is_private {
            return None;
        }
        let sources = self.recipe.composer.iter().filter_map(|source| git.rewrite(&source.url).parse().ok());
        let mut urls = self.follow.iter().cloned().chain(sources);
        let needs_login = |url: &Url| git.credentials.iter().any(|credential| covers(&credential.url, url));
        let url = urls.find(needs_login)?;
        Some(format!(
            "repository {}: what `{}` sends to those with credentials is served here to everybody; `users` restricts it",
            self.name,
            redacted(url.as_str())
        ))
    }
}

impl App {
    /// The path to reload the configuration from. If a file was found at the start, its absence is an error later: a trial has
    /// neither its users nor its repositories.
    pub(crate) fn reload_path(&self, path: Option<&Path>) -> Option<PathBuf> {
        self.file.as_ref()?;
        Some(path.unwrap_or(Path::new(config::DEFAULT_DIRECTORY)).to_owned())
    }

    /// What the configuration may ask for, but at a price that its keys do not tell.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let preferred = self.repositories.iter().flat_map(|repository| {
            let urls = repository.hints.preferred_mirrors();
            urls.map(|url| {
                format!(
                    "repository {}: `hints.mirrors` prefers `{url}`: while that mirror answers 503, Composer asks it 16 \
                     times for each archive, 5 to 15 s, before it asks this one; if its bytes differ, Composer fails without fail-over",
                    repository.name
                )
            })
        });
        let normalized = self.repositories.iter().flat_map(|repository| {
            let urls = repository.hints.mirrors_by_normalized_version();
            urls.map(|url| {
                format!(
                    "repository {}: in `{url}` of `hints.mirrors`, Composer puts `1.0.0.0` for `%version%`; mirrors of this program name \
                     archives by `%prettyVersion%`",
                    repository.name
                )
            })
        });
        let full_hours = self.repositories.iter().filter_map(Repository::full_hour_warning);
        let public = self.repositories.iter().filter_map(|r| r.public_copy_warning(&self.config.git));
        preferred.chain(normalized).chain(full_hours).chain(public).collect()
    }

    pub(crate) fn log_warnings(&self) {
        for warning in self.warnings() {
            tracing::warn!("{warning}");
        }
    }

    /// The text of the configuration.
    pub(crate) fn config_text(&self) -> &str {
        &self.texts.config
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.repositories.iter().map(|repository| repository.name.as_str())
    }

    /// The repository with this name, or all of them.
    pub(crate) fn chosen(&self, name: Option<&str>) -> anyhow::Result<Vec<&Repository>> {
        match name {
            Some(name) => Ok(vec![self.repository(Some(name))?]),
            None => Ok(self.repositories.iter().collect()),
        }
    }

    /// The repository with this name, or the only one.
    pub(crate) fn repository(&self, name: Option<&str>) -> anyhow::Result<&Repository> {
        let names = || self.names().collect::<Vec<_>>().join(", ");
        match (name, self.repositories.as_slice()) {
            (Some(name), all) => all.iter().find(|repository| repository.name == name).with_context(|| {
                format!("unknown repository `{name}`\nhint: the repositories are {}", names())
            }),
            (None, [only]) => Ok(only),
            (None, _) => bail!(
                "the configuration has several repositories\nhint: choose one with --repository: {}",
                names()
            ),
        }
    }
}

/// The local socket of the server with the configuration at `path`, for `mirror health`.
pub(crate) fn local_socket(path: Option<&Path>) -> LocalSocket {
    LocalSocket::new(path.unwrap_or(Path::new(config::DEFAULT_DIRECTORY)))
}

/// Loads the configuration at `path` and the recipes that it names.
pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<App> {
    load_and_check(path, |_, _| ())
}

/// Loads the configuration, and adds the issues that `check` finds to the report of all issues.
pub(crate) fn load_and_check(
    path: Option<&Path>,
    check: impl FnOnce(&App, &mut Report),
) -> anyhow::Result<App> {
    let loaded = match config::load(path) {
        Err(absent) if path.is_none() && absent.is_absent() => trial::recorded(absent)?,
        loaded => loaded?,
    };
    load_recipes(loaded, BTreeMap::new(), check)
}

/// Loads the configuration that another process has loaded from `file`.
pub(crate) fn load_texts(file: Option<PathBuf>, texts: ConfigTexts) -> anyhow::Result<App> {
    let loaded = config::load_text(file, texts.config, &|name| std::env::var(name).ok())?;
    load_recipes(loaded, texts.recipes, |_, _| ())
}

/// Loads the recipes that a configuration names, from `texts` or else from their files.
fn load_recipes(
    loaded: Loaded,
    mut texts: BTreeMap<PathBuf, String>,
    check: impl FnOnce(&App, &mut Report),
) -> anyhow::Result<App> {
    let Loaded { config, mut report, file, text } = loaded;
    let mut repositories = Vec::new();
    for (i, repository) in config.repositories.iter().enumerate() {
        let at = yaml::Path::default().key("repositories").index(i);
        let (recipe, follow) = match &repository.content {
            RepositoryContent::Follow(follow) => (Some(Recipe::default()), follow.clone()),
            RepositoryContent::Import => (Some(Recipe::default()), Vec::new()),
            RepositoryContent::Recipe(recipe) => {
                (load_recipe(recipe, &mut texts, &at.key("recipe"), &mut report)?, Vec::new())
            }
        };
        let Some(mut recipe) = recipe else { continue };
        if let Some(only) = &repository.only {
            check_only(only, &recipe, &at.key("only"), &mut report);
            recipe.retain_sources(only);
        }
        check_closure_of(&recipe, &repository.name, &config, &at.key("recipe"), &mut report);
        repositories.push(Repository {
            name: repository.name.clone(),
            base_url: BaseUrl::new(repository.base_url.clone()),
            schedule: repository.schedule.clone(),
            metadata: repository.metadata,
            hints: repository.hints.clone(),
            is_private: repository.users.is_some(),
            recipe,
            follow,
        });
    }
    let texts = ConfigTexts { config: text, recipes: texts };
    let app = App { config, file, repositories, texts };
    check(&app, &mut report);
    Ok(report.finish(Some(app))?)
}

/// Loads a recipe. A file that cannot be read is added to the report.
fn load_recipe(
    recipe: &RecipeRef,
    texts: &mut BTreeMap<PathBuf, String>,
    at: &yaml::Path,
    report: &mut Report,
) -> anyhow::Result<Option<Recipe>> {
    let path = match recipe {
        RecipeRef::BuiltIn(name) => {
            let recipe = Recipe::built_in(name).with_context(|| format!("unknown recipe `{name}`"))?;
            return Ok(Some(recipe?));
        }
        RecipeRef::File(path) => path,
    };
    let text = texts.get(path).cloned().map_or_else(|| text_file::read_to_string(path), Ok);
    match text {
        Ok(text) => {
            let recipe = Recipe::parse(&path.display().to_string(), &text)?;
            texts.insert(path.clone(), text);
            Ok(Some(recipe))
        }
        Err(error) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let is_missing = error.kind() == ErrorKind::NotFound;
            let error = anyhow::Error::from(error);
            let error = error.context(format!("failed to read the recipe `{}`", path.display()));
            let mut issue = Issue::from_error(&error);
            if is_missing {
                issue = issue.hint("a relative path starts at the folder of the configuration file");
            }
            report.add(at, issue);
            Ok(None)
        }
    }
}

fn check_only(only: &[String], recipe: &Recipe, at: &yaml::Path, report: &mut Report) {
    for (i, name) in only.iter().enumerate() {
        if recipe.source_names().any(|source| source == name) {
            continue;
        }
        let names: Vec<_> = recipe.source_names().collect();
        let issue = Issue::new("expected the name of a source of the recipe")
            .found(format!("`{name}`"))
            .hint(format!("its sources are {}", names.join(", ")))
            .hint_nearest(name, names);
        report.add(&at.index(i), issue);
    }
}

/// A recipe does not know the configuration, which has the repositories that it names in `closure_of`.
fn check_closure_of(recipe: &Recipe, own: &str, config: &Config, at: &yaml::Path, report: &mut Report) {
    let others = || config.repositories.iter().map(|other| other.name.as_str()).filter(|name| *name != own);
    for source in &recipe.composer {
        for name in source.closure_of.iter().filter(|name| !others().any(|other| other == *name)) {
            let issue = Issue::new(format!(
                "`closure_of` of the source `{}` expects names of other repositories of the configuration",
                source.name
            ));
            report.add(at, issue.found(format!("`{name}`")).hint_nearest(name, others()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_configuration_is_not_replaced_by_a_trial_on_reload() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mirror.yaml");
        std::fs::write(
            &file,
            "repositories: [{ name: magento, url: 'http://localhost:8080/', recipe: magento }]",
        )
        .unwrap();
        let app = load(Some(&file)).unwrap();
        assert!(!app.is_trial());
        assert_eq!(app.reload_path(Some(&file)), Some(file));
        assert_eq!(app.reload_path(None), Some(config::DEFAULT_DIRECTORY.into()));
        let trial = App { file: None, ..app };
        assert_eq!(trial.reload_path(None), None);
        assert!(trial.is_trial());
    }
}
