//! Notifies webhooks as soon as a repository serves something new, so that its followers need not wait for their schedule. Each
//! webhook has a thread of its own, so that a slow receiver delays no other.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use url::Url;

use super::configuration::{Configuration, CurrentConfiguration};
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

/// What was served when a webhook was last told of a repository, by its URL and the repository's name.
type Told = Mutex<BTreeMap<(Url, String), Option<String>>>;

/// Calls the webhooks that have the event `release` under each configuration. A notification that a reload interrupts is sent under the next one.
pub(super) fn run(configurations: &CurrentConfiguration<'_>, published: &PublishedSite) {
    let told = Told::default();
    configurations.for_each(|configuration| watch_all(configuration, published, &told));
}

fn watch_all(configuration: &Configuration, published: &PublishedSite, told: &Told) {
    let webhooks = configuration.app.config.notify.iter();
    thread::scope(|scope| {
        for webhook in webhooks.filter(|webhook| webhook.on.contains(&Event::Release)) {
            if let Err(error) = spawn_scoped(scope, || watch(configuration, published, webhook, told)) {
                tracing::error!("followers are not told of releases: {error}");
            }
        }
    });
}

/// Watches what the server serves, and calls one webhook.
fn watch(configuration: &Configuration, published: &PublishedSite, webhook: &Webhook, told: &Told) {
    let Configuration { app, stop, .. } = configuration;
    let key = |name: &str| (webhook.url.clone(), name.to_owned());
    // What is served when the webhook or the repository is new is no news.
    let known = |name| told.lock().entry(key(name)).or_insert_with(|| published.follow_state(name)).clone();
    let mut served: Vec<_> = app.names().map(known).collect();
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
            if !delivery.is_due() || stop.is_set() || !send(configuration, webhook, index, delivery) {
                return true;
            }
            told.lock().insert(key(&app.repositories[index].name), served[index].clone());
            false
        });
        stop.wait(POLL_INTERVAL);
    }
}

/// Sends what is served now; returns whether the notification can be removed.
fn send(
    Configuration { app, stores, stop, .. }: &Configuration,
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
