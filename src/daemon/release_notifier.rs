//! Notifies webhooks as soon as a repository serves something new, so that its followers need not wait for their schedule. Each
//! webhook has a thread of its own, so that a slow receiver delays no other.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use super::configuration::Configuration;
use super::repository_view::SnapshotWatch;
use crate::config::{Event, Git, Webhook};
use crate::net;
use crate::server::PublishedSite;
use crate::status::notification;
use crate::util::threads::spawn_scoped;

/// How often it looks at what is served.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The delays after failed deliveries. After the last one, the notification is dropped; followers also have a schedule.
const RETRY_DELAYS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// How long one delivery may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// A notification to be sent.
struct Pending {
    failures: usize,
    at: Instant,
}

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
    let mut pending = BTreeMap::<usize, Pending>::new();
    while !stop.is_set() {
        for (index, (name, known)) in app.names().zip(&mut served).enumerate() {
            let now = published.follow_state(name);
            if now.is_some() && now != *known {
                *known = now;
                pending.insert(index, Pending { failures: 0, at: Instant::now() });
            }
        }
        pending.retain(|&index, pending| {
            pending.at > Instant::now() || stop.is_set() || !send(configuration, webhook, index, pending)
        });
        stop.wait(POLL_INTERVAL);
    }
}

/// Returns whether the notification can be removed: it was sent, or has failed too often.
fn send(
    Configuration { app, stores, stop }: &Configuration,
    webhook: &Webhook,
    index: usize,
    pending: &mut Pending,
) -> bool {
    let git = &app.config.git;
    let git = Git { total_timeout: git.total_timeout.min(DEADLINE), ..git.clone() };
    let (repository, store) = (&app.repositories[index], &stores[index]);
    let mut watch = SnapshotWatch::default();
    watch.refresh(store);
    let input = watch.status_input(app, repository, store, store.run_history());
    let body = format!("{:#}", notification(Event::Release, &input));
    let headers = webhook.headers(Event::Release, body.as_bytes());
    let sent = headers.map_err(|error| format!("{error:#}")).and_then(|headers| {
        let result = net::post_json(&webhook.url, &git, body.as_bytes(), &headers, stop);
        result.map_err(|error| error.to_string())
    });
    let Err(error) = sent else { return true };
    let host = webhook.url.host_str().unwrap_or_default();
    match RETRY_DELAYS.get(pending.failures) {
        Some(delay) => {
            tracing::warn!(host, "failed to tell of a release, it will be told again: {error}");
            (pending.failures, pending.at) = (pending.failures + 1, Instant::now() + *delay);
            false
        }
        None => {
            tracing::error!(host, "failed to tell of a release: {error}");
            true
        }
    }
}
