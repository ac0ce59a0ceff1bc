//! Alerts: which events follow from a change of state, and the notification that a webhook receives.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::input::{Failure, StatusInput};
use super::state::State;
use crate::config::Event;

/// Failures that a notification lists; it counts the rest.
const MAX_LISTED: usize = 20;

/// The part of a repository's status that events are derived from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertState {
    state: State,
    /// Whether the last cycle failed.
    failing: bool,
    /// The names of the failures. A failure whose reason changes is not reported again.
    failed: BTreeSet<String>,
    diverged: usize,
}

impl AlertState {
    pub fn new(input: &StatusInput<'_>) -> Self {
        Self {
            state: input.state(),
            failing: input.last_failed(),
            failed: input.failures().into_iter().map(|failure| failure.name).collect(),
            diverged: input.count(|source| source.diverged.len()),
        }
    }

    /// The state to compare the first observation with. What is published already is not news, but an empty mirror whose
    /// first cycle failed is.
    pub fn unknown(now: &Self) -> Self {
        Self { failing: now.failing && now.state != State::Empty, ..now.clone() }
    }

    /// The events between `self` and `now`.
    pub fn events_until(&self, now: &Self) -> Vec<Event> {
        let was_new = self.state == State::Empty && !self.failing;
        let was_bad = match self.state {
            State::Empty | State::Unknown => self.failing || !self.failed.is_empty(),
            _ => true,
        };
        let mut events = Vec::new();
        if self.state != now.state {
            events.extend(match now.state {
                State::Incomplete => Some(Event::Failure),
                State::Stale => Some(Event::Stale),
                State::Fresh if was_bad => Some(Event::Recovery),
                _ => None,
            });
        }
        let first_cycle_failed = was_new && now.state == State::Empty && now.failing;
        let has_new_failure = !was_new && !now.failed.is_subset(&self.failed);
        if (first_cycle_failed || has_new_failure) && !events.contains(&Event::Failure) {
            events.push(Event::Failure);
        }
        if now.diverged > self.diverged {
            events.push(Event::Divergence);
        }
        events
    }
}

/// The JSON of a notification: `text` for people, which Slack, Mattermost and Teams display, and the rest for programs.
pub fn notification(event: Event, input: &StatusInput<'_>) -> Value {
    let failures = input.failures();
    let diverged = input.count(|source| source.diverged.len());
    let page = format!("{}status.html", input.base_url);
    let message = match event {
        Event::Failure => failure_message(input, &failures),
        Event::Recovery => "recovered, nothing fails any more".to_owned(),
        Event::Divergence => match diverged {
            1 => "1 published version differs upstream now".to_owned(),
            _ => format!("{diverged} published versions differ upstream now"),
        },
        Event::Stale => match input.checked() {
            Some(checked) => format!("no run since {checked}"),
            None => "no run yet".to_owned(),
        },
    };
    let lines = failures.iter().map(|failure| &failure.line);
    json!({
        "text": format!("Mirror {} ({}): {message}. {page}", input.name, input.state()),
        "event": event,
        "repository": input.name,
        "url": input.base_url,
        "status": page,
        "state": input.state().to_string(),
        "time": input.now.to_string(),
        "failures": lines.take(MAX_LISTED).collect::<Vec<_>>(),
        "failed": failures.len(),
        "diverged": diverged,
    })
}

fn failure_message(input: &StatusInput<'_>, failures: &[Failure]) -> String {
    match (failures, input.rollback_target()) {
        ([], Some(snapshot)) => format!("a rollback to snapshot {snapshot} is active"),
        ([], None) => "the last cycle was incomplete".to_owned(),
        ([only], _) => format!("failed: {}", only.line),
        ([first, ..], _) => format!("{} failures. First: {}", failures.len(), first.line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_follow_from_two_states() {
        let at = |state, diverged| AlertState { state, failing: false, failed: BTreeSet::new(), diverged };
        let fresh = at(State::Fresh, 0);
        let events = |from: &AlertState, to: &AlertState| from.events_until(to);
        assert_eq!(events(&fresh, &fresh), []);
        assert_eq!(events(&fresh, &at(State::Incomplete, 0)), [Event::Failure]);
        assert_eq!(events(&at(State::Empty, 0), &at(State::Incomplete, 0)), [Event::Failure]);
        assert_eq!(events(&at(State::Incomplete, 0), &fresh), [Event::Recovery]);
        assert_eq!(events(&at(State::Empty, 0), &fresh), []);
        let failing = AlertState { failing: true, ..at(State::Empty, 0) };
        assert_eq!(events(&at(State::Empty, 0), &failing), [Event::Failure]);
        assert_eq!(events(&AlertState::unknown(&failing), &failing), [Event::Failure]);
        assert_eq!(events(&AlertState::unknown(&fresh), &fresh), []);
        assert_eq!(events(&failing, &failing), []);
        assert_eq!(events(&failing, &fresh), [Event::Recovery]);
        assert_eq!(events(&at(State::Unknown, 0), &fresh), []);
        assert_eq!(events(&at(State::Incomplete, 0), &at(State::Stale, 0)), [Event::Stale]);
        let with = |failed: &[&str]| AlertState {
            failed: failed.iter().map(|&name| name.to_owned()).collect(),
            ..at(State::Incomplete, 0)
        };
        assert_eq!(events(&fresh, &with(&["a"])), [Event::Failure]);
        assert_eq!(events(&with(&["a"]), &with(&["a", "b"])), [Event::Failure]);
        assert_eq!(events(&with(&["a", "b"]), &with(&["b"])), []);
        assert_eq!(events(&AlertState::unknown(&with(&["a"])), &with(&["a"])), []);
        assert_eq!(events(&with(&["a"]), &fresh), [Event::Recovery]);
        assert_eq!(events(&fresh, &at(State::Fresh, 2)), [Event::Divergence]);
        assert_eq!(events(&at(State::Fresh, 2), &at(State::Fresh, 2)), []);
    }
}
