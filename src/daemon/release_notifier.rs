//! Notifies webhooks as soon as a repository serves something new, so that its followers need not wait for their schedule. Each
//! webhook has a thread of its own, so that a slow receiver delays no other.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use super::configuration::Configuration;
use super::repository_view::SnapshotWatch;
use super::webhook_delivery::{DeliveryPolicy, PendingDelivery};
use crate::config::{Event, Webhook};
use crate::server::PublishedSite;
use crate::status::notification;
use crate::util::threads::spawn_scoped;

/// How often it looks at what is served.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Followers also have a schedule.
const POLICY: DeliveryPolicy = DeliveryPolicy {
    deadline: Duration::from_secs(30),
    retry_delays: &[Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)],
};

/// Calls the webhooks of a configuration that have the event `release`.
pub(super) fn run(configuration: &Configuration, published: &PublishedSite) {
    let webhooks = configuration.app.config.notify.iter();
    thread::scope(|scope| {
        for webhook in webhooks.filter(|webhook| webhook.on.contains(&Event::Release)) {
            if let Err(error) = spawn_scoped(scope, || watch(configuration, published, webhook)) {
                tracing::error!("followers are not told of releases: {error}");
            }
        }
    });
}

/// Watches what the server serves, and calls one webhook.
fn watch(configuration: &Configuration, published: &PublishedSite, webhook: &Webhook) {
    let Configuration { app, stop, .. } = configuration;
    let mut served: Vec<_> = app.names().map(|name| published.follow_state(name)).collect();
    let mut pending = BTreeMap::<usize, PendingDelivery>::new();
    while !stop.is_set() {
        for (index, (name, known)) in app.names().zip(&mut served).enumerate() {
            let now = published.follow_state(name);
            if now.is_some() && now != *known {
                *known = now;
                pending.insert(index, PendingDelivery::new());
            }
        }
        pending.retain(|&index, delivery| {
            !delivery.is_due() || stop.is_set() || !send(configuration, webhook, index, delivery)
        });
        stop.wait(POLL_INTERVAL);
    }
}

/// Sends what is served now; returns whether the notification can be removed.
fn send(
    Configuration { app, stores, stop }: &Configuration,
    webhook: &Webhook,
    index: usize,
    delivery: &mut PendingDelivery,
) -> bool {
    let (repository, store) = (&app.repositories[index], &stores[index]);
    let mut watch = SnapshotWatch::default();
    watch.refresh(store);
    let input = watch.status_input(app, repository, store, store.run_history());
    let body = format!("{:#}", notification(Event::Release, &input));
    delivery.attempt(&POLICY, webhook, Event::Release, &body, &app.config.git, stop)
}
