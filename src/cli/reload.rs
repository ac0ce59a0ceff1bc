//! Notices that the configuration has changed while the program runs, and loads it anew.
//!
//! The files are read again and again: a bind mount, the link swap of a Kubernetes ConfigMap and an editor's rename look
//! the same to that, and to nothing else. A change counts once two looks see the same, so that a file which is just
//! being written is not taken; SIGHUP asks for the files as they are. What cannot be loaded is told once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::setup::{self, Setup};
use crate::config::{self, RecipeRef};
use crate::util::digest::Sha256;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Set by a signal, taken by whoever acts on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Request(Arc<AtomicBool>);

impl Request {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// The digest of each file that there is.
type Files = BTreeMap<PathBuf, Option<Sha256>>;

/// Watches the files of one configuration.
pub(super) struct Watch {
    named: Option<PathBuf>,
    recipes: Vec<PathBuf>,
    /// As they were when the configuration was last loaded, or failed to be.
    loaded: Files,
    /// As they were at the last look.
    seen: Files,
    looked: Instant,
    asked: Request,
}

impl Watch {
    /// Watches the files that `setup` was made of; `named` is the file or folder of the command line.
    pub(super) fn new(named: Option<&Path>, setup: &Setup, asked: Request) -> Self {
        let mut watch = Self {
            named: setup.again(named),
            recipes: recipes(setup),
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
    pub(super) fn changed(&mut self, current: &Setup) -> Option<anyhow::Result<Setup>> {
        let asked = self.asked.take();
        if !asked && self.looked.elapsed() < LOOK {
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
        let loaded = setup::load(self.named.as_deref()).map(|mut setup| {
            self.recipes = recipes(&setup);
            let named = self.files().into_iter();
            self.loaded = named
                .map(|(path, digest)| (path.clone(), self.loaded.remove(&path).unwrap_or(digest)))
                .collect();
            keep_what_needs_a_restart(&mut setup, current);
            setup
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
    std::fs::read(path).ok().map(|bytes| Sha256::of(&bytes))
}

fn recipes(setup: &Setup) -> Vec<PathBuf> {
    let file = |repository: &config::Repository| match &repository.recipe {
        RecipeRef::File(path) => Some(path.clone()),
        RecipeRef::BuiltIn(_) => None,
    };
    setup.config.repositories.iter().filter_map(file).collect()
}

/// The volume is locked, the sockets are bound and the log is set up for the life of the process.
fn keep_what_needs_a_restart(setup: &mut Setup, current: &Setup) {
    let (new, old) = (&mut setup.config, &current.config);
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
