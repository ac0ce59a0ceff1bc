//! Reads the users files of private repositories, and reads them again when they change. If a changed file cannot be used,
//! the previous users stay in effect.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::app::App;
use crate::server::{AccessRule, AccessRules, PublishedSite, Users};
use crate::util::cancel::CancelFlag;
use crate::util::text_file;

const POLL_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct UsersWatcher<'a> {
    published: &'a PublishedSite,
    repositories: Vec<Repository>,
}

struct Repository {
    name: String,
    base_path: String,
    /// `None` for a public repository.
    file: Option<PathBuf>,
    /// The content of the file at the last poll.
    polled: Option<Vec<u8>>,
    /// The content that was read last, usable or not.
    loaded: Option<Vec<u8>>,
    users: Arc<Users>,
}

/// Fails if a users file cannot be used.
pub(super) fn check(app: &App) -> anyhow::Result<()> {
    let mut files = app.config.repositories.iter().filter_map(|r| r.users.as_ref());
    files.try_for_each(|file| read(file).map(drop))
}

pub(crate) fn read(file: &Path) -> anyhow::Result<Users> {
    let context = || format!("failed to read the users in `{}`", file.display());
    let text = text_file::read_to_string(file).with_context(context)?;
    Users::parse(&text).with_context(context)
}

impl<'a> UsersWatcher<'a> {
    /// Reads all users files and installs the access rules, before the first request is served.
    pub(super) fn load(app: &App, published: &'a PublishedSite) -> Self {
        let configured = app.config.repositories.iter().map(|r| r.users.clone());
        let repositories = app.repositories.iter().zip(configured);
        let repositories = repositories.map(|(repository, file)| Repository {
            name: repository.name.clone(),
            base_path: repository.base_url.path().to_owned(),
            file,
            polled: None,
            loaded: None,
            users: Arc::new(Users::none()),
        });
        let mut watcher = Self { published, repositories: repositories.collect() };
        // A file is loaded at the second poll that finds the same content.
        watcher.poll();
        watcher.poll();
        watcher.set_access_rules();
        watcher
    }

    pub(super) fn run(mut self, stop: &CancelFlag) {
        while !stop.is_set() {
            stop.wait(POLL_INTERVAL);
            if self.poll() {
                self.set_access_rules();
            }
        }
    }

    fn set_access_rules(&self) {
        let rule = |repository: &Repository| AccessRule {
            name: repository.name.clone(),
            base: repository.base_path.clone(),
            users: repository.file.as_ref().map(|_| Arc::clone(&repository.users)),
        };
        let rules = self.repositories.iter().map(rule).collect();
        self.published.set_access_rules(&AccessRules::new(rules));
    }

    /// Returns whether the users of any repository changed.
    fn poll(&mut self) -> bool {
        let mut changed = false;
        for repository in &mut self.repositories {
            changed |= repository.poll();
        }
        changed
    }
}

impl Repository {
    /// Reads the file again if its content changed and is the same at two polls, so that a half-written file is not used.
    fn poll(&mut self) -> bool {
        let Some(file) = &self.file else { return false };
        let content = std::fs::read(file).ok();
        let is_settled = content == self.polled;
        self.polled.clone_from(&content);
        if !is_settled || content.is_some() && content == self.loaded {
            return false;
        }
        let is_new_failure = content.is_some() || self.loaded.is_some();
        self.loaded = content;
        match read(file) {
            Ok(users) => {
                match users.count() {
                    0 => tracing::warn!(file = %file.display(), "the file has no users, nobody has access"),
                    count => tracing::info!(file = %file.display(), users = count, "users loaded"),
                }
                self.users = Arc::new(users);
                true
            }
            Err(error) => {
                if is_new_failure {
                    tracing::error!("keeping the previous users: {error:#}");
                }
                false
            }
        }
    }
}
