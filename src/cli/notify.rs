//! Tells webhooks what happened to a repository; beside the cycles, so that a slow receiver delays nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::setup::{self, Setup};
use crate::config::Webhook;
use crate::cycle::Report;
use crate::source::{self, CancelFlag, Settings};
use crate::status::{Condition, Facts, notification};
use crate::store::Repository;

/// How often it is looked whether anything has happened.
const LOOK: Duration = Duration::from_secs(2);

/// When a message that was not taken is sent again; after the last time it is given up.
const AGAIN: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(15),
    Duration::from_secs(60),
    Duration::from_secs(600),
];

/// What was last known of each repository; it outlives a change of the configuration. What was so at the start is no news.
#[derive(Default)]
pub(super) struct Told(BTreeMap<String, Condition>);

/// A message to one webhook that was not taken yet.
struct Message {
    webhook: usize,
    body: String,
    tries: usize,
    at: Instant,
}

/// Watches all repositories until the program is to stop.
pub(super) fn keep(setup: &Setup, stores: &[Repository], told: &mut Told, stop: &CancelFlag) {
    let webhooks = &setup.config.notify;
    if webhooks.is_empty() {
        return;
    }
    let settings = match setup.fetch_settings() {
        Ok(settings) => settings,
        Err(error) => {
            tracing::error!("nobody is notified: {error:#}");
            return;
        }
    };
    let mut waiting = Vec::new();
    while !stop.is_set() {
        for (repository, store) in setup.repositories.iter().zip(stores) {
            look(setup, repository, store, told, &mut waiting);
        }
        waiting.retain_mut(|message: &mut Message| {
            message.at > Instant::now() || !send(&webhooks[message.webhook], &settings, message)
        });
        stop.wait(LOOK);
    }
}

fn look(
    setup: &Setup,
    repository: &setup::Repository,
    store: &Repository,
    told: &mut Told,
    waiting: &mut Vec<Message>,
) {
    let cycles = store.cycles();
    // In the middle of a cycle what it will find is not known yet.
    let snapshot = store.newest_snapshot().ok().flatten();
    if cycles.running.is_some() {
        return;
    }
    let report = Report::last(snapshot.as_ref(), &cycles);
    let facts = Facts {
        operator: setup.config.site.name.as_deref(),
        contact: setup.config.site.contact.as_deref(),
        name: &repository.name,
        base_url: &repository.base_url.to_string(),
        schedule: &repository.schedule,
        snapshot: snapshot.as_ref(),
        report: &report,
        cycles: &cycles,
        releases: &[],
        space: None,
        now: Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default(),
    };
    let now = Condition::of(&facts);
    let before = told.0.insert(repository.name.clone(), now.clone());
    let before = before.unwrap_or_else(|| Condition::unknown(&now));
    for event in before.until(&now) {
        let body = format!("{:#}", notification(event, &facts));
        for (webhook, _) in setup
            .config
            .notify
            .iter()
            .enumerate()
            .filter(|(_, w)| w.on.contains(&event))
        {
            waiting.push(Message {
                webhook,
                body: body.clone(),
                tries: 0,
                at: Instant::now(),
            });
        }
    }
}

/// Answers whether the message is done with.
fn send(webhook: &Webhook, settings: &Settings, message: &mut Message) -> bool {
    let Err(error) = source::post_json(webhook.url.as_str(), settings, message.body.as_bytes()) else {
        return true;
    };
    let host = webhook.url.host_str().unwrap_or_default();
    match AGAIN.get(message.tries) {
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
