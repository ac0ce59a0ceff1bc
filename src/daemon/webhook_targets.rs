//! Which repositories a webhook starts a cycle of, by git URL.

use std::collections::{BTreeMap, BTreeSet};

use crate::app::App;
use crate::server::WebhookConfig;
use crate::webhook::normalize_git_url;

/// The targets by each URL that a cycle fetches, as written in the recipe and after `git.rewrite`, and by each followed mirror.
pub(super) fn webhook_targets(app: &App) -> WebhookConfig {
    let mut repositories = BTreeMap::<String, BTreeSet<String>>::new();
    for repository in &app.repositories {
        for url in repository.recipe.git_urls() {
            for url in [url, &app.config.git.rewrite(url)] {
                let names = repositories.entry(normalize_git_url(url)).or_default();
                names.insert(repository.name.clone());
            }
        }
        for url in &repository.follow {
            let names = repositories.entry(normalize_git_url(url.as_str())).or_default();
            names.insert(repository.name.clone());
        }
    }
    for push in &app.config.push {
        if let Err(error) = push.secret.read() {
            tracing::error!(from = ?push.from, "rejecting webhook deliveries until their secret can be read: {error:#}");
        }
    }
    let secrets = app.config.push.iter();
    WebhookConfig { secrets: secrets.map(|push| (push.from, push.secret.clone())).collect(), repositories }
}
