//! Sends notifications to webhooks, on a thread of its own, so that slow receivers delay nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use url::Url;

use super::configuration::{Configuration, CurrentConfiguration};
use super::repository_view::SnapshotWatch;
use super::webhook_delivery::{DeliveryPolicy, PendingDelivery};
use crate::app::{App, Repository};
use crate::config::Event;
use crate::status::{AlertState, notification};
use crate::store::RepositoryStore;

const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Other receivers wait for each attempt.
const POLICY: DeliveryPolicy = DeliveryPolicy {
    deadline: Duration::from_secs(60),
    retry_delays: &[
        Duration::from_secs(1),
        Duration::from_secs(15),
        Duration::from_secs(60),
        Duration::from_secs(600),
    ],
};

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
    delivery: PendingDelivery,
}

/// Sends the notifications of each configuration.
pub(super) fn run(configurations: &CurrentConfiguration<'_>) {
    let mut state = NotifierState::default();
    configurations.for_each(|configuration| state.follow(configuration));
}

impl NotifierState {
    fn follow(&mut self, Configuration { app, stores, stop, .. }: &Configuration) {
        let webhooks = &app.config.notify;
        if webhooks.is_empty() {
            return;
        }
        let mut watches: Vec<_> = stores.iter().map(|_| SnapshotWatch::default()).collect();
        while !stop.is_set() {
            for ((repository, store), watch) in app.repositories.iter().zip(stores).zip(&mut watches) {
                self.poll(app, repository, store, watch);
            }
            self.pending.retain_mut(|PendingNotification { url, event, body, delivery }| {
                // One for a webhook that is no longer configured is dropped.
                let Some(webhook) = webhooks.iter().find(|webhook| webhook.url == *url) else { return false };
                let is_due = delivery.is_due() && !stop.is_set();
                !is_due || !delivery.attempt(&POLICY, webhook, *event, body, &app.config.git, stop)
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
                    delivery: PendingDelivery::new(),
                });
            }
        }
    }
}
