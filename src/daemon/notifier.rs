//! Tells webhooks what happened to a repository; beside the cycles, so that a slow receiver delays nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use url::Url;

use super::repository_view::SnapshotWatch;
use crate::app::{self, App};
use crate::config::{Git, Webhook};
use crate::cycle::Report;
use crate::net;
use crate::status::{AlertState, StatusInput, notification};
use crate::store::RepositoryStore;
use crate::util::cancel::CancelFlag;

/// How often it is looked whether anything has happened.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// When a message that was not taken is sent again; after the last time it is given up.
const RETRY_DELAYS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(600),
];

/// What was last known of each repository, and what is still to be told; it outlives a change of the configuration. What was so at
/// the start is no news.
#[derive(Default)]
pub(super) struct NotifierState {
    known: BTreeMap<String, AlertState>,
    waiting: Vec<PendingNotification>,
}

/// A message to one webhook that was not taken yet.
struct PendingNotification {
    to: Url,
    body: String,
    tries: usize,
    at: Instant,
}

/// Watches all repositories until the program is to stop.
pub(super) fn keep(app: &App, stores: &[RepositoryStore], told: &mut NotifierState, stop: &CancelFlag) {
    let webhooks = &app.config.notify;
    if webhooks.is_empty() {
        return;
    }
    let NotifierState { known, waiting } = told;
    let mut seen: Vec<_> = stores.iter().map(|_| SnapshotWatch::default()).collect();
    while !stop.is_set() {
        for ((repository, store), seen) in app.repositories.iter().zip(stores).zip(&mut seen) {
            look(app, repository, (store, seen), known, waiting);
        }
        waiting.retain_mut(|message: &mut PendingNotification| {
            let is_due = message.at <= Instant::now() && !stop.is_set();
            !is_due || !send(webhooks, &app.config.git, message)
        });
        stop.wait(POLL_INTERVAL);
    }
}

fn look(
    app: &App,
    repository: &app::Repository,
    (store, seen): (&RepositoryStore, &mut SnapshotWatch),
    known: &mut BTreeMap<String, AlertState>,
    waiting: &mut Vec<PendingNotification>,
) {
    let cycles = store.run_history();
    // In the middle of a cycle what it will find is not known yet.
    if cycles.running.is_some() {
        return;
    }
    seen.refresh(store);
    let snapshot = seen.snapshot.as_ref();
    let report = Report::last(snapshot, &cycles);
    let input = StatusInput {
        operator: app.config.site.name.as_deref(),
        contact: app.config.site.contact.as_deref(),
        name: &repository.name,
        base_url: &repository.base_url.to_string(),
        schedule: &repository.schedule,
        snapshot,
        unserved: seen.unserved.as_deref(),
        report: &report,
        history: &cycles,
        releases: &[],
        space: None,
        now: Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default(),
    };
    let now = AlertState::new(&input);
    let before = known.insert(repository.name.clone(), now.clone());
    let before = before.unwrap_or_else(|| AlertState::unknown(&now));
    for event in before.events_until(&now) {
        let body = format!("{:#}", notification(event, &input));
        let webhooks = app.config.notify.iter();
        for webhook in webhooks.filter(|webhook| webhook.on.contains(&event)) {
            waiting.push(PendingNotification {
                to: webhook.url.clone(),
                body: body.clone(),
                tries: 0,
                at: Instant::now(),
            });
        }
    }
}

/// Answers whether the message is done with, as it also is when the configuration names its receiver no more.
fn send(webhooks: &[Webhook], git: &Git, message: &mut PendingNotification) -> bool {
    if !webhooks.iter().any(|webhook| webhook.url == message.to) {
        return true;
    }
    let Err(error) = net::post_json(&message.to, git, message.body.as_bytes()) else {
        return true;
    };
    let host = message.to.host_str().unwrap_or_default();
    match RETRY_DELAYS.get(message.tries) {
        Some(after) => {
            tracing::warn!(host, "a notification was not taken and is sent again: {error}");
            message.tries += 1;
            message.at = Instant::now() + *after;
            false
        }
        None => {
            tracing::error!(host, "a notification is given up: {error}");
            true
        }
    }
}
