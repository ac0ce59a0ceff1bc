//! Notices changes of the configuration and its recipes while the program runs, and loads them.
//!
//! The contents of the files are compared, because bind mounts, the links of a Kubernetes ConfigMap and an editor's rename
//! change different metadata. A change is loaded once two polls see the same content, so that a half-written file is not used.
//! SIGHUP loads the files at once. A configuration that cannot be loaded is reported once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::service_manager;
use super::signals::ReloadRequest;
use crate::app::{self, App};
use crate::config::{self, RecipeRef, RepositoryContent};
use crate::util::digest::Sha256;

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The digest of each file; `None` for a file that cannot be read.
type Files = BTreeMap<PathBuf, Option<Sha256>>;

pub(super) struct ConfigWatcher {
    /// `None` for a trial, which ends when there is a configuration in the default folder.
    path: Option<PathBuf>,
    /// Whether there is nothing to watch: a trial with settings from the command line.
    is_fixed: bool,
    recipes: Vec<PathBuf>,
    /// The files when the configuration was last loaded, or failed to load.
    loaded: Files,
    /// The files at the last poll.
    polled: Files,
    polled_at: Instant,
    request: ReloadRequest,
}

impl ConfigWatcher {
    /// `path` is the file or folder of the command line.
    pub(super) fn new(path: Option<&Path>, app: &App, request: ReloadRequest) -> Self {
        let mut watcher = Self {
            path: app.reload_path(path),
            is_fixed: app.is_trial() && path.is_some(),
            recipes: recipes(app),
            loaded: Files::new(),
            polled: Files::new(),
            polled_at: Instant::now(),
            request,
        };
        watcher.loaded = watcher.files();
        watcher.polled.clone_from(&watcher.loaded);
        watcher
    }

    /// The new configuration if there is one, or why it cannot be loaded. Settings that need a restart are taken from
    /// `current`. Tells the service manager that it loads one.
    pub(super) fn poll(&mut self, current: &App) -> Option<anyhow::Result<App>> {
        let is_requested = self.request.take();
        if self.is_fixed || !is_requested && self.polled_at.elapsed() < POLL_INTERVAL {
            return None;
        }
        self.polled_at = Instant::now();
        let files = self.files();
        let is_settled = files == self.polled;
        self.polled.clone_from(&files);
        if !is_requested && (!is_settled || files == self.loaded) {
            return None;
        }
        // Digested before loading, so that the next poll notices a change in between.
        self.loaded = files;
        service_manager::reloading();
        let loaded = app::load(self.path.as_deref()).map(|mut app| {
            self.recipes = recipes(&app);
            self.path = self.path.take().or(app.reload_path(None));
            let files = self.files().into_iter();
            self.loaded = files
                .map(|(path, digest)| (path.clone(), self.loaded.remove(&path).unwrap_or(digest)))
                .collect();
            keep_restart_settings(&mut app, current);
            app
        });
        Some(loaded)
    }

    /// The configuration, its recipes, and all YAML files in its folder: a new configuration may name one of them.
    fn files(&self) -> Files {
        let path = self.path.as_deref();
        let path = path.unwrap_or(Path::new(config::DEFAULT_DIRECTORY));
        let folder = if path.is_dir() { Some(path) } else { path.parent() };
        let entries = folder.and_then(|folder| folder.read_dir().ok());
        let neighbours = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|end| end == "yaml" || end == "yml"));
        let files = neighbours.chain(self.recipes.iter().cloned()).chain([path.to_owned()]);
        files.map(|path| (path.clone(), digest(&path))).collect()
    }
}

fn digest(path: &Path) -> Option<Sha256> {
    std::fs::read(path).ok().map(|bytes| Sha256::digest(&bytes))
}

fn recipes(app: &App) -> Vec<PathBuf> {
    let file = |repository: &config::RepositoryConfig| match &repository.content {
        RepositoryContent::Recipe(RecipeRef::File(path)) => Some(path.clone()),
        RepositoryContent::Recipe(RecipeRef::BuiltIn(_))
        | RepositoryContent::Follow(_)
        | RepositoryContent::Import => None,
    };
    app.config.repositories.iter().filter_map(file).collect()
}

/// Keeps the volume, the sockets and the log, which exist for the life of the process.
fn keep_restart_settings(app: &mut App, current: &App) {
    let (new, old) = (&mut app.config, &current.config);
    for (key, same) in
        [("data", new.data == old.data), ("serve", new.serve == old.serve), ("log", new.log == old.log)]
    {
        if !same {
            tracing::warn!(key, "this change takes effect at the next start");
        }
    }
    new.data.clone_from(&old.data);
    new.serve.clone_from(&old.serve);
    new.log.clone_from(&old.log);
}
