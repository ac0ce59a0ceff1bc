//! Reads the users files of private repositories, and reads them again when they change. If a changed file is invalid, the
//! previous users stay in effect. It runs as long as the process, so that a user can be removed at any time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;

use crate::app::App;
use crate::server::{AccessRule, AccessRules, PublishedSite, Users};
use crate::util::cancel::CancelFlag;
use crate::util::text_file;

const POLL_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct UsersWatcher<'a> {
    published: &'a PublishedSite,
    repositories: Mutex<Vec<WatchedRepository>>,
}

struct WatchedRepository {
    name: String,
    base_path: String,
    /// `None` for a public repository.
    file: Option<PathBuf>,
    /// The content of the file at the last poll.
    polled: Option<Vec<u8>>,
    /// The content that was last parsed, valid or not.
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
    pub(super) fn new(published: &'a PublishedSite) -> Self {
        Self { published, repositories: Mutex::default() }
    }

    /// Reads the users files of a configuration and sets its access rules. To be called before anything of it is served.
    pub(super) fn configure(&self, app: &App) {
        let configured = app.config.repositories.iter().map(|r| r.users.clone());
        let repositories = app.repositories.iter().zip(configured);
        let repositories = repositories.map(|(repository, file)| WatchedRepository {
            name: repository.name.clone(),
            base_path: repository.base_url.path().to_owned(),
            file,
            polled: None,
            loaded: None,
            users: Arc::new(Users::none()),
        });
        let mut repositories: Vec<_> = repositories.collect();
        // A file is loaded at the second poll that finds the same content.
        poll(&mut repositories);
        poll(&mut repositories);
        let mut current = self.repositories.lock();
        *current = repositories;
        self.set_access_rules(&current);
    }

    /// Follows the files of the configuration in effect.
    pub(super) fn run(&self, stop: &CancelFlag) {
        while !stop.is_set() {
            stop.wait(POLL_INTERVAL);
            let mut repositories = self.repositories.lock();
            if poll(&mut repositories) {
                self.set_access_rules(&repositories);
            }
        }
    }

    fn set_access_rules(&self, repositories: &[WatchedRepository]) {
        let rule = |repository: &WatchedRepository| AccessRule {
            name: repository.name.clone(),
            base: repository.base_path.clone(),
            users: repository.file.as_ref().map(|_| Arc::clone(&repository.users)),
        };
        let rules = repositories.iter().map(rule).collect();
        self.published.set_access_rules(&AccessRules::new(rules));
    }
}

/// Returns whether the users of any repository changed.
fn poll(repositories: &mut [WatchedRepository]) -> bool {
    let mut changed = false;
    for repository in repositories {
        changed |= repository.poll();
    }
    changed
}

impl WatchedRepository {
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
