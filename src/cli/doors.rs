//! Who may read the private repositories: reads the files of users, again when they change. A file that cannot be used
//! keeps the users before, or lets nobody in.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use super::setup::Setup;
use crate::serve::{Doors, Published, Users};

/// The files of users, by repository.
pub(super) struct Keys {
    repositories: Vec<Key>,
}

struct Key {
    base: String,
    file: Option<std::path::PathBuf>,
    /// What was read last, whatever it was worth.
    seen: Option<Vec<u8>>,
    users: Arc<Users>,
}

/// Whether all files of users can be used.
///
/// # Errors
/// The first that cannot.
pub(super) fn check(setup: &Setup) -> anyhow::Result<()> {
    let files = setup.config.repositories.iter().filter_map(|r| r.users.as_ref());
    files.map(|file| read(file)).try_for_each(|read| read.map(drop))
}

impl Keys {
    /// Opens the repositories of `setup` to their users, and the others to everybody, before any of them is served.
    pub(super) fn hand_out(setup: &Setup, published: &Published) -> Self {
        let configured = setup.config.repositories.iter().map(|r| r.users.clone());
        let repositories = setup.repositories.iter().zip(configured);
        let mut keys = Self {
            repositories: repositories
                .map(|(repository, file)| Key {
                    base: repository.base_url.path().to_owned(),
                    file,
                    seen: None,
                    users: Arc::new(Users::nobody()),
                })
                .collect(),
        };
        keys.look();
        published.guard(keys.doors());
        keys
    }

    /// Takes changed files over.
    pub(super) fn renew(&mut self, published: &Published) {
        if self.look() {
            published.guard(self.doors());
        }
    }

    fn doors(&self) -> Doors {
        let key = |key: &Key| {
            (
                key.base.clone(),
                key.file.as_ref().map(|_| Arc::clone(&key.users)),
            )
        };
        Doors::new(self.repositories.iter().map(key).collect())
    }

    /// Answers whether any users are others than before.
    fn look(&mut self) -> bool {
        let mut changed = false;
        for key in &mut self.repositories {
            let Some(file) = &key.file else { continue };
            let found = std::fs::read(file).ok();
            if found.is_some() && found == key.seen {
                continue;
            }
            let first_failure = found.is_some() || key.seen.is_some();
            key.seen = found;
            match read(file) {
                Ok(users) => {
                    key.users = Arc::new(users);
                    changed = true;
                    tracing::info!(file = %file.display(), "users loaded");
                }
                Err(error) if first_failure => {
                    tracing::error!("the users before stay: {error:#}");
                }
                Err(_) => {}
            }
        }
        changed
    }
}

pub(super) fn read(file: &Path) -> anyhow::Result<Users> {
    let named = || format!("failed to read the users in `{}`", file.display());
    let text = std::fs::read_to_string(file).with_context(named)?;
    Users::parse(&text).with_context(named)
}
