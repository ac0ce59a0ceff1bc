//! Trials: `mirror run` without a configuration, and `mirror demo`.

use std::path::Path;

use anyhow::{anyhow, ensure};

use super::{App, ConfigTexts, load_texts};
use crate::config::{self, LoadError, Loaded, Trial};
use crate::store::Volume;

/// What `mirror run` runs: the configuration at `path`, or a trial if none is named and there is none.
///
/// # Errors
/// There is no configuration, and the volume has repositories that were published with one.
pub(crate) fn load_or_start(path: Option<&Path>) -> anyhow::Result<App> {
    match config::load(path) {
        Err(absent) if path.is_none() && absent.is_absent() => {
            let trial = Trial::default();
            ensure_own_volume(&trial.data)
                .map_err(|error| anyhow!("no trial starts, because {error}: {absent}"))?;
            load(&trial)
        }
        _ => super::load(path),
    }
}

/// A trial with these settings.
///
/// # Errors
/// The volume has other repositories, or a setting is wrong.
pub(crate) fn start(trial: &Trial) -> anyhow::Result<App> {
    ensure_own_volume(&trial.data).map_err(|error| {
        anyhow!("no trial starts, because {error}\nhint: choose another folder with `--data`")
    })?;
    load(trial)
}

fn load(trial: &Trial) -> anyhow::Result<App> {
    load_texts(None, ConfigTexts { config: trial.text(), ..ConfigTexts::default() })
}

/// The trial on the default volume, for a command that finds no configuration.
pub(super) fn recorded(absent: LoadError) -> anyhow::Result<Loaded> {
    let data = Trial::default().data;
    match std::fs::read_to_string(data.join(Trial::RECORD)) {
        Ok(text) if ensure_own_volume(&data).is_ok() => Ok(config::load_text(None, text, &|_| None)?),
        _ => Err(absent.into()),
    }
}

/// Fails if a volume has repositories that are not a trial's.
fn ensure_own_volume(data: &Path) -> anyhow::Result<()> {
    let mut others = Volume::published(data)?;
    others.remove(Trial::REPOSITORY);
    ensure!(
        others.is_empty(),
        "`{}` has published repositories: {}",
        data.display(),
        others.into_iter().collect::<Vec<_>>().join(", ")
    );
    Ok(())
}

impl App {
    /// Whether it runs without a configuration file.
    pub(crate) fn is_trial(&self) -> bool {
        self.file.is_none()
    }

    /// Says on the log what a trial does, what it costs, and how to end it.
    pub(crate) fn log_trial(&self) {
        let url = self.repositories.iter().map(|repository| repository.base_url.to_string()).next();
        tracing::warn!(
            "no configuration: this is a trial with example packages at {}",
            url.unwrap_or_default()
        );
        for line in [Trial::FIRST_CYCLE, Trial::ALL_OF_MAGENTO, Trial::END] {
            tracing::info!("{line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The volume of a mirror that has published the repositories `names`.
    fn volume(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let lines: String = names.iter().map(|name| format!("repository {name}\n")).collect();
        std::fs::write(folder.path().join("STORE"), format!("mirror store 2\nid 0\n{lines}")).unwrap();
        folder
    }

    #[test]
    fn trial_starts_on_its_own_volume_only() {
        let start = |folder: &Path| start(&Trial { data: folder.to_owned(), ..Trial::default() });
        let missing = tempfile::tempdir().unwrap().path().join("data");
        for data in [missing.as_path(), volume(&[]).path(), volume(&[Trial::REPOSITORY]).path()] {
            let app = start(data).unwrap();
            assert!(app.is_trial());
            assert_eq!(app.config.data, data);
        }
        let other = volume(&["magento", Trial::REPOSITORY, "tools"]);
        let error = start(other.path()).err().unwrap().to_string();
        assert!(error.contains("has published repositories: magento, tools\nhint: "), "{error}");
    }

    #[test]
    fn offline_trial_leaves_out_what_needs_a_network() {
        let sources = |offline| {
            let folder = tempfile::tempdir().unwrap();
            let app = start(&Trial { data: folder.path().into(), offline, ..Trial::default() }).unwrap();
            let recipe = &app.repositories[0].recipe;
            recipe.sources.iter().map(|source| (source.name.clone(), source.git.clone())).collect::<Vec<_>>()
        };
        assert_eq!(sources(true), [("example".to_owned(), "built-in:example".to_owned())]);
        assert_eq!(sources(false).len(), 2);
    }
}
