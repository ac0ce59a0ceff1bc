//! Sends notifications to webhooks, on a thread of its own, so that slow receivers delay nothing else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use url::Url;

use super::configuration::{Configuration, CurrentConfiguration};
use super::repository_view::SnapshotWatch;
use crate::app::{App, Repository};
use crate::config::{Event, Git, Webhook};
use crate::net;
use crate::status::{AlertState, notification};
use crate::store::RepositoryStore;
use crate::util::cancel::CancelFlag;

const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// How long one delivery may take, since other receivers wait for it.
const DEADLINE: Duration = Duration::from_secs(60);

/// The delays after failed deliveries. After the last one, the notification is dropped.
const RETRY_DELAYS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(15), Duration::from_secs(60), Duration::from_secs(600)];

/// The last known state of each repository, and the notifications to be sent. It outlives a reload of the configuration.
#[derive(Default)]
struct NotifierState {
    known: BTreeMap<String, AlertState>,
    pending: Vec<PendingNotification>,
}

struct PendingNotification {
    url: Url,
    event: Event,
    body: String,
    failures: usize,
    at: Instant,
}

/// Sends the notifications of each configuration.
pub(super) fn run(configurations: &CurrentConfiguration<'_>) {
    let mut state = NotifierState::default();
    configurations.for_each(|configuration| state.follow(configuration));
}

impl NotifierState {
    fn follow(&mut self, Configuration { app, stores, stop }: &Configuration) {
        let webhooks = &app.config.notify;
        if webhooks.is_empty() {
            return;
        }
        let mut watches: Vec<_> = stores.iter().map(|_| SnapshotWatch::default()).collect();
        while !stop.is_set() {
            for ((repository, store), watch) in app.repositories.iter().zip(stores).zip(&mut watches) {
                self.poll(app, repository, store, watch);
            }
            self.pending.retain_mut(|notification| {
                let is_due = notification.at <= Instant::now() && !stop.is_set();
                !is_due || !send(webhooks, &app.config.git, notification, stop)
            });
            stop.wait(POLL_INTERVAL);
        }
    }

    /// Queues a notification for each event since the last poll.
    fn poll(
        &mut self,
        app: &App,
        repository: &Repository,
        store: &RepositoryStore,
        watch: &mut SnapshotWatch,
    ) {
        let history = store.run_history();
        // During a cycle, its result is not known yet.
        if history.running.is_some() {
            return;
        }
        watch.refresh(store);
        let input = watch.status_input(app, repository, store, history);
        let now = AlertState::new(&input);
        let before = self.known.insert(repository.name.clone(), now.clone());
        let before = before.unwrap_or_else(|| AlertState::unknown(&now));
        for event in before.events_until(&now) {
            let body = format!("{:#}", notification(event, &input));
            let webhooks = app.config.notify.iter();
            for webhook in webhooks.filter(|webhook| webhook.on.contains(&event)) {
                self.pending.push(PendingNotification {
                    url: webhook.url.clone(),
                    event,
                    body: body.clone(),
                    failures: 0,
                    at: Instant::now(),
                });
            }
        }
    }
}

/// Returns whether the notification can be removed: sent, given up, or for a webhook that is no longer configured.
fn send(webhooks: &[Webhook], git: &Git, notification: &mut PendingNotification, stop: &CancelFlag) -> bool {
    let url = &notification.url;
    let Some(webhook) = webhooks.iter().find(|webhook| webhook.url == *url) else {
        return true;
    };
    let git = Git { total_timeout: git.total_timeout.min(DEADLINE), ..git.clone() };
    let body = notification.body.as_bytes();
    let headers = webhook.headers(notification.event, body).unwrap_or_else(|error| {
        tracing::error!("sending a notification without a signature: {error:#}");
        Vec::new()
    });
    let Err(error) = net::post_json(url, &git, body, &headers, stop) else {
        return true;
    };
    // It is sent again under the next configuration.
    if stop.is_set() {
        return false;
    }
    // Without the path, which may hold a secret.
    let host = url.host_str().unwrap_or_default();
    match RETRY_DELAYS.get(notification.failures) {
        Some(delay) => {
            tracing::warn!(host, "failed to send a notification, it will be sent again: {error}");
            notification.failures += 1;
            notification.at = Instant::now() + *delay;
            false
        }
        None => {
            tracing::error!(host, "failed to send a notification, it is dropped: {error}");
            true
        }
    }
}
