//! Which webhooks are listened to, and what each starts: the configuration in the terms of the server.

use std::collections::{BTreeMap, BTreeSet};

use crate::app::App;
use crate::server::WebhookConfig;
use crate::webhook::normalize_git_url;

/// Everything that a cycle fetches starts it: the sources and the resources of its recipe, by the URL that the recipe has
/// and by the one that it is rewritten to.
pub(super) fn webhook_targets(app: &App) -> WebhookConfig {
    let mut repositories = BTreeMap::<String, BTreeSet<String>>::new();
    for repository in &app.repositories {
        for url in repository.recipe.git_urls() {
            for url in [url, &app.config.git.rewrite(url)] {
                let names = repositories.entry(normalize_git_url(url)).or_default();
                names.insert(repository.name.clone());
            }
        }
    }
    for push in &app.config.push {
        if let Err(error) = push.secret.read() {
            tracing::error!(from = ?push.from, "deliveries are refused until their secret can be read: {error:#}");
        }
    }
    let secrets = app
        .config
        .push
        .iter()
        .map(|push| (push.from, push.secret.clone()));
    WebhookConfig {
        secrets: secrets.collect(),
        repositories,
    }
}
