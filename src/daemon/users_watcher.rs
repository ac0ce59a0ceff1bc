//! Who may read the private repositories: reads the files of users, again when they change. A file that cannot be used
//! keeps the users before, or lets nobody in.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::app::App;
use crate::server::{AccessRule, AccessRules, PublishedSite, Users};

/// The files of users, by repository.
pub(super) struct UsersWatcher {
    repositories: Vec<UsersFile>,
}

struct UsersFile {
    name: String,
    base: String,
    file: Option<std::path::PathBuf>,
    /// What was found last, whatever it was worth.
    found: Option<Vec<u8>>,
    /// What was read last: what two looks have found, since who writes a file does not do it in one instant.
    seen: Option<Vec<u8>>,
    users: Arc<Users>,
}

/// Whether all files of users can be used.
///
/// # Errors
/// The first that cannot.
pub(super) fn check(app: &App) -> anyhow::Result<()> {
    let files = app.config.repositories.iter().filter_map(|r| r.users.as_ref());
    files.map(|file| read(file)).try_for_each(|read| read.map(drop))
}

impl UsersWatcher {
    /// Opens the repositories of `app` to their users, and the others to everybody, before any of them is served.
    pub(super) fn load(app: &App, published: &PublishedSite) -> Self {
        let configured = app.config.repositories.iter().map(|r| r.users.clone());
        let repositories = app.repositories.iter().zip(configured);
        let mut keys = Self {
            repositories: repositories
                .map(|(repository, file)| UsersFile {
                    name: repository.name.clone(),
                    base: repository.base_url.path().to_owned(),
                    file,
                    found: None,
                    seen: None,
                    users: Arc::new(Users::none()),
                })
                .collect(),
        };
        // Once to find them, and once to read them.
        keys.look();
        keys.look();
        published.set_access_rules(keys.doors());
        keys
    }

    /// Takes changed files over.
    pub(super) fn reload(&mut self, published: &PublishedSite) {
        if self.look() {
            published.set_access_rules(self.doors());
        }
    }

    fn doors(&self) -> AccessRules {
        let key = |key: &UsersFile| AccessRule {
            name: key.name.clone(),
            base: key.base.clone(),
            users: key.file.as_ref().map(|_| Arc::clone(&key.users)),
        };
        AccessRules::new(self.repositories.iter().map(key).collect())
    }

    /// Answers whether any users are others than before.
    fn look(&mut self) -> bool {
        let mut changed = false;
        for key in &mut self.repositories {
            let Some(file) = &key.file else { continue };
            let found = std::fs::read(file).ok();
            let is_settled = found == key.found;
            key.found.clone_from(&found);
            if !is_settled || found.is_some() && found == key.seen {
                continue;
            }
            let first_failure = found.is_some() || key.seen.is_some();
            key.seen = found;
            match read(file) {
                Ok(users) => {
                    let count = users.count();
                    key.users = Arc::new(users);
                    changed = true;
                    match count {
                        0 => {
                            tracing::warn!(file = %file.display(), "the file has no users: nobody is let in")
                        }
                        _ => tracing::info!(file = %file.display(), users = count, "users loaded"),
                    }
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

pub(crate) fn read(file: &Path) -> anyhow::Result<Users> {
    let named = || format!("failed to read the users in `{}`", file.display());
    let text = std::fs::read_to_string(file).with_context(named)?;
    Users::parse(&text).with_context(named)
}
