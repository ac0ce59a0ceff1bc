//! Notices that the configuration has changed while the program runs, and loads it anew.
//!
//! The files are read again and again: a bind mount, the link swap of a Kubernetes ConfigMap and an editor's rename look
//! the same to that, and to nothing else. A change counts once two looks see the same, so that a file which is just
//! being written is not taken; SIGHUP asks for the files as they are. What cannot be loaded is told once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::signals::ReloadRequest;
use crate::app::{self, App};
use crate::config::{self, RecipeRef};
use crate::util::digest::Sha256;

/// How often the files are looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The digest of each file that there is.
type Files = BTreeMap<PathBuf, Option<Sha256>>;

/// Watches the files of one configuration.
pub(super) struct ConfigWatcher {
    named: Option<PathBuf>,
    recipes: Vec<PathBuf>,
    /// As they were when the configuration was last loaded, or failed to be.
    loaded: Files,
    /// As they were at the last look.
    seen: Files,
    looked: Instant,
    asked: ReloadRequest,
}

impl ConfigWatcher {
    /// Watches the files that `app` was made of; `named` is the file or folder of the command line.
    pub(super) fn new(named: Option<&Path>, app: &App, asked: ReloadRequest) -> Self {
        let mut watch = Self {
            named: app.again(named),
            recipes: recipes(app),
            loaded: Files::new(),
            seen: Files::new(),
            looked: Instant::now(),
            asked,
        };
        watch.loaded = watch.files();
        watch.seen.clone_from(&watch.loaded);
        watch
    }

    /// The new configuration, if there is one since the last call, or why it cannot be loaded. `current` is the one that
    /// runs: what only a restart can change is taken from it.
    pub(super) fn changed(&mut self, current: &App) -> Option<anyhow::Result<App>> {
        let asked = self.asked.take();
        if !asked && self.looked.elapsed() < POLL_INTERVAL {
            return None;
        }
        self.looked = Instant::now();
        let files = self.files();
        let settled = files == self.seen;
        self.seen.clone_from(&files);
        if !asked && (!settled || files == self.loaded) {
            return None;
        }
        // What changes while it is loaded is noticed at the next look.
        self.loaded = files;
        let loaded = app::load(self.named.as_deref()).map(|mut app| {
            self.recipes = recipes(&app);
            let named = self.files().into_iter();
            self.loaded = named
                .map(|(path, digest)| (path.clone(), self.loaded.remove(&path).unwrap_or(digest)))
                .collect();
            keep_what_needs_a_restart(&mut app, current);
            app
        });
        Some(loaded)
    }

    /// The file of the configuration and the recipes that it names; those beside it also, because a new configuration
    /// may name one that is not there yet, or is broken.
    fn files(&self) -> Files {
        let named = self
            .named
            .as_deref()
            .unwrap_or(Path::new(config::DEFAULT_DIRECTORY));
        let folder = if named.is_dir() {
            Some(named)
        } else {
            named.parent()
        };
        let beside = folder.and_then(|folder| folder.read_dir().ok());
        let beside = beside
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|end| end == "yaml" || end == "yml"));
        let files = beside
            .chain(self.recipes.iter().cloned())
            .chain([named.to_owned()]);
        files.map(|path| (path.clone(), digest(&path))).collect()
    }
}

fn digest(path: &Path) -> Option<Sha256> {
    std::fs::read(path).ok().map(|bytes| Sha256::digest(&bytes))
}

fn recipes(app: &App) -> Vec<PathBuf> {
    let file = |repository: &config::Repository| match &repository.recipe {
        RecipeRef::File(path) => Some(path.clone()),
        RecipeRef::BuiltIn(_) => None,
    };
    app.config.repositories.iter().filter_map(file).collect()
}

/// The volume is locked, the sockets are bound and the log is set up for the life of the process.
fn keep_what_needs_a_restart(app: &mut App, current: &App) {
    let (new, old) = (&mut app.config, &current.config);
    for (key, same) in [
        ("data", new.data == old.data),
        ("serve", new.serve == old.serve),
        ("log", new.log == old.log),
    ] {
        if !same {
            tracing::warn!(key, "this change takes effect at the next start");
        }
    }
    new.data.clone_from(&old.data);
    new.serve.clone_from(&old.serve);
    new.log.clone_from(&old.log);
}
